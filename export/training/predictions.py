"""What a subject answered: the one thing that all figures are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportError
from ..speech.audio_cache import PRE_ROLL_SAMPLES, AudioCache
from .calibration import Calibration, fit
from .corpora import SAMPLE_RATE_HZ, Clip, label_masks
from .metrics import Flags, Floats, softmax
from .protocols import Indices
from .subjects import Answers, Subject

FILE = "predictions.npz"
EARLY_SECONDS = (0.5, 1.0, 2.0, 3.0)
_BLOCK_CLIPS = 1024
LONGEST_SAMPLES = 15 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Material:
    """The clips, their audio in the same order, and what each corpus can be asked.

    Attributes:
        masks: which labels each corpus has, bool [7].
    """

    clips: Sequence[Clip]
    audio: AudioCache
    masks: dict[str, Flags] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "masks", label_masks(self.clips))

    def waves(self, indices: Indices, seconds: float | None = None) -> list[Floats]:
        """Clips as the product cuts them, or what it has heard after `seconds` of speech."""
        longest = LONGEST_SAMPLES
        if seconds is not None:
            longest = PRE_ROLL_SAMPLES + int(seconds * SAMPLE_RATE_HZ)
        return [self.audio.utterance(int(i))[:longest] for i in indices]


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers to n clips, calibrated.

    Attributes:
        indices: int64 [n], places among the clips.
        scores: float64 [n, 7]; a softmax makes probabilities of them.
        abstained: bool [n].
        allowed: bool [n, 7]: labels that both the clip's corpus and the subject have.
        affect: float64 [n, 3], or None.
        early: scores by seconds of speech heard, as `scores`.
    """

    indices: Indices
    scores: Floats
    abstained: Flags
    allowed: Flags
    affect: Floats | None
    early: dict[float, Floats] = field(default_factory=dict)

    def of(self, chosen: Flags) -> Predictions:
        """Those of some rows, bool [n]."""
        return Predictions(
            self.indices[chosen],
            self.scores[chosen],
            self.abstained[chosen],
            self.allowed[chosen],
            None if self.affect is None else self.affect[chosen],
            {seconds: scores[chosen] for seconds, scores in self.early.items()},
        )


def calibrate(subject: Subject, material: Material, dev: Indices, texts: bool) -> Calibration:
    """The subject's own calibration, or one fitted on dev.

    Raises:
        ExportError: dev is empty, or holds no label of the subject's.
    """
    if subject.calibration is not None:
        return subject.calibration
    truth = _truth(material, dev)
    known = subject.labels[truth]
    answers = _ask(subject, material, dev[known], texts)
    return fit(answers.scores, truth[known])


def predict_clips(
    subject: Subject,
    calibration: Calibration,
    material: Material,
    indices: Indices,
    *,
    trained: Flags,
    texts: bool,
    early: Sequence[float] = (),
) -> Predictions:
    """Answer clips.

    Args:
        trained: bool [7], labels that were trained on; the others count as not there.
        texts: whether to give each clip's text, or none.
        early: seconds of speech after which to ask as well.
    """
    answers = _ask(subject, material, indices, texts)
    scores, abstained = apply(calibration, answers)
    masks = [material.masks[material.clips[i].corpus] for i in indices]
    allowed = np.reshape(masks, (len(indices), -1)).astype(bool) & subject.labels & trained
    made = Predictions(indices, scores, abstained, allowed, answers.affect)
    heard = {
        seconds: apply(calibration, _ask(subject, material, indices, texts=False, seconds=seconds))
        for seconds in early
    }
    return replace(made, early={seconds: scores for seconds, (scores, _) in heard.items()})


def apply(calibration: Calibration, answers: Answers) -> tuple[Floats, Flags]:
    """Calibrated scores, and where the answer is withheld."""
    scores = answers.scores / calibration.temperature
    if answers.abstained is not None:
        return scores, answers.abstained
    return scores, softmax(scores).max(1) < calibration.abstain_below


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several splits together."""
    first = parts[0]
    return Predictions(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.abstained for part in parts]),
        np.concatenate([part.allowed for part in parts]),
        _all([part.affect for part in parts]),
        {
            seconds: np.concatenate([part.early[seconds] for part in parts])
            for seconds in first.early
        },
    )


def save(predictions: Predictions, clips: Sequence[Clip], path: Path) -> None:
    """Write `path` (npz): what was asked (clip, corpus, label) and what was answered."""
    chosen = [clips[i] for i in predictions.indices]
    arrays = {
        "clip": np.array([clip.file for clip in chosen]),
        "corpus": np.array([clip.corpus for clip in chosen]),
        "speaker": np.array([clip.speaker for clip in chosen]),
        "label": np.array([clip.label for clip in chosen], np.int64),
        "scores": predictions.scores.astype(np.float32),
        "abstained": predictions.abstained,
        "allowed": predictions.allowed,
    }
    if predictions.affect is not None:
        arrays["affect"] = predictions.affect.astype(np.float32)
    for seconds, scores in predictions.early.items():
        arrays[f"scores_after_{seconds:g}_s"] = scores.astype(np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `save` wrote.

    Raises:
        ExportError: there is no such file.
    """
    if not path.is_file():
        raise ExportError(f"{path.parent} holds no {FILE}; evaluate it first")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _truth(material: Material, indices: Indices) -> Indices:
    return np.array([material.clips[i].label for i in indices], np.int64)


def _ask(
    subject: Subject,
    material: Material,
    indices: Indices,
    texts: bool,
    seconds: float | None = None,
) -> Answers:
    # In blocks: the waveforms of a whole corpus do not have to be in memory at once.
    blocks = [
        indices[start : start + _BLOCK_CLIPS] for start in range(0, len(indices), _BLOCK_CLIPS)
    ]
    answers = []
    for block in blocks or [indices]:
        given = [material.clips[i].text if texts else "" for i in block]
        answers.append(subject.answer(material.waves(block, seconds), given))
    return Answers(
        np.concatenate([answer.scores for answer in answers]),
        _all([answer.abstained for answer in answers]),
        _all([answer.affect for answer in answers]),
    )


def _all(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """The parts together; None where one is missing."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None
