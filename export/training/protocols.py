"""Who is trained on and who is tested on.

A speaker who stands on both sides makes the figure a memory of voices. The published systems were
mostly measured so (a random share of the clips); that protocol is here to compare with them, and
its splits are marked. Every other one is checked for leaks before anyone gets it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportError
from .corpora import TRAINING_CORPORA, Clip, SpeakerLeakError

KINDS = ("given", "stratified", "stratified_folds", "speaker_folds", "leave_one_corpus_out")

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How clips are divided.

    Attributes:
        kind: `given`: by the `split` of each clip. `stratified`: a random share of each corpus and
            label, whoever speaks. `stratified_folds`: k-fold in the same way. `speaker_folds`:
            k-fold by speaker. `leave_one_corpus_out`: all of one corpus is the test; train and dev
            are the given ones of the others.
        corpora: that take part; others are on no side.
        folds: how many, of both kinds of folds.
        fold: only this one, from 1; all where None.
        left_out: only these corpora in turn, of `leave_one_corpus_out`; all where empty.
        test_share: share of the clips to test on, of `stratified`.
        dev_share: share of the clips to choose on, of `stratified` and its folds.
        seed: of everything that is drawn.
    """

    kind: str = "given"
    corpora: tuple[str, ...] = TRAINING_CORPORA
    folds: int = 5
    fold: int | None = None
    left_out: tuple[str, ...] = ()
    test_share: float = 0.2
    dev_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ExportError(f"there is no protocol {self.kind!r}; use one of {', '.join(KINDS)}")
        if not self.corpora:
            raise ExportError("the protocol names no corpora; name at least one")
        if self.folds < 3:
            raise ExportError(f"{self.folds} folds: one is tested on, one chosen on, so 3 or more")
        if self.fold is not None and not 1 <= self.fold <= self.folds:
            raise ExportError(f"there is no fold {self.fold} of {self.folds}; they count from 1")
        if self.test_share <= 0 or self.dev_share < 0 or self.test_share + self.dev_share >= 1:
            raise ExportError(
                f"shares of {self.test_share:g} to test and {self.dev_share:g} to choose on leave "
                "nothing, or test on nothing; both together must stay below 1"
            )
        unknown = set(self.left_out) - set(self.corpora)
        if unknown:
            raise ExportError(
                f"{', '.join(sorted(unknown))} cannot be left out of {', '.join(self.corpora)}"
            )


@dataclass(frozen=True, slots=True)
class Split:
    """One division of the clips.

    Attributes:
        name: of the split among those of its protocol; fit for a folder.
        train: int64 [n], places among the clips; trained on.
        dev: int64 [n]; chosen and calibrated on.
        test: int64 [n]; measured on, once.
        speaker_dependent: whether speakers may stand on several sides.
    """

    name: str
    train: Indices
    dev: Indices
    test: Indices
    speaker_dependent: bool = False


def splits(clips: Sequence[Clip], protocol: Protocol) -> list[Split]:
    """The divisions of a protocol, each checked for leaks; the same for the same seed.

    Raises:
        ExportError: a corpus is not there, or nothing is left to test on.
        SpeakerLeakError: a speaker stands on both sides.
    """
    present = {clip.corpus for clip in clips}
    missing = [corpus for corpus in protocol.corpora if corpus not in present]
    if missing:
        raise ExportError(
            f"there is no clip of {', '.join(missing)}; there are {', '.join(sorted(present))}"
        )
    made = {
        "given": _given,
        "stratified": _stratified,
        "stratified_folds": _stratified_folds,
        "speaker_folds": _speaker_folds,
        "leave_one_corpus_out": _leave_one_corpus_out,
    }[protocol.kind](clips, protocol)
    for split in made:
        if len(split.test) == 0:
            raise ExportError(f"the split {split.name} tests on nothing; take another protocol")
        check_leak(clips, split)
    return made


def check_leak(clips: Sequence[Clip], split: Split) -> None:
    """Refuse a clip that is on two sides, and a speaker, unless the split is speaker-dependent.

    Raises:
        SpeakerLeakError: there is one.
    """
    sides = (split.train, split.dev, split.test)
    for one, other in itertools.combinations(sides, 2):
        twice = np.intersect1d(one, other)
        if len(twice):
            raise SpeakerLeakError([clips[i].speaker for i in twice])
        if not split.speaker_dependent:
            both = {clips[i].speaker for i in one} & {clips[i].speaker for i in other}
            if both:
                raise SpeakerLeakError(sorted(both))


