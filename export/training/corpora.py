"""The speech corpora: what is in them, who speaks in which split, and their audio in one array.

`speech.csv` (written by the provider of the data) names every clip with its corpus, speaker,
acted emotion and an actor-disjoint split. Two decisions are made here and nowhere else:

* *calm* (RAVDESS) counts as *neutral*: listeners confuse the two, and no other corpus has both;
* *boredom* (EmoDB) is dropped: one corpus alone has it, and none of the seven labels stands for it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
SAMPLE_RATE_HZ = 16_000

# TESS is licensed without derivatives (CC BY-NC-ND 4.0): it may be listened to, not trained on.
TRAINING_CORPORA = ("cremad", "ravdess", "emodb", "nemo", "banglaser")
UNSEEN_CORPUS = "tess"

_LABEL_OF_EMOTION = {label: label for label in LABELS} | {"calm": "neutral"}
_VOTE_LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad")


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one acted sentence.

    `votes` are the shares of CREMA-D's listeners for each of `LABELS` (they heard the voice and
    saw no face), or None where nobody was asked.
    """

    file: str
    corpus: str
    split: str
    speaker: str
    label: int
    votes: tuple[float, ...] | None

    @property
    def label_name(self) -> str:
        return LABELS[self.label]


class SpeakerLeakError(ValueError):
    """A speaker stands on both sides of a split, so the measured figure would be memory."""

    def __init__(self, speakers: Sequence[str]) -> None:
        shown = ", ".join(sorted(speakers)[:5])
        super().__init__(
            f"{len(speakers)} speaker(s) are in more than one split ({shown}); "
            "give each speaker to one split before training"
        )


def read_clips(data: Path) -> list[Clip]:
    """Read `data/speech.csv`; clips whose emotion is none of `LABELS` are left out."""
    with (data / "speech.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] in _LABEL_OF_EMOTION]
    return [
        Clip(
            file=row["file"],
            corpus=row["corpus"],
            split=row["split"],
            speaker=row["speaker"],
            label=LABELS.index(_LABEL_OF_EMOTION[row["emotion"]]),
            votes=_shares(row["votes"]),
        )
        for row in rows
    ]


def _shares(votes: str) -> tuple[float, ...] | None:
    """`"6/2/0/0/1/0"` -> the share of each label; None without any vote."""
    if not votes:
        return None
    counts = [int(count) for count in votes.split("/")]
    if sum(counts) == 0:
        return None
    of_label = dict(zip(_VOTE_LABELS, counts, strict=True))
    return tuple(of_label.get(label, 0) / sum(counts) for label in LABELS)


def check_speakers_disjoint(clips: Iterable[Clip]) -> None:
    """Raise `SpeakerLeakError` if a speaker occurs in more than one split."""
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(clip.speaker, set()).add(clip.split)
    leaked = [speaker for speaker, where in splits.items() if len(where) > 1]
    if leaked:
        raise SpeakerLeakError(leaked)


def label_masks(clips: Iterable[Clip]) -> dict[str, NDArray[np.bool_]]:
    """For each corpus, which of `LABELS` it has: bool [7]."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for clip in clips:
        masks.setdefault(clip.corpus, np.zeros(len(LABELS), bool))[clip.label] = True
    return masks


def select(
    clips: Sequence[Clip], corpora: Sequence[str], splits: Sequence[str]
) -> NDArray[np.int64]:
    """Indices (int64 [n]) of the clips in the given corpora and splits, in file order."""
    return np.array(
        [i for i, clip in enumerate(clips) if clip.corpus in corpora and clip.split in splits],
        np.int64,
    )
