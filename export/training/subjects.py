"""What can be evaluated: an encoder folder or a bundle, asked through the graphs that are served.

Answers are given for `LABELS`, in that order. A label that the subject does not have is ruled out;
a label of the subject's that is none of `LABELS` is an error, since nothing can be right or wrong
about it: map it first, with a recipe of a bundle.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle import load_bundle, packaged_bundles
from realtime_ser.models.bundle_description import Role
from realtime_ser.models.bundle_files import DESCRIPTION_FILE
from realtime_ser.models.ort import choose_provider
from realtime_ser.types import AnalysisJob, JobKind, Samples, Transcript, Utterance

from ..encoder_folder import GRAPH_FILE, RECORD_FILE, read_record
from ..errors import ExportError
from ..graphs.served import serve_folder
from .calibration import Calibration
from .corpora import LABELS
from .metrics import RULED_OUT, Flags, Floats

Waves = Sequence[NDArray[np.float32]]

_BATCH_SAMPLES = 1_500_000
_BATCH_CLIPS = 64
# The scores of a bundle are the logarithms of its probabilities, which may be 0 to the last bit.
_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Answers:
    """What a subject says of n sounds.

    Attributes:
        scores: float64 [n, 7], in nats, in the order of `LABELS`: to be divided by a temperature.
        abstained: bool [n] where the subject decides that itself; None where it has no threshold.
        affect: float64 [n, 3], valence, arousal, dominance in 0..1; None where it gives none.
    """

    scores: Floats
    abstained: Flags | None
    affect: Floats | None


class Subject(Protocol):
    """Something that answers sounds.

    Attributes:
        kind: encoder or bundle.
        name: for people.
        digest: sha256 that names it.
        calibration: its own; None where that is to be fitted on dev.
        labels: bool [7], those of `LABELS` that it can answer.
        reads: whether texts make a difference.
    """

    kind: str
    name: str
    digest: str
    calibration: Calibration | None
    labels: Flags
    reads: bool

    def answer(self, waves: Waves, texts: Sequence[str]) -> Answers:
        """Answer waveforms, float32 [samples] in -1..1 each, with a text for each, or ''."""
        ...


class EncoderSubject:
    """The encoder folder of a speech model with a head for emotions.

    Raises:
        ExportError: it is none, or it answers with labels of its own.
    """

    kind = "encoder"
    calibration: Calibration | None = None
    reads = False

    def __init__(self, folder: Path, threads: int = 1) -> None:
        record = read_record(folder)
        if record.modality != "audio":
            raise ExportError(
                f"{folder} is a model of {record.modality}; what is evaluated here hears: give a "
                "speech encoder, or a bundle that holds both"
            )
        served = serve_folder(folder, threads=threads)
        assert isinstance(served.expert, AudioExpert)
        self._expert = served.expert
        head = next((spec for spec in served.part.outputs if spec.role is Role.LOGITS), None)
        if head is None:
            raise ExportError(
                f"{folder} has no head for emotions, only an embedding; train one, or see "
                "`features`"
            )
        self.name = record.source.model
        self.digest = sha256_of(folder / GRAPH_FILE)
        self.labels, self._columns = columns_of(head.labels, str(folder))
        self._output = head.name

    def answer(self, waves: Waves, texts: Sequence[str]) -> Answers:
        """See `Subject`; the texts make no difference."""
        scores = np.full((len(waves), len(LABELS)), RULED_OUT)
        for rows in by_length(waves):
            values = self._expert.run([waves[row] for row in rows])[self._output]
            scores[np.ix_(rows, self._columns)] = values
        return Answers(scores, None, None)


class BundleSubject:
    """A bundle, asked as `realtime-ser` asks it: fusion, calibration and abstention its own.

    Args:
        own_calibration: False to forget its temperature and threshold, as if it had none yet.

    Raises:
        ExportError: it answers with labels of its own.
        BundleError: it is damaged.
    """

    kind = "bundle"

    def __init__(
        self, name_or_path: str | Path, threads: int = 1, *, own_calibration: bool = True
    ) -> None:
        bundle = load_bundle(name_or_path)
        description = bundle.description
        self._texts = _GivenTexts()
        self.analyzer = BundleAnalyzer(
            bundle, choose_provider("cpu"), threads=threads, transcriber=self._texts
        )
        own = description.calibration
        self.name = f"{description.name} {description.version}"
        self.digest = bundle.hash
        self.calibration = (
            Calibration(own.temperature, own.abstain_below, "bundle") if own_calibration else None
        )
        self.labels, self._columns = columns_of(description.labels, self.name)
        self.reads = bool(description.text)

    def answer(self, waves: Waves, texts: Sequence[str]) -> Answers:
        """See `Subject`."""
        scores = np.full((len(waves), len(LABELS)), RULED_OUT)
        abstained = np.zeros(len(waves), bool)
        affect = np.zeros((len(waves), 3))
        temperature = self.analyzer.bundle.description.calibration.temperature
        for rows in by_length(waves):
            self._texts.give(texts[row] for row in rows)
            jobs = [_job(row, waves[row]) for row in rows]
            for row, analysis in zip(rows, self.analyzer.analyze(jobs), strict=True):
                probabilities = np.maximum(analysis.emotion.probabilities, _LEAST_PROBABILITY)
                scores[row, self._columns] = temperature * np.log(probabilities)
                abstained[row] = analysis.abstained
                said = analysis.affect
                affect[row] = (said.valence, said.arousal, said.dominance)
        return Answers(scores, abstained if self.calibration else None, affect)


class _GivenTexts:
    """A transcriber that reads off what was said."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()

    def give(self, texts: Iterator[str]) -> None:
        """The texts of the jobs to come, in their order."""
        self._texts.extend(texts)

    def transcribe(self, samples: Samples) -> Transcript | None:
        """The text of the next job; None where it has none."""
        text = self._texts.popleft()
        return Transcript(text, "", 0.0, 0.0) if text else None

    def warm_up(self) -> None:
        """Nothing has to be loaded."""


