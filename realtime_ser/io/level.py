"""How loud a stretch of audio is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FLOOR_DBFS = -96.0
"""What digital silence reads: the step of 16 bits."""


def level_dbfs(samples: NDArray[np.int16] | NDArray[np.float32]) -> float:
    """RMS level of `samples` in dB relative to full scale, at least `FLOOR_DBFS`.

    Args:
        samples: int16 or float of full scale 1, any shape; empty reads as silence.
    """
    if not samples.size:
        return FLOOR_DBFS
    full_scale = 32_768.0 if samples.dtype == np.int16 else 1.0
    power = float(np.mean(np.square(samples, dtype=np.float64))) / full_scale**2
    return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS
