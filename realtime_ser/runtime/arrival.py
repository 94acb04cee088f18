"""When the audio of a live stream came."""

from __future__ import annotations

from collections import deque

from realtime_ser.types import SAMPLE_RATE_HZ

_REMEMBERED_S = 60.0
"""How far back the clock knows when audio came: an utterance, its pauses and a slow final."""


class ArrivalClock:
    """Knows when each sample was heard, from when the blocks came."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, float]] = deque()

    def note(self, received_samples: float, at_s: float) -> None:
        """Everything up to `received_samples` (16 kHz) had been heard at `at_s`."""
        self._arrivals.append((received_samples, at_s))
        while self._arrivals[0][1] < at_s - _REMEMBERED_S:
            self._arrivals.popleft()

    def heard_at(self, sample: int) -> float:
        """When everything before `sample` had sounded: a block's age is that of its last sample."""
        end, at_s = self._block_of(sample)
        return at_s - (end - sample) / SAMPLE_RATE_HZ

    def arrived_at(self, sample: int) -> float:
        """When the block that brought the last sample before `sample` came."""
        return self._block_of(sample)[1]

    def _block_of(self, sample: int) -> tuple[float, float]:
        end, at_s = 0.0, 0.0
        for earlier_end, earlier_at_s in reversed(self._arrivals):
            if earlier_end < sample and end:
                break
            end, at_s = earlier_end, earlier_at_s
        return end, at_s
