"""What the encoders of a bundle, or one encoder, make of every clip: kept for what trains on it.

Computed through the exported graphs, so that a head is trained on exactly what it will be served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle import packaged_bundles
from realtime_ser.models.bundle_description import AudioPart, Role, TextPart
from realtime_ser.models.bundle_files import DESCRIPTION_FILE
from realtime_ser.models.text import TextExpert

from ..encoder_folder import GRAPH_FILE
from ..graphs.served import serve_folder
from .array_files import save_arrays
from .predictions import Material
from .protocols import Indices
from .subjects import BundleSubject, by_length, sha256_of

Floats = NDArray[np.float32]
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Encoders:
    """Encoders in the order in which their embeddings lie side by side.

    Attributes:
        digest: sha256 that names them.
    """

    digest: str
    audio: tuple[AudioExpert, ...]
    text: tuple[TextExpert, ...]


@dataclass(frozen=True, slots=True)
class Features:
    """The outputs for n clips, by name.

    `audio_embedding` float32 [n, width], `audio_logits` [n, labels] where the encoder has a head,
    `text_embedding` and `text_logits` likewise, `text_present` float32 [n]. Of several encoders
    of a modality the columns stand side by side. Rows without a text are zeros.
    """

    values: dict[str, Floats]


def open_encoders(name_or_path: str | Path, threads: int = 1) -> Encoders:
    """The encoders of a bundle, or the one of an encoder folder.

    Raises:
        ExportError: it is neither.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_bundles() or (path / DESCRIPTION_FILE).is_file():
        analyzer = BundleSubject(name_or_path, threads).analyzer
        return Encoders(analyzer.bundle.hash, analyzer.audio, analyzer.text)
    served = serve_folder(path, threads=threads)
    digest = sha256_of(path / GRAPH_FILE)
    if isinstance(served.expert, TextExpert):
        return Encoders(digest, (), (served.expert,))
    return Encoders(digest, (served.expert,), ())


def compute(
    encoders: Encoders, material: Material, indices: Indices, seconds: float | None = None
) -> Features:
    """Outputs for the clips at `indices`, of their first `seconds` of speech where given."""
    values: dict[str, Floats] = {}
    for start in range(0, len(indices), _BLOCK):
        block = indices[start : start + _BLOCK]
        rows = np.arange(start, start + len(block))
        if encoders.audio:
            waves = material.waves(block, seconds)
            for batch in by_length(waves):
                heard = [waves[row] for row in batch]
                for expert in encoders.audio:
                    _put(values, "audio", expert.part, expert.run(heard), rows[batch], indices)
        texts = [material.clips[i].text.strip() for i in block]
        present = np.flatnonzero([bool(text) for text in texts])
        for reader in encoders.text:
            read = reader.run([texts[row] for row in present]) if len(present) else {}
            _put(values, "text", reader.part, read, rows[present], indices)
        if encoders.text:
            known = values.setdefault("text_present", np.zeros(len(indices), np.float32))
            known[rows[present]] = 1
    return Features({name.partition("/")[0]: _beside(values, name) for name in _first(values)})


def cached(
    encoders: Encoders,
    material: Material,
    cache: Path,
    seconds: float | None = None,
) -> Features:
    """Outputs for all clips, computed once for the same encoders and the same clips."""
    names = "\n".join(clip.file + "\t" + clip.text for clip in material.clips)
    key = hashlib.sha256(f"{encoders.digest} {seconds} {names}".encode()).hexdigest()[:16]
    path = cache / f"features-{key}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            return Features(dict(arrays))
    features = compute(encoders, material, np.arange(len(material.clips)), seconds)
    save_arrays(path, **features.values)
    return features


def save(features: Features, material: Material, path: Path) -> None:
    """Write `path` (npz): the outputs, and whose they are: clip, corpus, split, speaker, label."""
    clips = material.clips
    arrays: dict[str, NDArray[Any]] = {
        "clip": np.array([clip.file for clip in clips]),
        "corpus": np.array([clip.corpus for clip in clips]),
        "split": np.array([clip.split for clip in clips]),
        "speaker": np.array([clip.speaker for clip in clips]),
        "label": np.array([clip.label for clip in clips], np.int64),
        **features.values,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _put(
    values: dict[str, Floats],
    modality: str,
    part: AudioPart | TextPart,
    outputs: dict[str, Floats],
    rows: NDArray[np.int64],
    indices: Indices,
) -> None:
    """Outputs of one part into the whole, under `audio_logits/part` and the like."""
    for spec in part.outputs:
        if spec.role not in (Role.EMBEDDING, Role.LOGITS):
            continue
        kind = "embedding" if spec.role is Role.EMBEDDING else "logits"
        width = int(spec.shape[-1])
        name = f"{modality}_{kind}/{part.name}"
        whole = values.setdefault(name, np.zeros((len(indices), width), np.float32))
        if spec.name in outputs:
            whole[rows] = outputs[spec.name]


def _first(values: dict[str, Floats]) -> Sequence[str]:
    """One key of each kind of output."""
    return list({name.partition("/")[0]: name for name in values}.values())


def _beside(values: dict[str, Floats], name: str) -> Floats:
    """All outputs of the kind of `name` side by side, in the order of the parts."""
    kind = name.partition("/")[0]
    columns = [value for key, value in values.items() if key.partition("/")[0] == kind]
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
