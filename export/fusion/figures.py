"""What a head is worth, by kind of pair: audio alone, text alone, and both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..training.metrics import calibration_error, softmax, unweighted_recall, weighted_accuracy
from .fit import Pairs, Side, pairs_of
from .heads import Fusion
from .pairs import KINDS, REAL

Floats = NDArray[np.floating]

NEW_SENTENCES = "real, sentences not learnt"
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class KindFigures:
    """Of one kind of pair; UA is the mean recall of the classes, all labels allowed, as served.

    Attributes:
        gain_low, gain_high: 95 % interval over resampled clips of fused UA less audio UA.
        calibration_error: expected, of the fused probabilities.
        gate: mean of how far the words count, 0..1.
    """

    count: int
    audio: float
    text: float | None
    fused: float
    audio_accuracy: float
    fused_accuracy: float
    gain_low: float
    gain_high: float
    calibration_error: float
    gate: float


def measure(fusion: Fusion, side: Side, seed: int) -> dict[str, dict[str, Any]]:
    """`KindFigures` by kind, as JSON has them; kinds that no clip can be paired for are left out.

    Every clip of the side is used once for each kind.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for kind in KINDS:
        clips = np.flatnonzero(side.pairing.can(kind))
        if len(clips):
            pairs = pairs_of(side, kind, clips, rng)
            found[kind] = asdict(_figures(fusion, side, pairs))
        if kind == REAL:
            strange = clips[~side.pairing.learnt[clips]]
            if len(strange):
                pairs = pairs_of(side, kind, strange, rng)
                found[NEW_SENTENCES] = asdict(_figures(fusion, side, pairs))
    return found


def answer(fusion: Fusion, pairs: Pairs) -> tuple[Floats, Floats, Floats]:
    """Probabilities [n, labels], affect [n, 3] and the gate [n], in torch."""
    with torch.no_grad():
        logits, affect = fusion(pairs.audio, pairs.text, pairs.present)
        _, gate = fusion.scores(pairs.audio, pairs.text, pairs.present)
    scores = logits.numpy() / float(fusion.temperature)
    return softmax(scores), affect.numpy(), gate[:, 0].numpy()


def _figures(fusion: Fusion, side: Side, pairs: Pairs) -> KindFigures:
    probabilities, _, gate = answer(fusion, pairs)
    label = pairs.label.numpy()
    fused, audio = probabilities.argmax(1), side.heard.logits[pairs.clips].argmax(1)
    text = None
    if pairs.present.all():
        text = unweighted_recall(side.read.logits[pairs.texts].argmax(1), label)
    low, high = _gain(audio, fused, label)
    return KindFigures(
        count=len(label),
        audio=unweighted_recall(audio, label),
        text=text,
        fused=unweighted_recall(fused, label),
        audio_accuracy=weighted_accuracy(audio, label),
        fused_accuracy=weighted_accuracy(fused, label),
        gain_low=low,
        gain_high=high,
        calibration_error=calibration_error(probabilities, label),
        gate=float(gate.mean()),
    )


def _gain(
    audio: NDArray[np.int64], fused: NDArray[np.int64], label: NDArray[np.int64]
) -> tuple[float, float]:
    """The same clips are drawn for both, so what they have in common does not blur the difference.

    Classes are resampled one by one: each keeps its count, and none is ever missing.
    """
    rng = np.random.default_rng(0)
    gains = np.zeros(_RESAMPLES)
    classes = np.unique(label)
    for each in classes:
        rows = label == each
        gain = (fused[rows] == each).astype(float) - (audio[rows] == each)
        drawn = rng.integers(0, len(gain), (_RESAMPLES, len(gain)))
        gains += gain[drawn].mean(axis=1) / len(classes)
    low, high = np.percentile(gains, [2.5, 97.5])
    return float(low), float(high)