def open_subject(name_or_path: str | Path, threads: int = 1) -> Subject:
    """An encoder folder or a bundle, by its path or the name of a packaged bundle.

    Raises:
        ExportError: it is neither.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_bundles() or (path / DESCRIPTION_FILE).is_file():
        return BundleSubject(name_or_path, threads)
    if (path / RECORD_FILE).is_file():
        return EncoderSubject(path, threads)
    raise ExportError(
        f"{name_or_path} is no run, encoder folder or bundle: it holds no run.json, "
        f"{RECORD_FILE} or {DESCRIPTION_FILE}"
    )


def predict(
    model: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]],
    waves: Waves,
    minimum_samples: int = 4000,
) -> NDArray[np.float32]:
    """Logits float32 [n, labels] of waveforms of any length, batched by length.

    For a network that is still being trained; what is exported is asked through a `Subject`.
    `model` takes waveform float32 [batch, samples] and lengths int64 [batch].
    """
    out: NDArray[np.float32] | None = None
    for rows in by_length(waves):
        lengths = np.array([max(len(waves[row]), minimum_samples) for row in rows], np.int64)
        waveform = np.zeros((len(rows), int(lengths.max())), np.float32)
        for place, row in zip(waveform, rows, strict=True):
            place[: len(waves[row])] = waves[row]
        logits = model(waveform, lengths)
        if out is None:
            out = np.zeros((len(waves), logits.shape[1]), np.float32)
        out[rows] = logits
    return np.zeros((0, len(LABELS)), np.float32) if out is None else out


def by_length(waves: Sequence[Sized]) -> Iterator[NDArray[np.int64]]:
    """Rows of batches of about the same length (samples, letters), so that little is padding."""
    lengths = np.array([len(wave) for wave in waves])
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        # Sorted by length: the next clip is the longest, so it decides the size of the batch.
        while (
            stop < len(order)
            and stop - start < _BATCH_CLIPS
            and (stop + 1 - start) * lengths[order[stop]] < _BATCH_SAMPLES
        ):
            stop += 1
        yield order[start:stop]
        start = stop


def _job(number: int, wave: NDArray[np.float32]) -> AnalysisJob:
    samples = np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
    utterance = Utterance(number, 0, len(samples), samples, speech_samples=len(samples))
    return AnalysisJob(number, utterance, 0, JobKind.FINAL)


def columns_of(own: Sequence[str], name: str) -> tuple[Flags, NDArray[np.int64]]:
    """Which of `LABELS` there are, and where each of the subject's own goes."""
    strange = [label for label in own if label not in LABELS]
    if strange:
        raise ExportError(
            f"{name} answers {', '.join(strange)}, which the corpora do not know; make a bundle "
            f"whose recipe maps its labels to {', '.join(LABELS)}, and evaluate that"
        )
    columns = np.array([LABELS.index(label) for label in own], np.int64)
    return np.isin(LABELS, own), columns


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