def _given(clips: Sequence[Clip], protocol: Protocol) -> list[Split]:
    def side(name: str) -> Indices:
        return _where(clip.split == name and clip.corpus in protocol.corpora for clip in clips)

    return [Split("given", side("train"), side("dev"), side("test"))]


def _stratified(clips: Sequence[Clip], protocol: Protocol) -> list[Split]:
    strata = _strata(clips, protocol)
    return [_cut("stratified", strata, protocol, 0.0, protocol.test_share)]


def _stratified_folds(clips: Sequence[Clip], protocol: Protocol) -> list[Split]:
    strata, folds = _strata(clips, protocol), protocol.folds
    return [
        _cut(_fold_name(fold, folds), strata, protocol, fold / folds, (fold + 1) / folds)
        for fold in _wanted_folds(protocol)
    ]


def _strata(clips: Sequence[Clip], protocol: Protocol) -> list[Indices]:
    """The places of the clips of each corpus and label, in random order."""
    rng = np.random.default_rng(protocol.seed)
    strata: dict[tuple[str, int], list[int]] = {}
    for i, clip in enumerate(clips):
        if clip.corpus in protocol.corpora:
            strata.setdefault((clip.corpus, clip.label), []).append(i)
    return [rng.permutation(strata[key]) for key in sorted(strata)]


def _cut(
    name: str, strata: Sequence[Indices], protocol: Protocol, start: float, end: float
) -> Split:
    """Of each stratum `start` to `end` is tested on, and what comes next, round it, chosen on."""
    train, dev, test = [], [], []
    for members in strata:
        first, last = round(len(members) * start), round(len(members) * end)
        test.append(members[first:last])
        rest = np.concatenate([members[last:], members[:first]])
        to_dev = round(len(members) * protocol.dev_share)
        dev.append(rest[:to_dev])
        train.append(rest[to_dev:])

    def side(parts: Sequence[Indices]) -> Indices:
        return np.sort(np.concatenate(parts)).astype(np.int64)

    return Split(name, side(train), side(dev), side(test), speaker_dependent=True)


def _wanted_folds(protocol: Protocol) -> Sequence[int]:
    return range(protocol.folds) if protocol.fold is None else [protocol.fold - 1]


def _fold_name(fold: int, folds: int) -> str:
    return f"fold-{fold + 1}-of-{folds}"


def _speaker_folds(clips: Sequence[Clip], protocol: Protocol) -> list[Split]:
    fold_of = _fold_of_speaker(clips, protocol)
    folds = np.array([fold_of.get(clip.speaker, -1) for clip in clips])
    made = []
    for fold in _wanted_folds(protocol):
        choosing = (fold + 1) % protocol.folds
        made.append(
            Split(
                name=_fold_name(fold, protocol.folds),
                train=_where((folds >= 0) & (folds != fold) & (folds != choosing)),
                dev=_where(folds == choosing),
                test=_where(folds == fold),
            )
        )
    return made


def _fold_of_speaker(clips: Sequence[Clip], protocol: Protocol) -> dict[str, int]:
    """Speakers dealt out like cards, corpus by corpus and sex by sex, so that folds are alike."""
    speakers = sorted(
        {(clip.corpus, clip.sex, clip.speaker) for clip in clips if clip.corpus in protocol.corpora}
    )
    if len({speaker for _, _, speaker in speakers}) < protocol.folds:
        raise ExportError(
            f"{len(speakers)} speakers cannot be dealt into {protocol.folds} folds; take fewer"
        )
    rng = np.random.default_rng(protocol.seed)
    fold_of: dict[str, int] = {}
    for _, group in itertools.groupby(speakers, key=lambda entry: entry[:2]):
        names = [speaker for _, _, speaker in group if speaker not in fold_of]
        for name in rng.permutation(names).tolist():
            fold_of[name] = len(fold_of) % protocol.folds
    return fold_of


def _leave_one_corpus_out(clips: Sequence[Clip], protocol: Protocol) -> list[Split]:
    if len(protocol.corpora) < 2:
        raise ExportError("one corpus alone cannot be left out; name two or more")
    made = []
    for corpus in protocol.left_out or protocol.corpora:
        others = set(protocol.corpora) - {corpus}
        made.append(
            Split(
                name=f"without-{corpus}",
                train=_where(clip.corpus in others and clip.split == "train" for clip in clips),
                dev=_where(clip.corpus in others and clip.split == "dev" for clip in clips),
                test=_where(clip.corpus == corpus for clip in clips),
            )
        )
    return made


def _where(chosen: Iterable[bool] | NDArray[np.bool_]) -> Indices:
    flags = chosen if isinstance(chosen, np.ndarray) else np.fromiter(chosen, bool)
    return np.flatnonzero(flags).astype(np.int64)
