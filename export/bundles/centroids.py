"""Where each emotion lies in valence, arousal and dominance, as published."""

from __future__ import annotations

from collections.abc import Sequence

# Pleasure, arousal, dominance in -1..1, of the terms angry, disgusted, fearful, happy, sad and
# surprised; neutral is the midpoint by definition.
PAD = {
    "angry": (-0.51, 0.59, 0.25),
    "disgust": (-0.60, 0.35, 0.11),
    "fearful": (-0.64, 0.60, -0.43),
    "happy": (0.81, 0.51, 0.46),
    "neutral": (0.0, 0.0, 0.0),
    "sad": (-0.63, -0.27, -0.33),
    "surprised": (0.40, 0.67, -0.13),
}
PAD_SOURCE = (
    "Russell, J. A. & Mehrabian, A. (1977). Evidence for a three-factor theory of emotions. "
    "Journal of Research in Personality 11, 273-294; means of the terms angry, disgusted, fearful, "
    "happy, sad, surprised, mapped from -1..1 to 0..1; neutral set to the midpoint by us. Values "
    "checked against public copies of the table, not against the paper."
)


def centroids(labels: Sequence[str]) -> dict[str, list[float]]:
    """Valence, arousal and dominance of each label, 0..1."""
    return {label: [round((value + 1) / 2, 4) for value in PAD[label]] for label in labels}
