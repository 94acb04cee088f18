"""Sounds without a voice, made up: for training to be robust to, and to have no opinion about."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .front_end import SAMPLE_RATE_HZ

Wave = NDArray[np.float32]

_BANK_SAMPLES = 1 << 17


def mix_at(wave: Wave, noise: Wave, snr_db: float) -> Wave:
    """`wave` with `noise` (repeated to its length) at the given ratio of mean powers."""
    noise = np.resize(noise, len(wave))
    ratio = float(np.mean(wave**2)) / (float(np.mean(noise**2)) + 1e-12)
    return wave + noise * np.float32(math.sqrt(ratio * 10 ** (-snr_db / 10)))


def coloured_noise(samples: int, rng: np.random.Generator) -> Wave:
    """Gaussian noise with power falling by a random 0 to 12 dB per octave, unit variance."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    spectrum *= np.maximum(hertz, 40.0) ** -rng.uniform(0.0, 2.0)
    noise = np.fft.irfft(spectrum, samples)
    scaled: Wave = (noise / (noise.std() + 1e-12)).astype(np.float32)
    return scaled


def hum(samples: int, rng: np.random.Generator) -> Wave:
    """A steady tone with harmonics: mains, fan, motor."""
    time = np.arange(samples) / SAMPLE_RATE_HZ
    pitch = rng.uniform(45.0, 400.0) * (1 + 0.02 * rng.standard_normal() * time)
    partials = range(1, int(rng.integers(2, 12)))
    sound = sum(
        rng.uniform(0, 1) / n * np.sin(2 * np.pi * (n * pitch * time + rng.uniform()))
        for n in partials
    )
    return np.asarray(sound + 0.01 * rng.standard_normal(samples), np.float32)


def clicks(samples: int, rng: np.random.Generator) -> Wave:
    """Taps, knocks and rubs: short decaying bursts over a faint floor."""
    out = 0.002 * rng.standard_normal(samples)
    for _ in range(int(rng.integers(1, 15))):
        size = int(rng.uniform(0.003, 0.15) * SAMPLE_RATE_HZ)
        burst = rng.standard_normal(size) * np.exp(-6 * np.arange(size) / size)
        if rng.random() < 0.5:
            tone = rng.uniform(150, 3500)
            burst = np.sin(2 * np.pi * tone * np.arange(size) / SAMPLE_RATE_HZ) * np.abs(burst)
        start = int(rng.integers(0, max(1, samples - size)))
        out[start : start + size] += (rng.uniform(0.05, 1.0) * burst)[: samples - start]
    return out.astype(np.float32)


def gusts(samples: int, rng: np.random.Generator) -> Wave:
    """Coloured noise that swells and dies away: wind, breath on the microphone, traffic."""
    knots = np.exp(1.5 * rng.standard_normal(max(3, samples // 4000)))
    envelope = np.interp(np.arange(samples), np.linspace(0, samples, len(knots)), knots)
    return (coloured_noise(samples, rng) * envelope).astype(np.float32)


def non_speech(samples: int, rng: np.random.Generator) -> Wave:
    """A made-up sound without a voice, for which every label is equally wrong."""
    kinds = (coloured_noise, hum, clicks, gusts)
    sound = kinds[int(rng.integers(len(kinds)))](samples, rng)
    if rng.random() < 0.5:
        other = kinds[int(rng.integers(len(kinds)))](samples, rng)
        sound = mix_at(sound, other, rng.uniform(-5, 20))
    return sound


class NoiseBank:
    """Non-speech made once and cut from at random: making each anew took half of the training."""

    def __init__(self, seed: int, sounds: int = 150) -> None:
        rng = np.random.default_rng((seed, sounds))
        self.sounds = [non_speech(_BANK_SAMPLES, rng) for _ in range(sounds)]

    def draw(self, samples: int, rng: np.random.Generator) -> Wave:
        """float32 [samples], at most 8 s."""
        start = int(rng.integers(0, _BANK_SAMPLES - samples + 1))
        return self.sounds[int(rng.integers(len(self.sounds)))][start : start + samples]
