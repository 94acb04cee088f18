"""Divisions of clips: complete, the same every time, and never the same voice on two sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser_export.errors import ExportError
from realtime_ser_export.training.corpora import Clip, SpeakerLeakError
from realtime_ser_export.training.extra_sounds import noise_files, reader_files, split_of
from realtime_ser_export.training.protocols import (
    KINDS,
    Protocol,
    Split,
    check_leak,
    splits,
)

CORPORA = ("cremad", "ravdess", "nemo")


def clip(number: int, corpus: str, speaker: int, label: int) -> Clip:
    """Speakers 0, 1 and 2 of each corpus are in test, dev and train; further ones in train."""
    side = ("test", "dev")[speaker] if speaker < 2 else "train"
    sex = ("male", "female")[speaker % 2]
    return Clip(f"{number}", corpus, side, f"{corpus}-{speaker}", label, None, sex)


@st.composite
def collections(draw: st.DrawFn) -> list[Clip]:
    """Every corpus has speakers 0 to 2 at least; in any order."""
    pairs = [(corpus, speaker) for corpus in CORPORA for speaker in range(3)]
    more = st.tuples(st.sampled_from(CORPORA), st.integers(0, 9))
    pairs += draw(st.lists(more, max_size=60))
    pairs = draw(st.permutations(pairs))
    labels = draw(st.lists(st.integers(0, 6), min_size=len(pairs), max_size=len(pairs)))
    return [
        clip(i, *pair, label) for i, (pair, label) in enumerate(zip(pairs, labels, strict=True))
    ]


@given(collections(), st.sampled_from(KINDS), st.integers(0, 5))
def test_no_division_leaks(clips: list[Clip], kind: str, seed: int) -> None:
    protocol = Protocol(kind, CORPORA, folds=3, test_share=0.4, dev_share=0.2, seed=seed)
    try:
        made = splits(clips, protocol)
    except ExportError as error:  # so few clips of each label that the share of them is none
        assert kind.startswith("stratified") and "tests on nothing" in str(error)
        return
    for split in made:
        sides = [split.train, split.dev, split.test]
        together = np.concatenate(sides)
        assert len(together) == len(set(together.tolist()))
        speakers = [{clips[i].speaker for i in side} for side in sides]
        if not split.speaker_dependent:
            assert not speakers[0] & speakers[1]
            assert not speakers[0] & speakers[2]
            assert not speakers[1] & speakers[2]
        assert split.speaker_dependent == kind.startswith("stratified")
    again = splits(clips, protocol)
    for one, other in zip(made, again, strict=True):
        assert np.array_equal(one.train, other.train) and np.array_equal(one.test, other.test)


@given(collections(), st.sampled_from(["speaker_folds", "stratified_folds"]), st.integers(0, 5))
def test_folds_test_every_clip_once(clips: list[Clip], kind: str, seed: int) -> None:
    clips = clips * 4 if kind == "stratified_folds" else clips  # so that each fold has some
    made = splits(clips, Protocol(kind, CORPORA, folds=4, seed=seed))
    assert [split.name for split in made] == [f"fold-{i}-of-4" for i in (1, 2, 3, 4)]
    tested = np.concatenate([split.test for split in made])
    assert sorted(tested.tolist()) == list(range(len(clips)))
    for split in made:
        assert len(split.train) + len(split.dev) + len(split.test) == len(clips)
    third = splits(clips, Protocol(kind, CORPORA, folds=4, fold=3, seed=seed))
    assert np.array_equal(third[0].test, made[2].test)


@given(collections())
def test_a_corpus_that_is_left_out_is_not_trained_on(clips: list[Clip]) -> None:
    made = splits(clips, Protocol("leave_one_corpus_out", CORPORA))
    assert [split.name for split in made] == [f"without-{corpus}" for corpus in CORPORA]
    for split, corpus in zip(made, CORPORA, strict=True):
        assert {clips[i].corpus for i in split.test} == {corpus}
        assert len(split.test) == sum(clip.corpus == corpus for clip in clips)
        others = {clips[i].corpus for i in np.concatenate([split.train, split.dev])}
        assert others == set(CORPORA) - {corpus}
    only = splits(clips, Protocol("leave_one_corpus_out", CORPORA, left_out=("nemo",)))
    assert [split.name for split in only] == ["without-nemo"]


def test_other_corpora_are_on_no_side() -> None:
    clips = [clip(i, corpus, i // 3 % 3, 0) for i, corpus in enumerate([*CORPORA] * 6)]
    for kind in KINDS:
        for split in splits(clips, Protocol(kind, ("cremad", "nemo"), folds=3)):
            sides = np.concatenate([split.train, split.dev, split.test])
            assert "ravdess" not in {clips[i].corpus for i in sides}


def test_a_stratified_division_keeps_the_shares_of_the_labels() -> None:
    clips = [clip(i, "cremad", i % 5, i % 2) for i in range(100)]
    (split,) = splits(clips, Protocol("stratified", ("cremad",), test_share=0.2, dev_share=0.1))
    assert [len(split.train), len(split.dev), len(split.test)] == [70, 10, 20]
    assert sum(clips[i].label for i in split.test) == 10


def test_the_first_stratified_fold_is_the_stratified_division() -> None:
    clips = [clip(i, "cremad", i % 5, i % 3) for i in range(101)]
    shares = {"test_share": 0.2, "dev_share": 0.16}
    (split,) = splits(clips, Protocol("stratified", ("cremad",), **shares))
    first = splits(clips, Protocol("stratified_folds", ("cremad",), folds=5, **shares))[0]
    for one, other in ((split.train, first.train), (split.dev, first.dev)):
        assert np.array_equal(one, other)


def test_stratified_folds_keep_the_shares_of_the_labels() -> None:
    clips = [clip(i, "cremad", i % 7, i % 2) for i in range(100)]
    for split in splits(clips, Protocol("stratified_folds", ("cremad",), folds=5, dev_share=0.1)):
        assert [len(split.train), len(split.dev), len(split.test)] == [70, 10, 20]
        for side in (split.train, split.dev, split.test):
            assert 2 * sum(clips[i].label for i in side) == len(side)


def test_a_leak_is_refused_unless_it_is_said() -> None:
    clips = [clip(0, "nemo", 0, 0), clip(1, "nemo", 0, 1), clip(2, "nemo", 1, 1)]
    sides = [np.array([i]) for i in range(3)]
    with pytest.raises(SpeakerLeakError, match="nemo-0"):
        check_leak(clips, Split("made up", *sides))
    check_leak(clips, Split("made up", *sides, speaker_dependent=True))
    with pytest.raises(SpeakerLeakError):  # the same clip twice is never allowed
        check_leak(clips, Split("made up", sides[0], sides[1], sides[0], speaker_dependent=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "random"}, "no protocol 'random'; use one of given, stratified"),
        ({"folds": 2}, "3 or more"),
        ({"fold": 6}, "no fold 6 of 5"),
        ({"left_out": ("tess",)}, "tess cannot be left out"),
        ({"test_share": 0.9, "dev_share": 0.1}, "below 1"),
        ({"corpora": ()}, "names no corpora"),
    ],
)
def test_a_protocol_that_makes_no_sense_says_why(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Protocol(**settings)  # type: ignore[arg-type]


def test_a_corpus_that_is_not_there_is_named() -> None:
    with pytest.raises(ExportError, match="no clip of emodb; there are nemo"):
        splits([clip(0, "nemo", 0, 0)], Protocol("given", ("nemo", "emodb")))
    with pytest.raises(ExportError, match="2 speakers cannot be dealt into 5 folds"):
        splits([clip(0, "nemo", 0, 0), clip(1, "nemo", 1, 0)], Protocol("speaker_folds", ("nemo",)))


def test_all_of_a_reader_is_in_one_half(tmp_path: Path) -> None:
    readers, noises = tmp_path / "sound" / "read_speech", tmp_path / "sound" / "noise"
    for folder in (readers, noises):
        folder.mkdir(parents=True)
    for name in (f"{reader}-{take}-0001.opus" for reader in range(40) for take in (1, 2)):
        (readers / name).touch()
    for i in range(40):
        (noises / f"n{i}.opus").touch()
    (noises / "SOURCE.txt").touch()
    for files, count in ((reader_files, 80), (noise_files, 40)):
        halves = [files(tmp_path, split) for split in ("train", "test")]
        groups = [{path.stem.split("-")[0] for path in half} for half in halves]
        assert sum(map(len, halves)) == count
        assert not groups[0] & groups[1]
        assert min(map(len, groups)) >= 10
    assert reader_files(tmp_path / "nowhere", "train") == []


def test_the_halves_do_not_move() -> None:
    """Models that were trained on one half are measured on the other: it must stay so."""
    names = ("103", "118", "1069", "1081", "n1", "n2", "n3", "n4", "n5")
    assert [name for name in names if split_of(name) == "train"] == ["n2", "n4", "n5"]
