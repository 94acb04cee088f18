"""What is answered to sounds that nobody acted: calm readers, noise, silence.

A recognizer that says *sad* to every calm reader is useless whatever it scores on actors. Only the
half of the readers and noises that is not for training is heard here, see `extra_sounds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .calibration import Calibration
from .corpora import LABELS, SAMPLE_RATE_HZ
from .extra_sounds import noise_files, reader_files
from .metrics import Floats
from .predictions import LONGEST_SAMPLES, apply
from .sound_files import read_float32
from .subjects import Subject

_NOISE_SAMPLES = 4 * SAMPLE_RATE_HZ
_SILENCES = 50


@dataclass(frozen=True, slots=True)
class Sounds:
    """Waveforms that were not acted, float32 [samples] each.

    Attributes:
        title: what they are, for people.
    """

    title: str
    waves: Sequence[Floats]


def extra_sounds(data: Path) -> dict[str, Sounds]:
    """Readers and noises that nothing was trained on, and made-up silence; what is there."""
    readers = [read_float32(path)[:LONGEST_SAMPLES] for path in reader_files(data, "test")]
    noises = [read_float32(path)[:_NOISE_SAMPLES] for path in noise_files(data, "test")]
    found = {
        "read_speech": Sounds("neutral reading, LibriSpeech", readers),
        "noise": Sounds("non-speech recordings", noises),
        "silence": Sounds("silence, and hiss that is hardly heard", _silences()),
    }
    return {name: sounds for name, sounds in found.items() if sounds.waves}


def shares(subject: Subject, calibration: Calibration, sounds: Sounds) -> dict[str, Any]:
    """How often each label is the answer, and how often there is none.

    `answered` holds each label's share of all sounds where it is the top and is not withheld;
    with `abstained` they sum to 1. `top` holds the shares before anything is withheld.
    """
    answers = subject.answer(sounds.waves, [""] * len(sounds.waves))
    scores, abstained = apply(calibration, answers)
    tops = scores.argmax(1)
    return {
        "title": sounds.title,
        "count": len(sounds.waves),
        "abstained": float(np.mean(abstained)),
        "answered": {
            label: float(np.mean((tops == i) & ~abstained)) for i, label in enumerate(LABELS)
        },
        "top": {label: float(np.mean(tops == i)) for i, label in enumerate(LABELS)},
    }


def _silences() -> list[Floats]:
    """Half a second to four, from digital zero to white noise at -50 dB of full scale."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(SAMPLE_RATE_HZ // 2, _NOISE_SAMPLES, _SILENCES)
    levels = np.concatenate([[0.0], 10 ** np.linspace(-96 / 20, -50 / 20, _SILENCES - 1)])
    return [
        (level * rng.standard_normal(length)).astype(np.float32)
        for level, length in zip(levels, lengths, strict=True)
    ]
