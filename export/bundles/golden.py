"""Sounds made by arithmetic and a few sentences, with the answers a bundle must give to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.types import SAMPLE_RATE_HZ

Floats = NDArray[np.float32]

# None of these lengths was traced; the first is near the shortest that is served.
_CASE_SAMPLES = (4_321, 12_345, 20_000)
# Short, long enough to be cut into pieces by any tokenizer, and with letters beyond ASCII.
_CASE_TEXTS = ("no", "I can't believe you did that for me!", "¿Qué? ¡No me lo puedo creer!")


@dataclass(frozen=True, slots=True)
class GoldenInput:
    """What a bundle is asked: float32 [samples] at 16 kHz, -1..1, and a transcript of it."""

    waveform: Floats
    text: str


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """What it must answer.

    Attributes:
        outputs: by part and output, without the batch axis.
        has_text: whether the bundle has a text part.
    """

    asked: GoldenInput
    outputs: Mapping[str, Mapping[str, Floats]]
    has_text: bool = False


def golden_inputs() -> tuple[GoldenInput, ...]:
    """The same for every bundle."""
    return tuple(
        GoldenInput(synthetic_voice(samples, 110.0 * 1.5**case), text)
        for case, (samples, text) in enumerate(zip(_CASE_SAMPLES, _CASE_TEXTS, strict=True))
    )


def synthetic_voice(samples: int, pitch_hz: float) -> Floats:
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


def write_golden(cases: Sequence[GoldenCase], path: Path) -> None:
    """Write the cases as the bundle contract says."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, case in enumerate(cases):
        arrays[f"case{number}_waveform"] = case.asked.waveform
        if case.has_text:
            arrays[f"case{number}_text"] = np.array(case.asked.text)
        for part, outputs in case.outputs.items():
            for output, value in outputs.items():
                arrays[f"case{number}_{part}_{output}"] = value.astype(np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
