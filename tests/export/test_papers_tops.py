"""What stands on embeddings, fitted to its optimum: held against scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")
pytest.importorskip("sklearn")

from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances

from realtime_ser_export.papers.tops import KERNEL, LINEAR, Top
from realtime_ser_export.training.metrics import softmax

RNG = np.random.default_rng(4)
LABELS = RNG.integers(0, 3, 120)
CENTRES = RNG.normal(size=(3, 6))
CLIPS = (CENTRES[LABELS] + RNG.normal(size=(120, 6))).astype(np.float32)
TRAIN, DEV, TEST = np.split(np.arange(120), [60, 90])


BOTH = pytest.mark.parametrize("top", [LINEAR, KERNEL], ids=["linear", "kernel"])


def scores(top: Top, *embeddings: np.ndarray, labels: np.ndarray = LABELS) -> np.ndarray:
    return top.scores(embeddings, labels, 3, TRAIN, DEV, TEST)


def of_learnt(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What may be learnt from, and all clips, brought to its mean and deviation."""
    learnt = np.concatenate([TRAIN, DEV])
    return learnt, (clips - clips[learnt].mean(0)) / clips[learnt].std(0)


def assert_same_up_to_temperature(found: np.ndarray, expected: np.ndarray) -> None:
    """Logits whose differences between labels are one multiple of each other's."""
    found, expected = (each - each.mean(1, keepdims=True) for each in (found, expected))
    factor = (found * expected).sum() / (expected**2).sum()
    assert factor > 0
    np.testing.assert_allclose(found, factor * expected, atol=2e-3 * np.abs(found).max())


def test_a_layer_is_the_optimum_of_all_that_may_be_learnt_from() -> None:
    learnt, inputs = of_learnt(CLIPS)
    model = LogisticRegression(C=1 / (0.05 * len(learnt)), tol=1e-8, max_iter=2000)
    expected = model.fit(inputs[learnt], LABELS[learnt]).predict_log_proba(inputs[TEST])
    assert_same_up_to_temperature(scores(replace(LINEAR, penalties=(0.05,)), CLIPS), expected)


def test_a_kernel_is_the_optimum_of_all_that_may_be_learnt_from() -> None:
    learnt, inputs = of_learnt(CLIPS)
    width = np.median(euclidean_distances(inputs[learnt], squared=True))
    targets = np.eye(3)[LABELS[learnt]]
    model = KernelRidge(alpha=0.03, kernel="rbf", gamma=1 / width)
    model.fit(inputs[learnt], targets - targets.mean(0))
    expected = model.predict(inputs[TEST]) + targets.mean(0)
    assert_same_up_to_temperature(scores(replace(KERNEL, penalties=(0.03,)), CLIPS), expected)


@BOTH
def test_no_embedding_outweighs_another_by_its_scale(top: Top) -> None:
    left, right = CLIPS[:, :3], CLIPS[:, 3:]
    np.testing.assert_allclose(
        scores(top, left, right), scores(top, 1000 * left + 7, right), atol=5e-3
    )


@pytest.mark.parametrize(("top", "little"), [(LINEAR, 1e-4), (KERNEL, 1e-3)])
def test_dev_chooses_the_penalty(top: Top, little: float) -> None:
    """Of one that leaves nothing and one that leaves enough, whichever comes first.

    What tells the classes apart is the small difference of features that hardly differ.
    """
    loud = 5 * RNG.normal(size=(120, 1))
    clips = (loud + np.eye(3)[LABELS] + 0.05 * RNG.normal(size=(120, 3))).astype(np.float32)
    for penalties in ((1e6, little), (little, 1e6)):
        found = scores(replace(top, penalties=penalties), clips)
        right = (found.argmax(1) == LABELS[TEST]).mean()
        poor = scores(replace(top, penalties=(1e6,)), clips)
        assert right > 0.7 > (poor.argmax(1) == LABELS[TEST]).mean()


@BOTH
def test_the_test_part_teaches_nothing(top: Top) -> None:
    other = LABELS.copy()
    other[TEST] = (other[TEST] + 1) % 3
    assert np.array_equal(scores(top, CLIPS), scores(top, CLIPS, labels=other))


@BOTH
def test_confidence_is_that_of_dev(top: Top) -> None:
    """On clips as those of dev, the mean confidence is about the share of right answers."""
    found = softmax(scores(top, CLIPS))
    right = (found.argmax(1) == LABELS[TEST]).mean()
    assert abs(found.max(1).mean() - right) < 0.15
