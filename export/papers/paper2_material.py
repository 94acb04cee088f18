"""Paper 2's material: its clips, cleaned, divided as it divides them and as we do, and balanced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

LABELLED = ("cremad", "ravdess")
"""What an encoder is trained on here; TESS (CC BY-NC-ND) is left to the heads."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Material:
    """Cleaned clips, and one division of them with its training part balanced.

    Attributes:
        labels: int64 [n] of all clips.
        even: the training part after augmentation.
    """

    recordings: Sequence[Recording]
    sounds: Sounds
    labels: Indices
    split: Split
    even: Balanced
    protocol: str

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


def material_of(
    options: Options, recordings: Sequence[Recording], sounds: Sounds, protocol: str
) -> Material:
    """One division, its training part balanced."""
    split = divided(options, recordings, protocol)
    labels = np.array([LABELS.index(recording.emotion) for recording in recordings], np.int64)
    even = balanced(sounds, split.train, labels[split.train], options.cache, options.seed)
    return Material(recordings, sounds, labels, split, even, protocol)


def divided(options: Options, recordings: Sequence[Recording], protocol: str) -> Split:
    """Train, dev and test: 64, 16 and 20 % of each corpus and class, or the given actors.

    CREMA-D and RAVDESS are divided with their neutral clips, exactly as a run of `train` by the
    same protocol divides them, so that an encoder trained by one has heard no test clip.
    """
    clips = as_clips(recordings, LABELS)
    if protocol == DISJOINT:
        return splits(clips, Protocol("given", corpora_of(recordings)))[0]
    # speech.csv names files below speech/; the same name may be in two corpora.
    place = {(r.corpus, r.path.name): i for i, r in enumerate(recordings)}
    sides: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    spoken = read_clips(options.data)
    for corpora in (LABELLED, ("tess",)):
        made = splits(spoken, dependent_protocol(corpora, options.seed))[0]
        for side, chosen in sides.items():
            keys = ((spoken[i].corpus, Path(spoken[i].file).name) for i in getattr(made, side))
            chosen += [place[key] for key in keys if key in place]
    others = tuple(corpus for corpus in corpora_of(recordings) if corpus not in CORPORA_HERE)
    if others:
        made = splits(clips, dependent_protocol(others, options.seed))[0]
        for side, chosen in sides.items():
            chosen += getattr(made, side).tolist()
    sorted_sides = {side: np.sort(np.array(rows, np.int64)) for side, rows in sides.items()}
    split = Split("stratified", **sorted_sides, speaker_dependent=True)
    check_leak(clips, split)
    return split


def dependent_protocol(corpora: Sequence[str], seed: int) -> Protocol:
    """ "Stratified, 80:20", and 20 % of the training part to choose on."""
    return Protocol("stratified", tuple(corpora), test_share=0.2, dev_share=0.16, seed=seed)


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
