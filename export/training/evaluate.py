"""Figures of merit, from logits.

WA is the share of clips that are right, UA the mean recall of the classes that occur (the names
of the emotion-recognition literature: Schuller et al., Interspeech 2009). Where a corpus does not
have a label, the answer is taken among those it has ("restricted").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .corpora import LABELS, Clip

Floats = NDArray[np.float32]
Model = Callable[[Floats, NDArray[np.int64]], Floats]

_BATCH_SAMPLES = 1_500_000


def predict(model: Model, waves: Sequence[Floats], minimum_samples: int = 4000) -> Floats:
    """Logits float32 [n, labels] of waveforms of any length, batched by length.

    `model` takes waveform float32 [batch, samples] and lengths int64 [batch].
    """
    lengths = np.array([max(len(wave), minimum_samples) for wave in waves], np.int64)
    order = np.argsort(lengths, kind="stable")
    out = np.zeros((len(waves), len(LABELS)), np.float32)
    start = 0
    while start < len(order):
        stop = start + 1
        # Sorted by length: the next clip is the longest, so it decides the size of the batch.
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] < _BATCH_SAMPLES:
            stop += 1
        part = order[start:stop]
        waveform = np.zeros((len(part), lengths[part[-1]]), np.float32)
        for row, index in zip(waveform, part, strict=True):
            row[: len(waves[index])] = waves[index]
        out[part] = model(waveform, lengths[part])
        start = stop
    return out


def restricted(logits: Floats, allowed: NDArray[np.bool_]) -> Floats:
    """The logits with the labels that are not allowed (bool [labels] or [n, labels]) ruled out."""
    return np.where(allowed, logits, np.float32(-1e4))


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    scaled = logits / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    out: Floats = powers / powers.sum(1, keepdims=True)
    return out


def weighted_accuracy(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean(predicted == truth))


def unweighted_recall(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean over the classes in `truth` of the share of each that was found."""
    return float(np.mean([np.mean(predicted[truth == label] == label) for label in set(truth)]))


def bootstrap_interval(
    predicted: NDArray[np.int64], truth: NDArray[np.int64], rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the unweighted recall over resampled clips.

    Clips of one speaker are alike, so this is narrower than the truth about new speakers.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(truth), (rounds, len(truth)))
    values = [unweighted_recall(predicted[draw], truth[draw]) for draw in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def mean_recall_over_corpora(
    logits: Floats, clips: Sequence[Clip], masks: dict[str, NDArray[np.bool_]]
) -> tuple[float, dict[str, float]]:
    """Restricted unweighted recall of each corpus, and their mean."""
    corpora = np.array([clip.corpus for clip in clips])
    truth = np.array([clip.label for clip in clips])
    recalls = {
        str(corpus): unweighted_recall(
            restricted(logits[corpora == corpus], masks[corpus]).argmax(1), truth[corpora == corpus]
        )
        for corpus in sorted(set(corpora))
    }
    return float(np.mean(list(recalls.values()))), recalls


def calibration_error(probabilities: Floats, truth: NDArray[np.int64], bins: int = 15) -> float:
    """Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[bin_of == b].mean() - confidence[bin_of == b].mean()) * np.mean(bin_of == b)
        for b in set(bin_of)
    ]
    return float(np.sum(gaps))


def fit_temperature(logits: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature with the lowest negative log-likelihood, by a search over 0.3 to 3."""
    rows = np.arange(len(truth))
    candidates = np.geomspace(0.3, 3.0, 200)
    losses = [-np.log(softmax(logits, t)[rows, truth] + 1e-9).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])
