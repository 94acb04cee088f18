"""What a source gives, at its own rate, to one 16 kHz mono time line.

The resampler is soxr's stream, whose output does not depend on how its input is cut (tested). It
holds back 10 to 40 ms of audio at HQ, depending on the rate; LQ would hold back some 10 ms less
at 48 kHz and give up the band above 6 kHz, which Whisper uses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from realtime_ser.core.pcm import require_format, to_int16, to_mono
from realtime_ser.types import SAMPLE_RATE_HZ, AudioChunk, Samples

_BLOCK_SECONDS = 1
"""Longer arrays are worked off in blocks: a ten-minute chunk must not cost ten-minute buffers, and
what comes before a sample that is no number must not be lost with it."""


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

    @property
    def received_samples(self) -> float:
        """What has been pushed and lost so far, in samples at 16 kHz; the resampler's included."""
        return self._received * SAMPLE_RATE_HZ / self._rate_hz

    def push(self, samples: NDArray[np.generic]) -> Iterator[AudioChunk]:
        """Take samples [n] or [n, channels] of any length; see `to_mono` for dtypes and errors.

        Exhaust it before the next call.
        """
        block = _BLOCK_SECONDS * self._rate_hz
        for start in range(0, len(samples), block):
            piece = samples[start : start + block]
            if self._resampler is None and _is_mono_int16(piece):
                # to full scale and back changes no int16, and most of what a server gets is such
                self._received += len(piece)
                yield self._chunk(piece.reshape(-1).astype(np.int16, copy=False))
                continue
            mono = to_mono(piece)
            self._received += len(mono)
            yield from self._emit(mono, last=False)

    def push_lost(self, count: int) -> Iterator[AudioChunk]:
        """Note that the source lost `count` samples here: the time line jumps over them."""
        if count <= 0:
            return
        yield from self.flush()
        self._received += count
        self._position = round(self.received_samples)
        self._resampler = self._new_resampler()

    def flush(self) -> Iterator[AudioChunk]:
        """Give out what the resampler still holds; call once at the end."""
        yield from self._emit(np.zeros(0, np.float32), last=True)

    def _new_resampler(self) -> soxr.ResampleStream | None:
        if self._rate_hz == SAMPLE_RATE_HZ:
            return None
        return soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def _emit(self, mono: NDArray[np.float32], *, last: bool) -> Iterator[AudioChunk]:
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        if len(mono):
            yield self._chunk(to_int16(mono))

    def _chunk(self, samples: Samples) -> AudioChunk:
        chunk = AudioChunk(self._position, samples)
        self._position = chunk.end
        return chunk


def _is_mono_int16(samples: NDArray[np.generic]) -> bool:
    one_channel = samples.ndim == 1 or (samples.ndim == 2 and samples.shape[1] == 1)
    return one_channel and samples.dtype == np.int16
