"""What the two encoders answer, through the graphs that are served; computed once, then read.

A head must not learn from clips or sentences that its encoders were trained on: on those they are
surer and more often right than they will ever be again, and the head would trust them for it
(Wolpert, "Stacked generalization", 1992). So everything here is asked of dev and test alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle_description import AFFECT_LABELS, Part, Role
from realtime_ser.models.text import TextExpert

from ..encoder_folder import GRAPH_FILE, TOKENIZER_FILE, read_record
from ..errors import ExportError
from ..graphs.served import serve_folder
from ..training.array_files import save_arrays

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

_BATCH_CLIPS = 32
_BATCH_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Answers:
    """What one encoder says of n clips or texts.

    Attributes:
        logits: float32 [n, labels], in the bundle's order.
        embedding: float32 [n, width], its pooled hidden states.
        affect: float32 [n, 3], valence, arousal, dominance, 0..1; width 0 where it gives none.
    """

    logits: Floats
    embedding: Floats
    affect: Floats

    def wide(self, rows: NDArray[np.int64] | slice = slice(None)) -> Floats:
        """What the graph of the bundle gives a head: embedding, logits and affect side by side.

        Args:
            rows: of which of the n.
        """
        parts = (self.embedding, self.logits, self.affect)
        return np.concatenate([part[rows] for part in parts], axis=1)

    @property
    def layout(self) -> Layout:
        return Layout(self.embedding.shape[1], self.logits.shape[1], self.affect.shape[1])


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what stands in a wide embedding: widths of the embedding, the logits and affect."""

    embedding: int
    labels: int
    affect: int

    @property
    def width(self) -> int:
        return self.embedding + self.labels + self.affect


def hear(
    folder: Path,
    waves: Callable[[NDArray[np.int64]], Sequence[Floats]],
    lengths: NDArray[np.int64],
    names: Sequence[str],
    labels: Sequence[str],
    cache: Path,
    *,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
) -> Answers:
    """Ask a speech encoder about n clips.

    Args:
        folder: its encoder folder.
        waves: the waveforms of some of the n, float32 [samples] in -1..1.
        lengths: int64 [n], about how long each clip is; sorts them into batches.
        names: of the clips; with the graph they name the file in `cache`.
        labels: the bundle's, in order.

    Raises:
        ExportError: the encoder lacks logits or an embedding, or has other labels.
    """
    expert, part = _serve(folder, "audio", threads)
    assert isinstance(expert, AudioExpert)

    def ask(rows: NDArray[np.int64]) -> dict[str, Floats]:
        return expert.run(waves(rows))

    return _asked(folder, part, ask, lengths, names, labels, cache, _BATCH_CLIPS, progress)


def read(
    folder: Path,
    texts: Sequence[str],
    labels: Sequence[str],
    cache: Path,
    *,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
) -> Answers:
    """Ask a text encoder about n texts; otherwise as `hear`."""
    expert, part = _serve(folder, "text", threads)
    assert isinstance(expert, TextExpert)

    def ask(rows: NDArray[np.int64]) -> dict[str, Floats]:
        return expert.run([texts[row] for row in rows])

    lengths = np.array([len(text) for text in texts], np.int64)
    return _asked(folder, part, ask, lengths, texts, labels, cache, _BATCH_TEXTS, progress)


def _serve(folder: Path, modality: str, threads: int) -> tuple[AudioExpert | TextExpert, Part]:
    record = read_record(folder)
    if record.modality != modality:
        raise ExportError(f"{folder} is a model of {record.modality}; give one of {modality}")
    served = serve_folder(folder, threads=threads)
    return served.expert, served.part


def _asked(
    folder: Path,
    part: Part,
    ask: Callable[[NDArray[np.int64]], dict[str, Floats]],
    lengths: NDArray[np.int64],
    names: Sequence[str],
    labels: Sequence[str],
    cache: Path,
    batch: int,
    progress: Progress,
) -> Answers:
    """The answers in `cache`, or computed batch by batch of about the same length."""
    place = cache / f"answers-{_key(folder, names, labels)}.npz"
    if place.is_file():
        with np.load(place, allow_pickle=False) as arrays:
            return Answers(arrays["logits"], arrays["embedding"], arrays["affect"])
    outputs = {role: part.output(role) for role in Role}
    for role in (Role.LOGITS, Role.EMBEDDING):
        if outputs[role] is None:
            raise ExportError(f"{folder} has no output of role {role}; fusion needs it")
    order = np.argsort(lengths, kind="stable")
    found: dict[Role, Floats] = {}
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        values = ask(rows)
        for role, spec in outputs.items():
            if spec is None:
                continue
            value = values[spec.name]
            whole = found.setdefault(role, np.zeros((len(names), value.shape[1]), np.float32))
            whole[rows] = value
        progress(start + len(rows), len(order))
    affect = np.zeros((len(names), 0), np.float32)
    if (spec := outputs[Role.AFFECT]) is not None and Role.AFFECT in found:
        low, high = spec.range or (0.0, 1.0)
        columns = _columns(spec.labels, AFFECT_LABELS, folder)
        affect = (found[Role.AFFECT][:, columns] - np.float32(low)) / np.float32(high - low)
    heads = outputs[Role.LOGITS]
    assert heads is not None
    logits = found[Role.LOGITS][:, _columns(heads.labels, labels, folder)]
    answers = Answers(logits, found[Role.EMBEDDING], affect)
    save_arrays(place, logits=answers.logits, embedding=answers.embedding, affect=answers.affect)
    return answers


def _columns(own: Sequence[str], wanted: Sequence[str], folder: Path) -> list[int]:
    if set(own) != set(wanted):
        raise ExportError(
            f"{folder} answers {', '.join(own)}, the bundle {', '.join(wanted)}; they must be the "
            "same labels to be joined"
        )
    return [list(own).index(label) for label in wanted]


def _key(folder: Path, names: Sequence[str], labels: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file in (GRAPH_FILE, TOKENIZER_FILE):
        if (folder / file).is_file():
            digest.update((folder / file).read_bytes())
    digest.update("\0".join([*names, "", *labels]).encode())
    return digest.hexdigest()[:16]
