"""Paper 2's divisions: nobody leaks, and an encoder trained by the same protocol heard no test."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")
pytest.importorskip("noisereduce")

from realtime_ser_export.papers.options import Options
from realtime_ser_export.papers.paper2_material import (
    DEPENDENT,
    DISJOINT,
    FOLDS,
    LABELLED,
    dependent_protocol,
    divided,
)
from realtime_ser_export.papers.prepare import CORPORA_HERE, merged
from realtime_ser_export.papers.recordings import Recording, provided
from realtime_ser_export.training.corpora import read_clips
from realtime_ser_export.training.protocols import splits

EMOTIONS = {
    "cremad": ("angry", "neutral", "sad"),
    "ravdess": ("angry", "calm", "neutral"),
    "tess": ("angry", "neutral", "surprised"),
}


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """A speech.csv of three corpora; the speakers of TESS are all in training."""
    rows = [
        {"file": f"{corpus}/{number}-{emotion}-{take}.opus", "corpus": corpus,
         "split": "train" if corpus == "tess" else ("train", "train", "dev", "test")[number],
         "speaker": f"{corpus}-{number}", "sex": "female", "language": "en", "emotion": emotion,
         "text": "no"}
        for corpus, emotions in EMOTIONS.items()
        for number in range(4) for emotion in emotions for take in range(5)
    ]  # fmt: skip
    with (tmp_path / "speech.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Options(tmp_path, tmp_path / "out", tmp_path / "cache")


def names(recordings: list[Recording], places: object) -> set[str]:
    return {f"{recordings[i].corpus}/{recordings[i].path.name}" for i in places}  # type: ignore[attr-defined]


def test_the_dependent_test_is_that_of_a_training_run(options: Options) -> None:
    recordings = merged(provided(options.data, CORPORA_HERE))
    [split] = divided(options, recordings, DEPENDENT)
    assert split.speaker_dependent
    assert len(split.train) + len(split.dev) + len(split.test) == len(recordings)
    assert 0.1 < len(split.test) / len(recordings) < 0.3
    clips = read_clips(options.data)
    run = splits(clips, dependent_protocol(LABELLED, options.seed))[0]
    trained_on = {clips[i].file for i in (*run.train, *run.dev)}
    tested = names(recordings, split.test)
    assert not trained_on & tested
    assert {name.split("/")[0] for name in tested} == set(CORPORA_HERE)


def test_the_disjoint_test_is_the_given_one(options: Options) -> None:
    recordings = merged(provided(options.data, CORPORA_HERE))
    [split] = divided(options, recordings, DISJOINT)
    assert {recordings[i].split for i in split.test} == {"test"}
    assert {recordings[i].corpus for i in split.test} == {"cremad", "ravdess"}


def test_a_licensed_corpus_is_divided_too(options: Options) -> None:
    savee = [
        Recording(Path(f"{speaker}/{emotion}{n:02}.wav"), "savee", emotion, f"savee-{speaker}",
                  split, "male", "en")
        for speaker, split in (("DC", "train"), ("JK", "dev"), ("KL", "test"))
        for emotion in ("happy", "sad") for n in range(10)
    ]  # fmt: skip
    recordings = merged(provided(options.data, CORPORA_HERE)) + savee
    for protocol in (DEPENDENT, DISJOINT, FOLDS):
        for split in divided(options, recordings, protocol):
            for side in (split.train, split.dev, split.test):
                assert any(recordings[i].corpus == "savee" for i in side)


def test_the_folds_test_every_clip_once_and_begin_with_the_dependent_test(options: Options) -> None:
    recordings = merged(provided(options.data, CORPORA_HERE))
    folds = divided(options, recordings, FOLDS)
    tested = np.concatenate([split.test for split in folds])
    assert sorted(tested.tolist()) == list(range(len(recordings)))
    [alone] = divided(options, recordings, DEPENDENT)
    assert np.array_equal(folds[0].test, alone.test)
    assert np.array_equal(folds[0].dev, alone.dev)
