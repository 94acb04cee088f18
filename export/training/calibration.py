"""From scores to probabilities that mean what they say, and when to say nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ExportError
from .metrics import Floats, Labels, softmax

DEV_ABSTENTIONS = 0.1
_TEMPERATURES = np.geomspace(0.2, 8.0, 400)


@dataclass(frozen=True, slots=True)
class Calibration:
    """softmax(scores / temperature); abstain where its top is below `abstain_below`.

    Attributes:
        source: what both were fitted on: dev, or the bundle that brought them.
    """

    temperature: float
    abstain_below: float
    source: str


def fit(scores: Floats, truth: Labels) -> Calibration:
    """Temperature and threshold from the dev clips, all labels allowed, as served.

    The temperature has the lowest negative log-likelihood (Guo et al., 2017). The threshold is
    the highest at which no more than 10 % of the dev clips abstain.

    Raises:
        ExportError: there are no dev clips.
    """
    if len(truth) == 0:
        raise ExportError(
            "there are no dev clips to calibrate on; give speech.csv some, or take another protocol"
        )
    temperature = round(fit_temperature(scores, truth), 4)
    confidence = softmax(scores, temperature).max(1)
    # Rounded down, so that what was promised of the share still holds.
    abstain_below = float(np.floor(np.quantile(confidence, DEV_ABSTENTIONS) * 1000) / 1000)
    return Calibration(temperature, abstain_below, "dev")


def fit_temperature(scores: Floats, truth: Labels) -> float:
    """The temperature with the lowest negative log-likelihood, by a search over 0.2 to 8."""
    rows = np.arange(len(truth))
    losses = [
        -np.log(softmax(scores, temperature)[rows, truth] + 1e-9).mean()
        for temperature in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])
