"""What encoders that are not trained say of clips and texts, through the graphs that are served."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle_description import Role
from realtime_ser.models.text import TextExpert

from ..errors import ExportError
from ..fusion.answers import Answers
from ..training.array_files import save_arrays
from ..training.features import Encoders, open_encoders
from ..training.subjects import by_length
from .bars import bar

Floats = NDArray[np.float32]
_TEXTS = 64
_CLIPS = 512


class Waves(Protocol):
    """n waveforms, float32 [samples] each: a list, or `prepare.Sounds`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Floats: ...


def hear(encoder: str | Path, waves: Waves, cache: Path, threads: int = 1) -> Answers:
    """Embedding and logits of n waveforms by the first speech encoder of a bundle or folder.

    What was computed once is read from `cache`.

    Raises:
        ExportError: it holds none, or one without an embedding.
    """
    encoders = open_encoders(encoder, threads)
    if not encoders.audio:
        raise ExportError(f"{encoder} holds no speech encoder; give --audio one that does")
    expert = encoders.audio[0]
    path = cache / f"heard-{_key(encoders, digest_of(waves))}.npz"
    return _kept(path) or _keep(path, _hear(expert, waves))


def read(encoder: str | Path, texts: Sequence[str], cache: Path, threads: int = 1) -> Answers:
    """The same of n texts; raises alike."""
    encoders = open_encoders(encoder, threads)
    if not encoders.text:
        raise ExportError(f"{encoder} holds no text encoder; give --text one that does")
    expert = encoders.text[0]
    path = cache / f"read-{_key(encoders, chr(0).join(texts))}.npz"
    return _kept(path) or _keep(path, _read(expert, texts))


def digest_of(waves: Waves) -> str:
    """A name for n waveforms."""
    # The first and last samples and all lengths tell sets of sounds apart well enough.
    digest = hashlib.sha256()
    for index in range(len(waves)):
        wave = waves[index]
        digest.update(len(wave).to_bytes(4) + wave[:64].tobytes() + wave[-64:].tobytes())
    return digest.hexdigest()


def has_text(encoder: str | Path) -> bool:
    """Whether a bundle or folder holds a text encoder."""
    return bool(open_encoders(encoder).text)


def embedded(expert: AudioExpert, waves: Waves) -> Floats:
    """The embeddings of n waveforms, float32 [n, width], computed now."""
    return _hear(expert, waves)["embedding"]


def _hear(expert: AudioExpert, waves: Waves) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    starts = range(0, len(waves), _CLIPS)
    for start in bar(starts, "speech encoder", brief=True):
        block = [waves[index] for index in range(start, min(start + _CLIPS, len(waves)))]
        for rows in by_length(block):
            outputs = expert.run([block[row] for row in rows])
            _put(found, expert.part, outputs, rows + start, len(waves))
    return found


def _read(expert: TextExpert, texts: Sequence[str]) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in bar(range(0, len(order), _TEXTS), "text encoder", brief=True):
        rows = order[start : start + _TEXTS]
        _put(found, expert.part, expert.run([texts[row] for row in rows]), rows, len(texts))
    return found


def _put(
    found: dict[str, Floats],
    part: AudioExpert | TextExpert | object,
    outputs: dict[str, Floats],
    rows: NDArray[np.int64],
    count: int,
) -> None:
    for spec in part.outputs:  # type: ignore[attr-defined]
        if spec.role in (Role.EMBEDDING, Role.LOGITS):
            width = outputs[spec.name].shape[1]
            whole = found.setdefault(spec.role.value, np.zeros((count, width), np.float32))
            whole[rows] = outputs[spec.name]


def _keep(path: Path, found: dict[str, Floats]) -> Answers:
    if "embedding" not in found:
        raise ExportError("the encoder has no embedding, which the papers' heads are built on")
    save_arrays(path, **found)
    return _answers(found)


def _kept(path: Path) -> Answers | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return _answers(dict(arrays))


def _answers(found: dict[str, Floats]) -> Answers:
    nothing = np.zeros((len(found["embedding"]), 0), np.float32)
    return Answers(found.get("logits", nothing), found["embedding"], nothing)


def _key(encoders: Encoders, content: str) -> str:
    return hashlib.sha256(f"{encoders.digest} {content}".encode()).hexdigest()[:16]
