"""The speech corpora: what is in them, who speaks in which split, and their audio in one array.

`speech.csv` (written by the provider of the data) names every clip with its corpus, speaker,
acted emotion and an actor-disjoint split. Two decisions are made here and nowhere else:

* *calm* (RAVDESS) counts as *neutral*: listeners confuse the two, and no other corpus has both;
* *boredom* (EmoDB) is dropped: one corpus alone has it, and none of the seven labels stands for it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AFFECT_LABELS

from ..errors import ExportError

LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
SAMPLE_RATE_HZ = 16_000

# TESS is licensed without derivatives (CC BY-NC-ND 4.0): it may be listened to, not trained on.
TRAINING_CORPORA = ("cremad", "ravdess", "emodb", "nemo", "banglaser")

READING_CORPUS = "librispeech"
"""Neutral readers, beside the acted corpora: see extra_sounds."""

_TITLES = {
    "cremad": "CREMA-D",
    "ravdess": "RAVDESS",
    "emodb": "EmoDB",
    "nemo": "nEMO",
    "banglaser": "BanglaSER",
    "tess": "TESS",
}

_NEEDED = ("file", "corpus", "split", "speaker", "emotion")
_LABEL_OF_EMOTION = {label: label for label in LABELS} | {"calm": "neutral"}
_VOTE_LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad")


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one sentence.

    Attributes:
        file: below `speech/`, unique.
        split: train, dev or test as the provider of the data chose, disjoint by speaker.
        label: place in `LABELS`.
        votes: shares of CREMA-D's listeners for each of `LABELS` (they heard the voice and saw no
            face), or None where nobody was asked.
        sex: male, female or empty.
        language: as in the file: en, de, ...
        intensity: normal, strong, low, medium, high or empty.
        text: what is said; empty where nobody wrote it down.
        affect: valence, arousal, dominance in 0..1 as rated, or None; none of the corpora that are
            provided has it.
    """

    file: str
    corpus: str
    split: str
    speaker: str
    label: int
    votes: tuple[float, ...] | None
    sex: str = ""
    language: str = ""
    intensity: str = ""
    text: str = ""
    affect: tuple[float, float, float] | None = None

    @property
    def label_name(self) -> str:
        return LABELS[self.label]


class SpeakerLeakError(ExportError):
    """A speaker stands on both sides of a split, so the measured figure would be memory."""

    def __init__(self, speakers: Sequence[str]) -> None:
        shown = ", ".join(sorted(speakers)[:5])
        super().__init__(
            f"{len(speakers)} speaker(s) are in more than one split ({shown}); "
            "give each speaker to one split before training"
        )


def read_clips(data: Path) -> list[Clip]:
    """Read `data/speech.csv`; clips whose emotion is none of `LABELS` are left out.

    Columns: file, corpus, split, speaker, emotion; where known also sex, language, intensity,
    votes, text, and valence, arousal, dominance (0..1).

    Raises:
        ExportError: there is no such file, it lacks a column, or names no clip.
    """
    path = data / "speech.csv"
    if not path.is_file():
        raise ExportError(f"{data} holds no speech.csv; give --data the folder that does")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise ExportError(f"{path} has no column {missing[0]!r}; it needs {', '.join(_NEEDED)}")
        clips = [_clip(row) for row in reader if row["emotion"] in _LABEL_OF_EMOTION]
    if not clips:
        known = ", ".join(_LABEL_OF_EMOTION)
        raise ExportError(f"{path} names no clip with an emotion that is known ({known})")
    return clips


def _clip(row: Mapping[str, str | None]) -> Clip:
    def given(name: str) -> str:
        return row.get(name) or ""

    rated = [given(name) for name in AFFECT_LABELS]
    try:
        affect = tuple(float(value) for value in rated) if all(rated) else None
    except ValueError as error:
        raise ExportError(f"speech.csv: {given('file')}: {error}; ratings are 0 to 1") from error
    return Clip(
        file=given("file"),
        corpus=given("corpus"),
        split=given("split"),
        speaker=given("speaker"),
        label=LABELS.index(_LABEL_OF_EMOTION[given("emotion")]),
        votes=_shares(given("votes")),
        sex=given("sex"),
        language=given("language"),
        intensity=given("intensity"),
        text=given("text"),
        affect=affect,
    )


def _shares(votes: str) -> tuple[float, ...] | None:
    """`"6/2/0/0/1/0"` -> the share of each label; None without any vote."""
    if not votes:
        return None
    counts = [int(count) for count in votes.split("/")]
    if sum(counts) == 0:
        return None
    of_label = dict(zip(_VOTE_LABELS, counts, strict=True))
    return tuple(of_label.get(label, 0) / sum(counts) for label in LABELS)


def title(corpus: str) -> str:
    """A corpus as people write it; one that is not known, as it is named."""
    return _TITLES.get(corpus, corpus)


def label_masks(clips: Iterable[Clip]) -> dict[str, NDArray[np.bool_]]:
    """For each corpus, which of `LABELS` it has: bool [7]."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for clip in clips:
        masks.setdefault(clip.corpus, np.zeros(len(LABELS), bool))[clip.label] = True
    return masks
