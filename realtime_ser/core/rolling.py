"""The state of a conversation: what was heard, fading as more speech is heard.

Time here is seconds of *speech*: a mood does not fade because nobody speaks. An utterance of d
seconds with estimate p counts as if p had been heard evenly through it, so with half-life h

    sum    <- sum * 2^(-d/h) + p * w(d)          w(d) = h / ln 2 * (1 - 2^(-d/h))
    weight <- weight * 2^(-d/h) + w(d)           estimate = sum / weight

which makes one utterance of 4 s equal two of 2 s that say the same.
"""

from __future__ import annotations

import math

import numpy as np

from realtime_ser.types import Affect, Emotion, RollingEstimate


class RollingState:
    """Folds the finals of one stream, in their order.

    Args:
        half_life_seconds: of speech, above 0.
    """

    def __init__(self, half_life_seconds: float) -> None:
        self._half_life_seconds = half_life_seconds
        self._labels: tuple[str, ...] = ()
        self._sum = np.zeros(0)
        self._weight = 0.0

    def update(
        self, emotion: Emotion, affect: Affect, speech_seconds: float, as_of: int
    ) -> RollingEstimate:
        """Take one final; returns the new state."""
        if emotion.labels != self._labels:
            # the first final, or a bundle changed in mid-stream: its labels cannot be mixed
            self._labels = emotion.labels
            self._sum = np.zeros(len(emotion.labels) + 3)
            self._weight = 0.0
        decay = 2.0 ** (-speech_seconds / self._half_life_seconds)
        added = self._half_life_seconds / math.log(2) * (1.0 - decay)
        value = [*emotion.probabilities, affect.valence, affect.arousal, affect.dominance]
        self._sum = self._sum * decay + np.asarray(value) * added
        self._weight = self._weight * decay + added
        mean = (self._sum / self._weight).tolist()
        probabilities = np.asarray(mean[:-3])
        return RollingEstimate(
            as_of=as_of,
            emotion=Emotion(self._labels, tuple((probabilities / probabilities.sum()).tolist())),
            affect=Affect(*mean[-3:]),
            effective_seconds=self._weight,
        )
