"""Figures of merit against values worked out by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.training import calibration, metrics  # noqa: E402
from realtime_ser_export.training.corpora import LABELS, Clip  # noqa: E402

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])

pairs = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays.arrays(np.int64, n, elements=st.integers(0, 4)),
        arrays.arrays(np.int64, n, elements=st.integers(0, 4)),
    )
)


def test_by_hand() -> None:
    assert metrics.weighted_accuracy(PREDICTED, TRUTH) == pytest.approx(3 / 6)
    assert metrics.unweighted_recall(PREDICTED, TRUTH) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # F1: class 0 2*(1/2*2/3)/(1/2+2/3) = 4/7, class 1 1/2, class 2 0.
    assert metrics.macro_f1(PREDICTED, TRUTH) == pytest.approx((4 / 7 + 1 / 2) / 3)
    assert metrics.confusion(PREDICTED, TRUTH, 3).tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    report = metrics.class_report(PREDICTED, TRUTH, ("a", "b", "c", "d"))
    assert report["a"] == pytest.approx(
        {"precision": 0.5, "recall": 2 / 3, "f1": 4 / 7, "count": 3}
    )
    assert set(report) == {"a", "b", "c"}


@given(pairs)
def test_recall_is_scikit_learn_s_macro_recall(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = pair
    expected = sklearn_metrics.recall_score(
        truth, predicted, labels=np.unique(truth), average="macro", zero_division=0
    )
    assert metrics.unweighted_recall(predicted, truth) == pytest.approx(expected)


@given(pairs)
def test_an_interval_holds_the_value_of_its_own_resamples(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    predicted, truth = pair
    made = metrics.recall_interval(predicted, truth, rounds=200)
    assert 0 <= made.low <= made.high <= 1
    assert made.value == pytest.approx(metrics.unweighted_recall(predicted, truth))
    assert made == metrics.recall_interval(predicted, truth, rounds=200)
    certain = metrics.recall_interval(truth, truth, rounds=50)
    assert (certain.low, certain.value, certain.high) == pytest.approx((1.0, 1.0, 1.0))


def test_an_interval_is_the_naive_bootstrap() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 120)
    predicted = np.where(rng.random(120) < 0.6, truth, rng.integers(0, 3, 120))
    draws = rng.integers(0, 120, (2000, 120))
    naive = [metrics.unweighted_recall(predicted[draw], truth[draw]) for draw in draws]
    made = metrics.recall_interval(predicted, truth, rounds=2000)
    assert (made.low, made.high) == pytest.approx(np.percentile(naive, [2.5, 97.5]), abs=0.01)


def test_an_interval_over_speakers_is_wider_where_speakers_differ() -> None:
    truth = np.tile([0, 1], 60)
    speakers = [f"s{i // 20}" for i in range(120)]
    predicted = np.where(np.arange(120) // 20 % 2 == 0, truth, 1 - truth)
    clips = metrics.recall_interval(predicted, truth)
    of_speakers = metrics.recall_interval(predicted, truth, speakers)
    assert of_speakers.high - of_speakers.low > 2 * (clips.high - clips.low)


@given(
    arrays.arrays(np.float64, (30, 4), elements=st.floats(-5, 5)),
    arrays.arrays(np.int64, 30, elements=st.integers(0, 3)),
)
def test_calibration_error_is_its_definition(scores: np.ndarray, truth: np.ndarray) -> None:
    probabilities = metrics.softmax(scores)
    # torchmetrics closes bins above, we below: of no matter unless a confidence is on an edge.
    confidence = probabilities.max(1)
    edges = confidence * metrics.RELIABILITY_BINS
    if np.any(np.abs(edges - np.round(edges)) < 1e-6):
        return
    rows = metrics.reliability(probabilities, truth)
    expected = sum(abs(row["accuracy"] - row["confidence"]) * row["count"] / 30 for row in rows)
    assert sum(row["count"] for row in rows) == 30
    assert metrics.calibration_error(probabilities, truth) == pytest.approx(expected, abs=1e-5)


def test_area_under_the_curve() -> None:
    truth = np.array([0, 0, 1, 1])
    right = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    assert metrics.area_under_curve(right, truth) == pytest.approx(1.0)
    assert metrics.area_under_curve(1 - right, truth) == pytest.approx(0.0)
    assert metrics.area_under_curve(right, np.zeros(4, np.int64)) is None


def test_dimensions_by_hand() -> None:
    truth = np.array([0.0, 0.5, 1.0])
    assert metrics.concordance(truth, truth) == pytest.approx(1.0)
    # A shift by d keeps the correlation and costs concordance: 2 s / (2 s + d²), s = var.
    shifted = truth + 0.5
    assert metrics.pearson(shifted, truth) == pytest.approx(1.0)
    variance = np.var(truth, ddof=1)
    assert metrics.concordance(shifted, truth) == pytest.approx(
        2 * variance / (2 * variance + 0.25), rel=0.1
    )
    assert np.isnan(metrics.pearson(np.ones(3), truth))


def test_restricted_answers_are_among_the_labels_of_the_corpus() -> None:
    clips = [Clip("a", "nemo", "dev", "s", 3, None), Clip("b", "cremad", "dev", "t", 1, None)]
    scores = np.zeros((2, len(LABELS)), np.float32)
    scores[:, 1], scores[0, 3] = 5.0, 4.0  # disgust, which nEMO does not have, then happy
    masks = {"nemo": np.array([i != 1 for i in range(7)]), "cremad": np.ones(7, bool)}
    mean, recalls = metrics.mean_recall_over_corpora(scores, clips, masks)
    assert (mean, recalls) == (1.0, {"cremad": 1.0, "nemo": 1.0})


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (6000, 5))
    cumulated = metrics.softmax(scores).cumsum(1)
    truth = (rng.random((6000, 1)) > cumulated).sum(1)
    found = calibration.fit_temperature(scores * temperature, truth)
    assert found == pytest.approx(temperature, rel=0.06)


def test_a_tenth_of_dev_abstains_at_most() -> None:
    rng = np.random.default_rng(1)
    scores, truth = rng.normal(0, 2, (500, 7)), rng.integers(0, 7, 500)
    made = calibration.fit(scores, truth)
    confidence = metrics.softmax(scores, made.temperature).max(1)
    assert 0.08 < np.mean(confidence < made.abstain_below) <= calibration.DEV_ABSTENTIONS
    with pytest.raises(ExportError, match="no dev clips"):
        calibration.fit(scores[:0], truth[:0])
