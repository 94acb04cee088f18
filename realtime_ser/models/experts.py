"""What every expert answers, translated from the graph's terms into the bundle's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AFFECT_LABELS, Part, Role, TensorSpec
from realtime_ser.models.graph import Outputs
from realtime_ser.models.ort_bound import DeviceTensor


class ExpertOutput:
    """The answer of one part to a batch; what the part does not give is None.

    Nothing is brought from the device, or checked, before it is asked for: a head that reads the
    embedding where it is leaves nothing to bring. Reading raises as `Outputs` does.

    Args:
        part: what gave it.
        values: its outputs by name.
        labels: the bundle's labels, in order.
    """

    def __init__(
        self, part: Part, values: Mapping[str, NDArray[np.float32]], labels: tuple[str, ...]
    ) -> None:
        self._part = part
        self._values = values
        self._labels = labels

    @cached_property
    def logits(self) -> NDArray[np.float64] | None:
        """float64 [batch, labels], in the bundle's order of labels, in nats."""
        spec = self._part.output(Role.LOGITS)
        return _columns(self._values[spec.name], spec, self._labels) if spec else None

    @cached_property
    def embedding(self) -> NDArray[np.float32] | None:
        """float32 [batch, width]."""
        spec = self._part.output(Role.EMBEDDING)
        return self._values[spec.name] if spec else None

    @property
    def embedding_on_device(self) -> DeviceTensor | None:
        """The embedding where a bound graph left it; None where it is on the host."""
        spec = self._part.output(Role.EMBEDDING)
        if spec is None or not isinstance(self._values, Outputs):
            return None
        return self._values.on_device(spec.name)

    @cached_property
    def affect(self) -> NDArray[np.float64] | None:
        """float64 [batch, 3]: valence, arousal, dominance, each 0..1."""
        spec = self._part.output(Role.AFFECT)
        if spec is None or spec.range is None:
            return None
        low, high = spec.range
        value = _columns(self._values[spec.name], spec, AFFECT_LABELS)
        # Clipped: a regression may overshoot.
        return np.clip((value - low) / (high - low), 0, 1)


def _columns(
    value: NDArray[np.float32], spec: TensorSpec, labels: tuple[str, ...]
) -> NDArray[np.float64]:
    order = [spec.labels.index(label) for label in labels]
    return value[:, order].astype(np.float64)
