"""What a source gives, at its own rate, to one 16 kHz mono time line.

The resampler is soxr's stream, whose output does not depend on how its input is cut (tested). It
holds back 10 to 40 ms of audio at HQ, depending on the rate; LQ would hold back some 10 ms less
at 48 kHz and give up the band above 6 kHz, which Whisper uses.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from realtime_ser.core.pcm import require_format, to_int16, to_mono
from realtime_ser.types import SAMPLE_RATE_HZ, AudioChunk

_BLOCK_SECONDS = 10
"""Longer arrays are worked off in blocks: a ten-minute chunk must not cost ten-minute buffers."""


class AudioIntake:
    """Downmixes, checks and resamples; counts what was lost.

    Args:
        rate_hz: sample rate of what is pushed.

    Raises:
        AudioUnsupportedError: a rate that cannot be taken.
    """

    def __init__(self, rate_hz: int) -> None:
        require_format(rate_hz, 1)
        self._rate_hz = rate_hz
        self._resampler = self._new_resampler()
        self._received = 0
        """Samples at the source's rate since the stream began, the lost ones included."""
        self._position = 0
        """Next sample at 16 kHz."""

    def push(self, samples: NDArray[np.generic]) -> list[AudioChunk]:
        """Take samples [n] or [n, channels] of any length; see `to_mono` for dtypes and errors."""
        chunks = []
        block = _BLOCK_SECONDS * self._rate_hz
        for start in range(0, len(samples), block):
            mono = to_mono(samples[start : start + block])
            self._received += len(mono)
            chunks += self._emit(mono, last=False)
        return chunks

    def push_lost(self, count: int) -> list[AudioChunk]:
        """Note that the source lost `count` samples here: the time line jumps over them."""
        if count <= 0:
            return []
        chunks = self.flush()
        self._received += count
        self._position = round(self._received * SAMPLE_RATE_HZ / self._rate_hz)
        self._resampler = self._new_resampler()
        return chunks

    def flush(self) -> list[AudioChunk]:
        """Give out what the resampler still holds; call once at the end."""
        return self._emit(np.zeros(0, np.float32), last=True)

    def _new_resampler(self) -> soxr.ResampleStream | None:
        if self._rate_hz == SAMPLE_RATE_HZ:
            return None
        return soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def _emit(self, mono: NDArray[np.float32], *, last: bool) -> list[AudioChunk]:
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        if len(mono) == 0:
            return []
        chunk = AudioChunk(self._position, to_int16(mono))
        self._position = chunk.end
        return [chunk]
