"""Paper 2's material: its clips, cleaned, divided as it divides them and as we do, and balanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..training.corpora import read_clips
from ..training.protocols import Protocol, Split, check_leak, splits
from .options import Options
from .prepare import CORPORA_HERE, LABELS, Balanced, Sounds, balanced, merged, prepared
from .readers import read_corpus
from .recordings import Recording, as_clips, provided
from .results import Answered

DEPENDENT, DISJOINT = "speaker-dependent", "actor-disjoint"
FOLDS = "speaker-dependent-folds"

LABELLED = ("cremad", "ravdess")
"""What an encoder is trained on here; TESS (CC BY-NC-ND) is left to the heads."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """Cleaned clips, and one division of them.

    Attributes:
        labels: int64 [n] of all clips.
    """

    options: Options
    recordings: Sequence[Recording]
    sounds: Sounds
    labels: Indices
    split: Split
    protocol: str

    @cached_property
    def even(self) -> Balanced:
        """The training part, balanced by augmentation; made when a system is the first to ask."""
        train = self.split.train
        return balanced(
            self.sounds, train, self.labels[train], self.options.cache, self.options.seed
        )

    @property
    def all_labels(self) -> Indices:
        """Of the balanced training clips, then of all clips: int64 [m + n]."""
        return np.concatenate([self.even.labels, self.labels])

    @property
    def train(self) -> Indices:
        """Places of the training part in `all_labels`."""
        return np.arange(len(self.even.labels))

    @property
    def dev(self) -> Indices:
        return self.split.dev + len(self.even.labels)

    @property
    def test(self) -> Indices:
        return self.split.test + len(self.even.labels)

    def answered(self, probabilities: Floats) -> Answered:
        """Of probabilities of the test clips."""
        test = self.split.test
        groups = tuple(self.recordings[int(i)].corpus for i in test)
        return Answered(probabilities, self.labels[test], groups)


def joined(answers: Sequence[Answered]) -> Answered:
    """Those of several divisions, one after the other."""
    return Answered(
        np.concatenate([each.probabilities for each in answers]),
        np.concatenate([each.truth for each in answers]),
        tuple(group for each in answers for group in each.groups),
    )


def gather(options: Options) -> tuple[list[Recording], Sounds]:
    """The merged clips that are here or were given, and their cleaned sounds."""
    found = provided(options.data, CORPORA_HERE)
    for name in ("iemocap", "savee"):
        if name in options.corpora:
            found += read_corpus(name, options.corpora[name])
    named = merged(found)
    if options.quick:
        named = _few(named)
    return prepared(named, options.cache)


def _few(recordings: Sequence[Recording]) -> list[Recording]:
    """Five of each class and given split, as far as there are."""
    seen: dict[tuple[str, str], int] = {}
    few = []
    for recording in recordings:
        key = (recording.emotion, recording.split)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= 5:
            few.append(recording)
    return few


def materials_of(
    options: Options, recordings: Sequence[Recording], sounds: Sounds, protocol: str
) -> list[Material]:
    """The divisions of a protocol."""
    labels = np.array([LABELS.index(recording.emotion) for recording in recordings], np.int64)
    return [
        Material(options, recordings, sounds, labels, split, protocol)
        for split in divided(options, recordings, protocol)
    ]


def divided(options: Options, recordings: Sequence[Recording], protocol: str) -> list[Split]:
    """Train, dev and test: 64, 16 and 20 % of each corpus and class, once or in five folds, or the
    given actors.

    CREMA-D and RAVDESS are divided with their neutral clips, exactly as a run of `train` by the
    same protocol divides them, so that an encoder trained by one has heard no test clip.
    """
    clips = as_clips(recordings, LABELS)
    if protocol == DISJOINT:
        return splits(clips, Protocol("given", corpora_of(recordings)))
    kind = "stratified" if protocol == DEPENDENT else "stratified_folds"
    # speech.csv names files below speech/; the same name may be in two corpora.
    place = {(r.corpus, r.path.name): i for i, r in enumerate(recordings)}
    spoken = read_clips(options.data)
    spoken_places = [place.get((clip.corpus, Path(clip.file).name), -1) for clip in spoken]
    parts = [
        (np.array(spoken_places), splits(spoken, dependent_protocol(corpora, options.seed, kind)))
        for corpora in (LABELLED, ("tess",))
    ]
    others = tuple(corpus for corpus in corpora_of(recordings) if corpus not in CORPORA_HERE)
    if others:
        made = splits(clips, dependent_protocol(others, options.seed, kind))
        parts.append((np.arange(len(clips)), made))

    def side(number: int, name: str) -> Indices:
        rows = np.concatenate([places[getattr(made[number], name)] for places, made in parts])
        return np.sort(rows[rows >= 0])

    found = [
        Split(first.name, side(i, "train"), side(i, "dev"), side(i, "test"), speaker_dependent=True)
        for i, first in enumerate(parts[0][1])
    ]
    for split in found:
        check_leak(clips, split)
    return found


def dependent_protocol(corpora: Sequence[str], seed: int, kind: str = "stratified") -> Protocol:
    """ "Stratified, 80:20", and 20 % of the training part to choose on."""
    return Protocol(kind, tuple(corpora), folds=5, test_share=0.2, dev_share=0.16, seed=seed)


def corpora_of(recordings: Sequence[Recording]) -> tuple[str, ...]:
    """Their corpora, in order."""
    return tuple(dict.fromkeys(recording.corpus for recording in recordings))


class Both:
    """Balanced training clips, then all clips."""

    def __init__(self, first: Sounds, then: Sounds) -> None:
        self.first, self.then = first, then

    def __len__(self) -> int:
        return len(self.first) + len(self.then)

    def __getitem__(self, index: int) -> Floats:
        inside = index < len(self.first)
        return self.first[index] if inside else self.then[index - len(self.first)]


def reported(system: str, protocol: str) -> dict[str, float]:
    """What the paper has for a system; its protocol is the speaker-dependent one."""
    if protocol == DISJOINT or system not in _PAPER:
        return {}
    wa, ua = _PAPER[system]
    return {"wa": wa, "ua": ua, "sum": round(wa + ua, 2)}


# WA and UA of tables 6, 8 and 9.
_PAPER: Mapping[str, tuple[float, float]] = {
    "KNeighborsClassifier": (62.94, 56.72),
    "MLPClassifier": (62.39, 54.72),
    "XGBClassifier": (48.61, 44.07),
    "LGBMClassifier": (33.01, 42.30),
    "LogisticRegression": (50.82, 41.58),
    "RandomForestClassifier": (37.52, 38.03),
    "GaussianNB": (23.89, 32.74),
    "DecisionTreeClassifier": (19.38, 22.92),
    "MobileNetV2": (38.03, 37.52),
    "CNN (1D)": (63.10, 56.70),
    "HuBERT": (75.52, 74.54),
    "HuBERT + BERT": (79.89, 77.68),
    "RAVDESS": (78.45, 79.31),
}

CORPORA_REASON = (
    "The paper has IEMOCAP and SAVEE as well, which are licensed: its hardest fifth (spontaneous "
    "dialogue) is missing here, and so are half of TESS and the song of RAVDESS."
)
