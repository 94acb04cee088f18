"""Paper 2's corpus: cleaning, balancing, features; and where all papers' figures are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")
pytest.importorskip("noisereduce")
pytest.importorskip("sklearn")

from realtime_ser_export.errors import ExportError
from realtime_ser_export.papers import prepare
from realtime_ser_export.papers.handcrafted import CLASSIFIERS, FEATURES, fitted, handcrafted
from realtime_ser_export.papers.paper3 import mean_mfcc
from realtime_ser_export.papers.recordings import Recording
from realtime_ser_export.papers.results import Answered, Bench, figures, write_report
from realtime_ser_export.papers.speech_here import folds

RNG = np.random.default_rng(1)


def voice(seconds: float, level: float = 0.3) -> np.ndarray:
    time = np.arange(int(seconds * 16_000)) / 16_000
    tone = sum(np.sin(2 * np.pi * 180 * n * time) / n for n in range(1, 8))
    return (level * tone * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def test_cleaning_takes_silence_out() -> None:
    quiet = 0.0005 * RNG.standard_normal(16_000).astype(np.float32)
    wave = np.concatenate([quiet, voice(1.5), quiet])
    left = prepare.cleaned(wave)
    assert 1.2 * 16_000 < len(left) < 2.0 * 16_000
    assert len(prepare.cleaned(np.zeros(16_000, np.float32))) == 0


def test_merging_drops_neutral_and_renames() -> None:
    def of(corpus: str, emotion: str) -> Recording:
        return Recording(Path("x.wav"), corpus, emotion)

    found = prepare.merged(
        [of("iemocap", "xxx"), of("iemocap", "fru"), of("iemocap", "exc"), of("ravdess", "calm"),
         of("tess", "neutral"), of("iemocap", "neu")]
    )  # fmt: skip
    assert [recording.emotion for recording in found] == ["happy", "calm"]


def test_balancing_is_even_and_stays_inside_the_training_part(tmp_path: Path) -> None:
    labels = np.array([0] * 20 + [1] * 2 + [6] * 5)
    waves = [voice(0.1 + 0.01 * n) for n in range(40)]
    sounds = prepare.store(tmp_path, "all", "key", 40, iter(waves))
    indices = np.arange(5, 32)
    even = prepare.balanced(sounds, indices, labels, tmp_path)
    counts = np.bincount(even.labels, minlength=7)
    wanted = round(27 * prepare.PER_CLASS_SHARE)
    assert counts.tolist() == [wanted, wanted, 0, 0, 0, 0, wanted]
    assert set(even.origin) <= set(indices.tolist())
    as_they_are = len(even.labels) - len(even.copies)
    for place, clip in enumerate(even.origin):
        alike = np.array_equal(even.sounds[place], sounds[int(clip)])
        assert alike == (place < as_they_are)
    assert np.array_equal(even.copies[0], even.sounds[as_they_are])
    again = prepare.balanced(sounds, indices, labels, tmp_path)
    assert np.array_equal(even.sounds.samples, again.sounds.samples)


@pytest.mark.parametrize(
    ("change", "same_length"),
    [(prepare.stretched, False), (prepare.pitch_shifted, True), (prepare.gained, True),
     (prepare.background_noise, True)],
)  # fmt: skip
def test_augmentation_changes_what_it_should(change: object, same_length: bool) -> None:
    wave = voice(1)
    out = change(wave, np.random.default_rng(3))  # type: ignore[operator]
    assert (len(out) == len(wave)) == same_length
    assert out.dtype == np.float32
    assert np.abs(out).max() <= 1
    assert not np.array_equal(out[:8000], wave[:8000])


def test_94_features() -> None:
    low = dict(zip(FEATURES, handcrafted(voice(1)), strict=True))
    noise = RNG.standard_normal(16_000).astype(np.float32) * 0.1
    high = dict(zip(FEATURES, handcrafted(noise), strict=True))
    assert len(low) == 94
    assert low["zero crossing rate"] < high["zero crossing rate"]
    assert low["spectral centroid"] < 2000 < high["spectral centroid"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_classifier_learns(name: str) -> None:
    pytest.importorskip({"XGBClassifier": "xgboost", "LGBMClassifier": "lightgbm"}.get(name, "sys"))
    labels = np.arange(120) % 3
    points = RNG.standard_normal((120, 4)).astype(np.float32)
    points[:, 0] += 4 * labels
    model = fitted(name, points[:90], labels[:90])
    assert np.mean(model.predict_proba(points[90:]).argmax(1) == labels[90:]) > 0.7


def test_folds_do_not_share_speakers() -> None:
    labels = np.arange(120) % 3
    speakers = [f"s{n % 12}" for n in range(120)]
    for fold in folds(labels, 3, 0, speakers):
        sides = [{speakers[i] for i in side} for side in (fold.train, fold.dev, fold.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    tests = np.concatenate([fold.test for fold in folds(labels, 4, 0)])
    assert sorted(tests) == list(range(120))
    with pytest.raises(ExportError, match="too few for 50 folds"):
        folds(labels, 50, 0)


def answered() -> Answered:
    truth = np.array([0, 0, 0, 1])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    return Answered(scores, truth, ("a", "a", "b", "b"))


def test_figures() -> None:
    found = figures(answered(), ("x", "y"))
    assert (found["wa"], found["ua"], found["sum"]) == (75.0, 83.33, 158.33)
    assert found["confusion"] == [[2, 1], [0, 1]]
    assert found["groups"]["a"]["wa"] == 100
    assert found["groups"]["b"]["clips"] == 2


def test_a_bench_goes_on_and_writes_its_report(tmp_path: Path) -> None:
    calls = []

    def run(folder: Path) -> Answered:
        calls.append(folder)
        return answered()

    for _ in range(2):
        bench = Bench(tmp_path, only="p/*")
        bench.add("p/good", "good", "p", ("x", "y"), run, paper={"wa": 70.0}, data="d", reason="r")
        bench.add("p/none", "none", "p", ("x", "y"), "no weights", data="d", reason="r")
        bench.add("q/later", "later", "q", ("x", "y"), run, data="d", reason="r")
        text = write_report(bench, "Title", ("wa", "ua"), ("A note.",))
    assert len(calls) == 1
    assert "| good | p | 70.00 | 75.00 |  | 83.33 | 4 |" in text
    assert "| none | p |  | not run yet |" in text
    assert "no weights" in text and "--only p/* leaves it out" in text
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["ours"] is None for row in rows] == [False, True, True]
    assert (tmp_path / "table.png").is_file() and (tmp_path / "confusion.png").is_file()


def test_fewer_coefficients_are_the_first_of_more() -> None:
    # Paper 3 computes 128 and takes 56 of them.
    few, more = (mean_mfcc(voice(0.7), count) for count in (56, 128))
    assert few.shape == (56,) and more.shape == (128,)
    np.testing.assert_allclose(few, more[:56], atol=1e-5)
