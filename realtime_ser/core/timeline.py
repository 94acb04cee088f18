"""The last stretch of audio, by sample index."""

from __future__ import annotations

import numpy as np

from realtime_ser.types import SAMPLE_RATE_HZ, Samples

_INITIAL_CAPACITY = 4 * SAMPLE_RATE_HZ


class Timeline:
    """A buffer that grows at one end and is forgotten at the other; memory stays bounded by use."""

    def __init__(self) -> None:
        self._buffer = np.zeros(_INITIAL_CAPACITY, np.int16)
        self._first = 0
        """Stream index of `_buffer[0]`."""
        self._used = 0
        self._forgotten = 0
        """How much of the front of `_buffer` is no longer needed."""

    def append(self, start: int, samples: Samples) -> None:
        """Add samples; a `start` beyond the end so far drops what was before the gap."""
        if start != self._first + self._used:
            self._first, self._used, self._forgotten = start, 0, 0
        needed = self._used + len(samples)
        if needed > len(self._buffer):
            self._make_room(len(samples))
        self._buffer[self._used : self._used + len(samples)] = samples
        self._used += len(samples)

    def copy(self, start: int, end: int) -> Samples:
        """The samples from `start` to `end`, which must not have been forgotten."""
        first = start - self._first
        assert self._forgotten <= first <= end - self._first <= self._used
        return self._buffer[first : end - self._first].copy()

    def forget_before(self, position: int) -> None:
        """Audio before `position` is not asked for any more."""
        self._forgotten = min(max(self._forgotten, position - self._first), self._used)

    def _make_room(self, count: int) -> None:
        kept = self._buffer[self._forgotten : self._used]
        capacity = len(self._buffer)
        # at most half full after the move, so that moving is rare
        while capacity < 2 * (len(kept) + count):
            capacity *= 2
        buffer = np.zeros(capacity, np.int16) if capacity > len(self._buffer) else self._buffer
        # numpy copies overlapping slices correctly
        buffer[: len(kept)] = kept
        self._buffer = buffer
        self._first += self._forgotten
        self._used -= self._forgotten
        self._forgotten = 0
