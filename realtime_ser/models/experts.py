"""What every expert answers, translated from the graph's terms into the bundle's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AFFECT_LABELS, Part, Role, TensorSpec


@dataclass(frozen=True, slots=True)
class ExpertOutput:
    """The answer of one part to a batch; what the part does not give is None.

    Attributes:
        logits: float64 [batch, labels], in the bundle's order of labels, in nats.
        embedding: float32 [batch, width].
        affect: float64 [batch, 3]: valence, arousal, dominance, each 0..1.
    """

    logits: NDArray[np.float64] | None
    embedding: NDArray[np.float32] | None
    affect: NDArray[np.float64] | None


def read_output(
    part: Part, values: Mapping[str, NDArray[np.float32]], labels: tuple[str, ...]
) -> ExpertOutput:
    """Sort columns by label, and scale affect to 0..1 (clipped: a regression may overshoot)."""
    logits = embedding = affect = None
    for spec in part.outputs:
        value = values[spec.name]
        if spec.role is Role.LOGITS:
            logits = _columns(value, spec, labels)
        elif spec.role is Role.EMBEDDING:
            embedding = value
        elif spec.range is not None:
            low, high = spec.range
            affect = np.clip((_columns(value, spec, AFFECT_LABELS) - low) / (high - low), 0, 1)
    return ExpertOutput(logits, embedding, affect)


def _columns(
    value: NDArray[np.float32], spec: TensorSpec, labels: tuple[str, ...]
) -> NDArray[np.float64]:
    order = [spec.labels.index(label) for label in labels]
    return value[:, order].astype(np.float64)
