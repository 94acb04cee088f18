"""Raw PCM bytes to samples, whatever the cuts between the pieces."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from realtime_ser.errors import AudioUnsupportedError

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

MINIMUM_RATE_HZ = 8_000
MAXIMUM_RATE_HZ = 192_000
MAXIMUM_CHANNELS = 32


def require_format(rate_hz: int, channels: int) -> None:
    """Raise AudioUnsupportedError unless rate and channel count are ones we can take."""
    if not MINIMUM_RATE_HZ <= rate_hz <= MAXIMUM_RATE_HZ:
        raise AudioUnsupportedError(
            f"sample rate {rate_hz} Hz is not supported; "
            f"use {MINIMUM_RATE_HZ} to {MAXIMUM_RATE_HZ} Hz"
        )
    if not 1 <= channels <= MAXIMUM_CHANNELS:
        raise AudioUnsupportedError(
            f"{channels} channels are not supported; use 1 to {MAXIMUM_CHANNELS}"
        )


def to_mono(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Mean over channels, as float32 in full scale -1..1.

    Args:
        samples: [samples] or [samples, channels]; int16, int32 and uint8 are scaled from their
            range, floats are taken as full scale.

    Raises:
        AudioUnsupportedError: another dtype or shape, or a sample that is NaN or infinite.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise AudioUnsupportedError(
            f"audio of shape {array.shape} is not supported; pass [samples] or [samples, channels]"
        )
    if array.dtype == np.uint8:
        scaled = (array.astype(np.float32) - 128.0) / 128.0
    elif array.dtype == np.int16:
        # exact in single precision: 16 bits, and a power of two
        scaled = array.astype(np.float32) * np.float32(1 / 32768)
    elif array.dtype == np.int32:
        # in double: int32 does not fit the 24 bits of a float32 mantissa before scaling
        scaled = (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    elif np.issubdtype(array.dtype, np.floating):
        # float64 beyond the range of float32 becomes infinity here, and is refused below
        with np.errstate(over="ignore"):
            scaled = array.astype(np.float32)
        if not np.isfinite(scaled).all():
            raise AudioUnsupportedError(
                "the audio holds samples that are NaN or infinite; repair the source"
            )
    else:
        raise AudioUnsupportedError(
            f"samples of type {array.dtype} are not supported; use int16 or float32"
        )
    if array.ndim == 1:
        return scaled
    return scaled[:, 0] if array.shape[1] == 1 else scaled.mean(axis=1, dtype=np.float32)


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Full scale -1..1 to int16, rounded to nearest and clipped.

    int16 divided by 32768 comes back unchanged, so audio that is already PCM loses nothing.
    """
    scaled = np.clip(np.rint(samples * np.float32(32768.0)), -32768, 32767)
    return np.asarray(scaled, dtype=np.int16)


class PcmDecoder:
    """Bytes of interleaved PCM to arrays [samples, channels]; holds back what is not a whole one.

    Raises:
        AudioUnsupportedError: unknown encoding or channel count.
    """

    def __init__(self, encoding: str, channels: int) -> None:
        if encoding not in ENCODINGS:
            raise AudioUnsupportedError(
                f"unknown encoding {encoding!r}; use one of {', '.join(ENCODINGS)}"
            )
        require_format(MINIMUM_RATE_HZ, channels)
        self._encoding = encoding
        self._channels = channels
        self._frame_bytes = channels * {"s16le": 2, "f32le": 4}.get(encoding, 1)
        self._rest = b""

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for the rest of their sample; not 0 at the end means a cut stream."""
        return len(self._rest)

    def decode(self, data: bytes) -> NDArray[np.generic]:
        """Take any number of bytes; returns int16 or float32 [samples, channels]."""
        data = self._rest + data
        usable = len(data) - len(data) % self._frame_bytes
        self._rest = data[usable:]
        raw = data[:usable]
        flat: NDArray[np.generic]
        if self._encoding == "s16le":
            flat = np.frombuffer(raw, dtype="<i2")
        elif self._encoding == "f32le":
            flat = np.frombuffer(raw, dtype="<f4")
        else:
            table = _MULAW if self._encoding == "mulaw" else _ALAW
            flat = table[np.frombuffer(raw, dtype=np.uint8)]
        return flat.reshape(-1, self._channels)


def _mulaw_table() -> NDArray[np.int16]:
    """ITU-T G.711 mu-law, all 256 codes, as 16-bit samples."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 0x07)
    return np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84).astype(np.int16)


def _alaw_table() -> NDArray[np.int16]:
    """ITU-T G.711 A-law, all 256 codes, as 16-bit samples."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code >> 4) & 0x07
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(
        exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0)
    )
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_MULAW = _mulaw_table()
_ALAW = _alaw_table()
