"""Quantiles of what was measured, and ratios of two measurements with intervals.

The interval is the percentile bootstrap (Efron & Tibshirani 1993, An Introduction to the Bootstrap,
chapter 13). It holds what one run's own samples say; that the machine was busier in one of two
runs it cannot know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}

_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the first measurement the second one is, with its 95 % interval."""

    value: float
    low: float
    high: float


def summary(values: Sequence[float]) -> dict[str, float] | None:
    """The quantiles, by linear interpolation; None of nothing."""
    if not values:
        return None
    return {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}


def ratio(
    before: Sequence[float], after: Sequence[float], quantile: float = 0.5, seed: int = 0
) -> Ratio | None:
    """The ratio of a quantile of `after` to that of `before`; None where it has no meaning."""
    if len(before) < 2 or len(after) < 2:
        return None
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    base = float(np.quantile(old, quantile))
    if base <= 0:
        return None
    random = np.random.default_rng(seed)
    olds = np.quantile(old[random.integers(0, len(old), (_RESAMPLES, len(old)))], quantile, axis=1)
    news = np.quantile(new[random.integers(0, len(new), (_RESAMPLES, len(new)))], quantile, axis=1)
    usable = olds > 0
    ratios = news[usable] / olds[usable]
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return Ratio(float(np.quantile(new, quantile)) / base, float(low), float(high))
