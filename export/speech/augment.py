"""Everything about a recording that is not emotion, made random.

Issue measured beforehand: a model trained on one corpus hardly carries over to another, because
the corpora differ in room, band, noise floor and microphone. Some of this happens on the waveform
(numpy, one clip), some on the spectrum (torch, a batch), where band limits and warps cost nothing.
Loudness needs no augmentation: the front end divides by the mean power.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from .front_end import BANDS, BINS, SAMPLE_RATE_HZ, FrontEnd, frame_count, mel_filterbank

Wave = NDArray[np.float32]

SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 2
LONGEST_SAMPLES = 9 * SAMPLE_RATE_HZ // 2
_BANK_SAMPLES = 1 << 17


def change_speed(wave: Wave, factor: float) -> Wave:
    """Faster (factor above 1) and higher, or slower and lower."""
    out: Wave = soxr.resample(wave, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="QQ")
    return out


def random_window(wave: Wave, rng: np.random.Generator) -> Wave:
    """1 to 4 s from anywhere in the clip: what a partial estimate is asked about."""
    size = int(rng.uniform(1.0, 4.0) * SAMPLE_RATE_HZ)
    if size >= len(wave):
        return wave
    start = int(rng.integers(0, len(wave) - size + 1))
    return wave[start : start + size]


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
        """float32 [samples], samples at most `LONGEST_SAMPLES`."""
        start = int(rng.integers(0, _BANK_SAMPLES - samples + 1))
        return self.sounds[int(rng.integers(len(self.sounds)))][start : start + samples]


def reverberate(wave: Wave, rng: np.random.Generator) -> Wave:
    """A light room: the direct sound and an exponentially decaying tail (RT60 0.1 to 0.6 s)."""
    seconds = rng.uniform(0.1, 0.6)
    size = int(seconds * SAMPLE_RATE_HZ)
    decay = np.exp(-6.9 * np.arange(size) / size)
    response = rng.standard_normal(size) * decay
    response *= math.sqrt(10 ** (-rng.uniform(2, 15) / 10) / np.sum(response**2))
    response[0] = 1.0
    total = len(wave) + size
    fast = 1 << (total - 1).bit_length()  # numpy's FFT is slow at sizes with large factors
    spectrum = np.fft.rfft(wave, fast) * np.fft.rfft(response.astype(np.float32), fast)
    wet = np.fft.irfft(spectrum, fast)
    audible: Wave = wet[: len(wave)].astype(np.float32)
    return audible


def augment_wave(wave: Wave, others: list[Wave], bank: NoiseBank, rng: np.random.Generator) -> Wave:
    """One training view of a clip; `others` are clips to hear in the background."""
    if rng.random() < 0.5:
        wave = change_speed(wave, rng.uniform(0.85, 1.18))
    if rng.random() < 0.4:
        wave = random_window(wave, rng)
    wave = wave[:LONGEST_SAMPLES]
    if len(wave) < SHORTEST_SAMPLES:
        wave = np.pad(wave, (0, SHORTEST_SAMPLES - len(wave)))
    if rng.random() < 0.12:
        wave = reverberate(wave, rng)
    for other in others:
        wave = mix_at(wave, np.roll(other, int(rng.integers(len(other)))), rng.uniform(8, 30))
    if rng.random() < 0.4:
        wave = mix_at(wave, bank.draw(len(wave), rng), rng.uniform(5, 45))
    return wave


_WARPS = torch.linspace(0.9, 1.1, 21)
_WARPED_FILTERBANKS = torch.stack([mel_filterbank(float(warp)) for warp in _WARPS])


def random_features(
    front_end: FrontEnd, waveform: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """The front end with a random vocal tract, device and noise floor for each clip.

    Returns features float32 [batch, BANDS, frames] and frames int64 [batch].
    """
    batch = len(lengths)
    frames = frame_count(lengths)
    power = front_end.power(waveform)
    assert power.shape[1] == BINS
    banks = _WARPED_FILTERBANKS[torch.randint(0, len(_WARPS), (batch,))]
    bands = torch.bmm(banks, power) * random_equaliser(batch)[:, :, None]
    floor = 10 ** torch.empty(batch, 1, 1).uniform_(-5.0, -2.5)
    return spec_augment(front_end.features(bands, frames, floor), frames), frames


def random_equaliser(batch: int) -> Tensor:
    """Power gains of each band, float32 [batch, BANDS]: a smooth curve and soft band limits.

    The mean of each band is removed later; what is left of this is which parts sink below the
    floor, as they do on a telephone or a poor microphone.
    """
    knots = 6.0 * torch.randn(batch, 1, 6)
    gain_db = torch.nn.functional.interpolate(knots, BANDS, mode="linear", align_corners=True)[:, 0]
    band = torch.arange(BANDS, dtype=torch.float32)[None, :]
    low = torch.where(torch.rand(batch, 1) < 0.3, torch.rand(batch, 1) * 12, -20.0)
    high = torch.where(torch.rand(batch, 1) < 0.4, BANDS - torch.rand(batch, 1) * 20, 100.0)
    slope_db = 5.0 + 10.0 * torch.rand(batch, 1)
    cut = (low - band).clamp(min=0) + (band - high).clamp(min=0)
    return 10 ** ((gain_db - (slope_db * cut).clamp(max=70)) / 10)


def spec_augment(features: Tensor, frames: Tensor) -> Tensor:
    """Two bands of up to 10 and two stretches of up to 12 % blanked in each clip.

    Park et al., "SpecAugment", Interspeech 2019. Zero is the mean of every band.
    """
    batch, bands, time = features.shape
    keep_band = torch.ones(batch, bands)
    keep_time = torch.ones(batch, time)
    at_band = torch.arange(bands)[None, :]
    at_time = torch.arange(time)[None, :]
    for _ in range(2):
        start = torch.rand(batch, 1) * (bands - 10)
        size = torch.rand(batch, 1) * 10
        keep_band *= ((at_band < start) | (at_band >= start + size)).float()
        start = torch.rand(batch, 1) * frames[:, None]
        size = torch.rand(batch, 1) * 0.12 * frames[:, None]
        keep_time *= ((at_time < start) | (at_time >= start + size)).float()
    return features * keep_band[:, :, None] * keep_time[:, None, :]
