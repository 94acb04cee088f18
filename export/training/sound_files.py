"""Reading a recording: mono, 16 kHz, or an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..errors import ExportError
from .corpora import SAMPLE_RATE_HZ


def read_int16(path: Path) -> NDArray[np.int16]:
    """The first channel, int16 [samples].

    Raises:
        ExportError: it cannot be read, or has another rate than 16 kHz.
    """
    samples: NDArray[np.int16] = _read(path, "int16")
    return samples


def read_float32(path: Path) -> NDArray[np.float32]:
    """The first channel, float32 [samples] in -1..1.

    Raises:
        ExportError: it cannot be read, or has another rate than 16 kHz.
    """
    samples: NDArray[np.float32] = _read(path, "float32")
    return samples


def _read(path: Path, kind: Literal["int16", "float32"]) -> NDArray[np.generic]:
    try:
        samples, rate = soundfile.read(path, dtype=kind, always_2d=True)
    except soundfile.LibsndfileError as error:
        why = "is not there" if not path.exists() else f"cannot be read ({error.error_string})"
        raise ExportError(f"{path} {why}; correct speech.csv, or put a sound file there") from None
    if rate != SAMPLE_RATE_HZ:
        raise ExportError(f"{path} has {rate} Hz, expected {SAMPLE_RATE_HZ}; resample it first")
    mono: NDArray[np.generic] = samples[:, 0]
    return mono
