"""Arousal from the intensity that actors were asked for.

No speech corpus here has ratings of arousal. Some say how strongly a clip was to be acted: CREMA-D
low, medium, high; RAVDESS and BanglaSER normal, strong. Within one emotion and corpus, more intense
is more aroused; by how much nobody measured. A ridge regression on what the encoder says learns
that order, and `Fusion` moves arousal by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..training.corpora import Clip

Floats = NDArray[np.floating]

_DEGREES = {"low": -1.0, "medium": 0.0, "high": 1.0, "normal": -1.0, "strong": 1.0}
_RIDGES = (10.0, 100.0, 1000.0, 10000.0)


@dataclass(frozen=True, slots=True)
class Intensity:
    """heard @ weights + constant, in standard deviations over the clips it was fitted on."""

    weights: Floats
    constant: float

    def __call__(self, wide: Floats) -> Floats:
        """float64 [n] of wide audio embeddings [n, width]."""
        result: Floats = wide.astype(np.float64) @ self.weights + self.constant
        return result


def degrees(clips: Sequence[Clip]) -> Floats:
    """How intense each clip was to be, -1..1; NaN where that is not said."""
    return np.array([_DEGREES.get(clip.intensity, np.nan) for clip in clips])


def groups(clips: Sequence[Clip]) -> NDArray[np.str_]:
    """Corpus and emotion of each clip: what intensities are compared within."""
    return np.array([f"{clip.corpus} {clip.label_name}" for clip in clips])


def fit(
    wide: Floats, clips: Sequence[Clip], dev_wide: Floats, dev_clips: Sequence[Clip]
) -> Intensity | None:
    """The regression whose order fits dev best; None where no clip of either says its intensity.

    Both sides are centred within their corpus and emotion: what an emotion's own arousal is, the
    centroids say already.
    """
    x, y = _centred(wide, clips)
    dev_x, dev_y = _centred(dev_wide, dev_clips)
    if len(y) == 0 or len(dev_y) == 0:
        return None
    scale = x.std(axis=0) + 1e-6
    squares, products = (x / scale).T @ (x / scale), (x / scale).T @ y
    found = [
        np.linalg.solve(squares + ridge * np.eye(len(products)), products) / scale
        for ridge in _RIDGES
    ]
    best = max(found, key=lambda weights: rank_correlation(dev_x @ weights, dev_y))
    spread = float((x @ best).std()) + 1e-9
    weights = best / spread
    intense = ~np.isnan(degrees(clips))
    return Intensity(weights, -float(wide[intense].astype(np.float64).mean(axis=0) @ weights))


def _centred(wide: Floats, clips: Sequence[Clip]) -> tuple[Floats, Floats]:
    """Features and degrees of the clips that have one, less the means of their group."""
    told, group = degrees(clips), groups(clips)
    known = ~np.isnan(told)
    x, y, group = wide[known].astype(np.float64), told[known].copy(), group[known]
    for name in set(group):
        rows = group == name
        x[rows] -= x[rows].mean(axis=0)
        y[rows] -= y[rows].mean()
    return x, y


def rank_correlation(said: Floats, truth: Floats) -> float:
    """Spearman's: 1 for the same order, 0 for none; ties share their mean rank."""
    from scipy.stats import rankdata

    if np.ptp(said) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(said), rankdata(truth))[0, 1])


def within_groups(arousal: Floats, clips: Sequence[Clip]) -> float:
    """Mean rank correlation of arousal with intensity within each corpus and emotion.

    Groups count by their clips; those whose clips all have one intensity do not count. NaN where
    there is no other.
    """
    told, group = degrees(clips), groups(clips)
    found, weights = [], []
    for name in sorted(set(group)):
        rows = (group == name) & ~np.isnan(told)
        if len(set(told[rows])) > 1:
            found.append(rank_correlation(arousal[rows], told[rows]))
            weights.append(int(rows.sum()))
    return float(np.average(found, weights=weights)) if found else float("nan")
