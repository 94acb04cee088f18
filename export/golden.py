"""Sounds made by arithmetic, with the answers a bundle must give to them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .corpora import SAMPLE_RATE_HZ
from .onnx_audio import OnnxEncoder

# None of these lengths was traced; the first is near the shortest that is served.
_CASE_SAMPLES = (4_321, 12_345, 20_000)


def synthetic_voice(samples: int, pitch_hz: float) -> NDArray[np.float32]:
    """A gliding harmonic tone with four syllables a second: float32 [samples].

    Rounded to 12 bits, so that it compresses well.
    """
    time = np.arange(samples) / SAMPLE_RATE_HZ
    phase = (
        2
        * math.pi
        * np.cumsum(pitch_hz * (1 + 0.2 * np.sin(2 * math.pi * time)))
        / (SAMPLE_RATE_HZ)
    )
    tone = sum(np.sin(n * phase) / n for n in range(1, 16))
    syllables = 0.55 + 0.45 * np.sin(2 * math.pi * 4 * time)
    return (np.round(tone * syllables * 0.15 * 2048) / 2048).astype(np.float32)


def write_golden(encoder: OnnxEncoder, part: str, path: Path) -> None:
    """Write the cases of the bundle contract for one audio part."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for case, samples in enumerate(_CASE_SAMPLES):
        waveform = synthetic_voice(samples, 110.0 * 1.5**case)
        logits, embedding = encoder.outputs(waveform[None], np.array([samples], np.int64))
        arrays[f"case{case}_waveform"] = waveform
        arrays[f"case{case}_{part}_logits"] = logits[0]
        arrays[f"case{case}_{part}_embedding"] = embedding[0]
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
