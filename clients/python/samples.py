"""Arrays of samples to bytes as they go over the wire; numpy is welcome, not needed."""

from __future__ import annotations

import importlib.util
import math
import sys
from array import array
from typing import Any

BYTES_PER_SAMPLE = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
"""By encoding."""

_INT16, _FLOATS = "h", ("f", "d")


def pcm_bytes(samples: Any, encoding: str, channels: int) -> bytes:
    """What to send for `samples`.

    Args:
        samples: bytes-like: sent as it is. Anything with the buffer protocol that holds int16 or
            floats in full scale -1..1 (an array of numpy or of the standard library):
            [samples] of interleaved channels, or [samples, channels].
        encoding: of the session, `s16le` or `f32le` for arrays. Floats beyond full scale are
            clipped when they become int16.

    Raises:
        TypeError: neither bytes nor such an array.
        ValueError: its shape does not fit, or a sample is NaN or infinite.
    """
    try:
        view = memoryview(samples)
    except TypeError:
        raise TypeError(
            f"{type(samples).__name__} is no audio; pass bytes, or an array of int16 or float32"
        ) from None
    kind = view.format.lstrip("@=<")
    if kind in ("B", "b", "c"):
        return view.tobytes()
    if kind != _INT16 and kind not in _FLOATS:
        raise TypeError(
            f"an array of format {view.format!r} is no audio; pass int16, float32 or float64"
        )
    if encoding not in ("s16le", "f32le"):
        raise TypeError(f"the session takes {encoding}; pass bytes in it, or open it with s16le")
    if view.ndim > 2 or (view.ndim == 2 and view.shape and view.shape[1] != channels):
        raise ValueError(
            f"samples of shape {view.shape} do not fit {channels} channels; pass [samples] or "
            f"[samples, {channels}]"
        )
    if kind == _INT16 and encoding == "s16le" and sys.byteorder == "little":
        return view.tobytes()
    if importlib.util.find_spec("numpy") is None:
        return _convert(array(kind, view.tobytes()), encoding)
    return _convert_fast(view, encoding)


def _convert(samples: array[Any], encoding: str) -> bytes:
    if samples.typecode in _FLOATS:
        if not all(map(math.isfinite, samples)):
            raise _not_finite()
        if encoding == "s16le":
            clipped = (max(-32768, min(32767, round(value * 32768))) for value in samples)
            samples = array(_INT16, clipped)
        else:
            samples = array("f", samples)
    elif encoding == "f32le":
        samples = array("f", (value / 32768 for value in samples))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _convert_fast(view: memoryview, encoding: str) -> bytes:
    import numpy as np

    samples = np.asarray(view)
    if samples.dtype.kind == "f":
        if not np.isfinite(samples).all():
            raise _not_finite()
        if encoding == "s16le":
            samples = np.rint(samples * samples.dtype.type(32768)).clip(-32768, 32767)
    elif encoding == "f32le":
        samples = samples / np.float32(32768)
    converted: bytes = samples.astype("<i2" if encoding == "s16le" else "<f4").tobytes()
    return converted


def _not_finite() -> ValueError:
    return ValueError("the audio holds samples that are NaN or infinite; repair its source")
