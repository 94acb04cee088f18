"""Figures of merit, from scores (logits) and what was right.

WA is the share of clips that are right, UA the mean recall of the classes that occur (the names
of the emotion-recognition literature: Schuller et al., Interspeech 2009). Where a corpus does not
have a label, the answer is taken among those it has ("restricted"); "as served" it is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .corpora import Clip

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]

RULED_OUT = -1e4
"""The score of a label that cannot be the answer: no infinity, and nothing after a softmax."""

RELIABILITY_BINS = 15


def restricted(scores: Floats, allowed: Flags) -> Floats:
    """The scores with the labels that are not allowed (bool [labels] or [n, labels]) ruled out."""
    return np.where(allowed, scores, scores.dtype.type(RULED_OUT))


def softmax(scores: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities, [n, labels]; each row sums to 1."""
    scaled = scores / scores.dtype.type(temperature)
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    out: Floats = powers / powers.sum(1, keepdims=True)
    return out


def weighted_accuracy(predicted: Labels, truth: Labels) -> float:
    """Share of right answers."""
    return float(np.mean(predicted == truth))


def unweighted_recall(predicted: Labels, truth: Labels) -> float:
    """Mean over the classes in `truth` of the share of each that was found."""
    present = np.unique(truth)
    return float(np.mean([np.mean(predicted[truth == label] == label) for label in present]))


def macro_f1(predicted: Labels, truth: Labels) -> float:
    """Mean over the classes in `truth` of the harmonic mean of precision and recall."""
    from sklearn.metrics import f1_score

    present = np.unique(truth)
    return float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0))


def area_under_curve(probabilities: Floats, truth: Labels) -> float | None:
    """Mean over the classes in `truth` of the area under the ROC curve, one against the rest.

    0.5 is chance. None where there is one class alone, which nothing can be told from.
    """
    from sklearn.metrics import roc_auc_score

    present = np.unique(truth)
    if len(present) < 2:
        return None
    areas = [roc_auc_score(truth == label, probabilities[:, label]) for label in present]
    return float(np.mean(areas))


def confusion(predicted: Labels, truth: Labels, labels: int) -> NDArray[np.int64]:
    """How often each label (row) was answered with each (column): int64 [labels, labels]."""
    from sklearn.metrics import confusion_matrix

    counts: NDArray[np.int64] = confusion_matrix(truth, predicted, labels=np.arange(labels))
    return counts


def class_report(
    predicted: Labels, truth: Labels, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and count of each class in `truth`, by name."""
    from sklearn.metrics import precision_recall_fscore_support

    present = np.unique(truth)
    columns = precision_recall_fscore_support(truth, predicted, labels=present, zero_division=0)
    keys = ("precision", "recall", "f1", "count")
    return {
        names[label]: dict(zip(keys, (float(value) for value in row), strict=True))
        for label, *row in zip(present, *columns, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % percentile interval over resamples."""

    value: float
    low: float
    high: float


def recall_interval(
    predicted: Labels,
    truth: Labels,
    groups: Sequence[str] | None = None,
    rounds: int = 1000,
    seed: int = 0,
) -> Interval:
    """The unweighted recall over resampled clips, or over resampled groups (speakers) of clips.

    Clips of one speaker are alike: resampling clips says how sure the figure is for these
    speakers, resampling speakers how sure it is for new ones, and is wider. A class that a
    resample lacks does not count in it.
    """
    classes, of_clip = np.unique(truth, return_inverse=True)
    units, of_unit = (
        (len(truth), np.arange(len(truth)))
        if groups is None
        else (len(set(groups)), np.unique(np.asarray(groups), return_inverse=True)[1])
    )
    found = np.zeros((units, len(classes)))
    total = np.zeros((units, len(classes)))
    np.add.at(total, (of_unit, of_clip), 1)
    np.add.at(found, (of_unit, of_clip), predicted == truth)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(units, np.full(units, 1 / units), rounds)
    with np.errstate(invalid="ignore"):
        recalls = (drawn @ found) / (drawn @ total)
    low, high = np.percentile(np.nanmean(recalls, axis=1), [2.5, 97.5])
    return Interval(unweighted_recall(predicted, truth), float(low), float(high))


def mean_recall_over_corpora(
    scores: Floats, clips: Sequence[Clip], masks: dict[str, Flags]
) -> tuple[float, dict[str, float]]:
    """Restricted unweighted recall of each corpus, and their mean."""
    corpora = np.array([clip.corpus for clip in clips])
    truth = np.array([clip.label for clip in clips])
    recalls = {
        str(corpus): unweighted_recall(
            restricted(scores[corpora == corpus], masks[corpus]).argmax(1), truth[corpora == corpus]
        )
        for corpus in sorted(set(corpora))
    }
    return float(np.mean(list(recalls.values()))), recalls


def calibration_error(probabilities: Floats, truth: Labels) -> float:
    """Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(
        torch.from_numpy(probabilities.astype(np.float64)),
        torch.from_numpy(truth.astype(np.int64)),
        num_classes=probabilities.shape[1],
        n_bins=RELIABILITY_BINS,
        norm="l1",
    )
    return float(error)


def reliability(probabilities: Floats, truth: Labels) -> list[dict[str, float]]:
    """For each bin of confidence that holds clips: their count, mean confidence and accuracy."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    bins = np.minimum((confidence * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    return [
        {
            "count": int(np.sum(bins == number)),
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(right[bins == number].mean()),
        }
        for number in np.unique(bins)
    ]


def concordance(predicted: Floats, truth: Floats) -> float:
    """Concordance correlation coefficient (Lin, 1989) of one dimension, [n] each; NaN of a line."""
    import torch
    from torchmetrics.functional.regression import concordance_corrcoef

    with warnings.catch_warnings():
        # Said where one side hardly varies; the value shows it.
        warnings.simplefilter("ignore", UserWarning)
        value = concordance_corrcoef(
            torch.from_numpy(np.asarray(predicted, np.float64)),
            torch.from_numpy(np.asarray(truth, np.float64)),
        )
    return float(value)


def pearson(predicted: Floats, truth: Floats) -> float:
    """Pearson's correlation of one dimension, [n] each; NaN where one side does not vary."""
    if np.ptp(predicted) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return float(np.corrcoef(predicted, truth)[0, 1])
