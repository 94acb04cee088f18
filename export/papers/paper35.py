"""What papers 3 and 5 share: EmoSPeech 2024, its texts, and stand-ins for its sounds.

The task's corpus is Spanish MEACorpus 2023. Its transcripts of the training part are here, its
sounds are not: they are cut out of videos by who has the licence to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from ..errors import ExportError
from .options import Options
from .prepare import Sounds
from .readers import read_corpus
from .recordings import Recording
from .speech_here import everybody, few, sounds_of

TEXT_LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness")
SPEECH_LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Divided:
    """Recordings with train, dev and test, places among them.

    Attributes:
        names: of the labels.
        protocol: in words.
        data: in words.
    """

    recordings: Sequence[Recording]
    labels: Indices
    names: tuple[str, ...]
    train: Indices
    dev: Indices
    test: Indices
    protocol: str
    data: str

    @property
    def texts(self) -> list[str]:
        return [recording.text for recording in self.recordings]

    def sounds(self, cache: Path) -> Sounds:
        """Their sounds."""
        return sounds_of(self.recordings, cache)


def task_texts(options: Options) -> Divided:
    """Task 1: the transcripts. The official test where the reader finds it, else a fifth of train.

    Raises:
        ExportError: the table is nowhere.
    """
    folder = options.corpora.get("meacorpus", options.data / "text" / "meacorpus2023_es")
    return _divided(_kept(read_corpus("meacorpus", folder), options, 600), options)


def task_speech(options: Options) -> Divided:
    """Task 2: MEACorpus with sounds where it was given, else the acted corpora that are here."""
    if "meacorpus" in options.corpora:
        found = read_corpus("meacorpus", options.corpora["meacorpus"])
        heard = [recording for recording in found if recording.path.is_file()]
        if not heard:
            raise ExportError(
                f"{options.corpora['meacorpus']} holds the table of MEACorpus and none of its "
                "sounds; cut them with the corpus's own script (as wav, flac, ogg or mp3) and put "
                "them anywhere below"
            )
        return _divided(_kept(heard, options, 600), options)
    found = everybody(options.data)
    if options.quick:
        found = few(found, 240, options.seed)
    labels = np.array([SPEECH_LABELS.index(recording.emotion) for recording in found], np.int64)
    sides = {
        side: np.array([i for i, r in enumerate(found) if r.split == side], np.int64)
        for side in ("train", "dev", "test")
    }
    return Divided(
        found, labels, SPEECH_LABELS, **sides, protocol="actors disjoint",
        data="CREMA-D, RAVDESS, EmoDB, nEMO and BanglaSER, seven labels",
    )  # fmt: skip


def _kept(found: Sequence[Recording], options: Options, most: int) -> list[Recording]:
    known = [recording for recording in found if recording.emotion in TEXT_LABELS]
    return few(known, most, options.seed) if options.quick else known


def _divided(found: Sequence[Recording], options: Options) -> Divided:
    """The published test where there is one, and "90-10" of the rest to choose on."""
    labels = np.array([TEXT_LABELS.index(recording.emotion) for recording in found], np.int64)
    every = np.arange(len(found))
    test = np.array([i for i, r in enumerate(found) if r.split == "test"], np.int64)
    protocol = "official test"
    if len(test) == 0:
        rest, test = train_test_split(
            every, test_size=0.2, stratify=labels, random_state=options.seed
        )
        protocol = "a fifth of the training part, stratified"
    else:
        rest = np.setdiff1d(every, test)
    train, dev = train_test_split(
        rest, test_size=0.1, stratify=labels[rest], random_state=options.seed
    )
    return Divided(
        found, labels, TEXT_LABELS, np.sort(train), np.sort(dev), np.sort(test), protocol,
        "MEACorpus 2023",
    )  # fmt: skip


TEXT_REASON = (
    "The 1,027 test rows of EmoSPeech are not here: the test is a fifth of the training part, "
    "which shares videos and speakers with the rest, so that it is easier."
)
SPEECH_REASON = (
    "The sounds of MEACorpus are not here. On acted corpora the voice says nearly all, and the "
    "sentences, which the actors were given, nearly nothing; in the paper it is the other way "
    "round."
)
