"""Whisper's log-mel spectrograms: made once by faster-whisper's own extractor, then augmented.

Training sees what serving sees, because the same extractor makes both. The spectrogram is kept, not
the sound: with the power of every band at hand, gain, band limits, tempo, vocal tract and noise are
a few operations on a whole batch, where each would cost milliseconds a clip on the waveform.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from ..speech.audio_cache import PRE_ROLL_SAMPLES, open_cache
from ..training.corpora import SAMPLE_RATE_HZ
from .acting import Acting, ripples_of_pitches, sung

BANDS = 80
HOP_SAMPLES = 320
FRAMES_PER_SECOND = SAMPLE_RATE_HZ // HOP_SAMPLES
"""Half of Whisper's usual rate: half the work in training and serving, and still 25 positions a
second in the encoder, where speech has about 15 sounds a second."""

# What a recording keeps around its speech, beyond what the product cuts, for random cuts.
_EXTRA_LEAD_SAMPLES = SAMPLE_RATE_HZ * 150 // 1000
_EXTRA_TAIL_SAMPLES = SAMPLE_RATE_HZ * 100 // 1000

Frames = NDArray[np.float32]
"""[frames, BANDS], as the extractor scales them: a quarter of log10 power, plus one."""


def feature_extractor() -> Any:
    """faster-whisper's extractor as the written folder configures it."""
    from faster_whisper.feature_extractor import FeatureExtractor

    return FeatureExtractor(feature_size=BANDS, hop_length=HOP_SAMPLES)


def log_mel(extractor: Any, samples: NDArray[np.float32]) -> Frames:
    """The frames of float32 [samples] of full scale 1, as the product's transcriber makes them."""
    frames: Frames = extractor(samples)[:, :-1].T
    return frames


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Spectrograms of `n` recordings, end to end.

    Attributes:
        frames: float16 [total, BANDS], memory-mapped.
        offsets: int64 [n + 1].
        speech: int64 [n, 2], first and one-past-last frame of speech in the recording.
    """

    frames: NDArray[np.float16]
    offsets: NDArray[np.int64]
    speech: NDArray[np.int64]

    def all_frames(self, index: int) -> Frames:
        """Everything that is kept of a recording."""
        return self.frames[self.offsets[index] : self.offsets[index + 1]].astype(np.float32)

    def cut(self, index: int, lead: int, tail: int) -> Frames:
        """A recording from `lead` frames before its speech to `tail` frames after it."""
        first, last = self.speech[index]
        return self.all_frames(index)[max(0, first - lead) : last + tail]


def open_features(folder: Path, paths: Sequence[str]) -> FeatureCache:
    """The spectrograms of the audio files; made on the first call (minutes), then mapped."""
    key = hashlib.sha256("\n".join([str(HOP_SAMPLES), *paths]).encode()).hexdigest()[:16]
    place = folder / f"log-mel-{key}"
    if not (place / "done.json").exists():
        _build(place, folder, paths)
    index = np.load(place / "index.npz")
    frames = np.load(place / "frames.npy", mmap_mode="r")
    return FeatureCache(frames, index["offsets"], index["speech"])


def _build(place: Path, folder: Path, paths: Sequence[str]) -> None:
    audio = open_cache(folder, Path(), paths)
    place.mkdir(parents=True, exist_ok=True)
    extractor = feature_extractor()
    parts, speech = [], []
    for index in track(range(len(paths)), "spectrograms"):
        samples = audio.utterance(index, -_EXTRA_LEAD_SAMPLES, _EXTRA_TAIL_SAMPLES)
        parts.append(log_mel(extractor, samples).astype(np.float16))
        first, last = (int(bound) for bound in audio.speech[index])
        start = max(0, first - PRE_ROLL_SAMPLES - _EXTRA_LEAD_SAMPLES)
        end = min(len(parts[-1]), -(-(last - start) // HOP_SAMPLES))
        speech.append(((first - start) // HOP_SAMPLES, end))
    np.save(place / "frames.npy", np.concatenate(parts))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    np.savez(place / "index.npz", offsets=offsets.astype(np.int64), speech=np.array(speech))
    (place / "done.json").write_text(json.dumps({"recordings": len(paths)}))


def noise_frames(sounds: Iterable[NDArray[np.float32]]) -> list[Tensor]:
    """Powers float32 [frames, BANDS] of sounds, scaled so that their mean band power is 1."""
    extractor = feature_extractor()
    powers = [power(torch.from_numpy(log_mel(extractor, sound))) for sound in sounds]
    return [each / loudness(each[None]) for each in powers]


def power(features: Tensor) -> Tensor:
    """The power in each band, of any shape."""
    return torch.pow(10.0, 4.0 * features - 4.0)


def loudness(powers: Tensor) -> Tensor:
    """The mean power over bands, by their width, and frames: [batch] of [batch, frames, BANDS]."""
    return (powers * _BAND_WIDTHS).sum(2).mean(1)


def features_of(powers: Tensor) -> Tensor:
    """The extractor's scale: log10, nothing below 80 dB under the loudest band of the clip."""
    log_power = powers.clamp(min=1e-10).log10()
    floor = log_power.amax(dim=(1, 2), keepdim=True) - 8.0
    return (torch.maximum(log_power, floor) + 4.0) / 4.0


def _band_widths() -> Tensor:
    filters = feature_extractor().mel_filters  # the area under each is the same: Slaney's scale
    widths = torch.from_numpy((filters > 0).sum(1).astype(np.float32))
    return widths / widths.sum()


_BAND_WIDTHS = _band_widths()


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far training strays from the recordings; each range is drawn from anew for each clip.

    Attributes:
        tempo, vocal_tract: factors.
        vocal_bend: by how much the latter may be greater at the top than at the bottom, or less.
        style_probability: of taking on, in part, the mean and spread of another clip's bands.
        masked_bands, masked_share: of bands and of the time, how much each of two masks may hide.
    """

    tempo: tuple[float, float] = (0.75, 1.18)
    vocal_tract: tuple[float, float] = (0.87, 1.15)
    style_probability: float = 0.4
    gain_db: tuple[float, float] = (-14.0, 10.0)
    equaliser_db: float = 4.0
    low_pass_probability: float = 0.25
    noise_probability: float = 0.6
    noise_ratio_db: tuple[float, float] = (3.0, 35.0)
    masked_bands: float = 8.0
    masked_share: float = 0.1
    vocal_bend: float = 0.08
    acting: Acting = field(default_factory=Acting)

    def eased(self, strength: float) -> Augmentation:
        """The same at a strength of 0 (only the loudness varies) to 1."""

        def nearer(factors: tuple[float, float]) -> tuple[float, float]:
            low, high = factors
            return 1 + (low - 1) * strength, 1 + (high - 1) * strength

        return replace(
            self,
            tempo=nearer(self.tempo),
            vocal_tract=nearer(self.vocal_tract),
            style_probability=self.style_probability * strength,
            equaliser_db=self.equaliser_db * strength,
            low_pass_probability=self.low_pass_probability * strength,
            noise_probability=self.noise_probability * strength,
            masked_bands=self.masked_bands * strength,
            masked_share=self.masked_share * strength,
            vocal_bend=self.vocal_bend * strength,
            acting=self.acting.eased(strength),
        )


def augmented(
    clips: list[Frames], noises: list[Tensor], rules: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One training view of each clip.

    Returns features float32 [batch, frames, BANDS], zero behind a clip's end as the product pads
    them; lengths int64 [batch] in frames; and the same clips at the same places in time, but
    with their own voice, without noise and other changes, float32 [batch, frames, BANDS].
    """
    batch = len(clips)
    tempo = rng.uniform(*rules.tempo, batch)
    sizes = [max(2, round(len(clip) / rate)) for clip, rate in zip(clips, tempo, strict=True)]
    lengths = torch.tensor(sizes)
    source = torch.full((batch, max(map(len, clips)), BANDS), -1.5)
    for row, clip in zip(source, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    warped = _warped(source, [len(clip) for clip in clips], sizes, rules, rng)
    acted = sung(warped, lengths, _ripples(), rules.acting, rng)
    powers = power(mixed_style(acted, lengths, rules, rng))
    valid = (torch.arange(powers.shape[1])[None, :] < lengths[:, None])[:, :, None]
    powers = powers * valid * _random_gains(batch, rules, rng)
    noisy = torch.from_numpy(rng.random(batch) < rules.noise_probability)
    ratio_db = torch.from_numpy(rng.uniform(*rules.noise_ratio_db, batch)).float()
    mean = loudness(powers) * powers.shape[1] / lengths
    level = torch.where(noisy, mean * 10 ** (-ratio_db / 10), 0.0)
    noise = torch.stack([_cut_of(noises, powers.shape[1], rng) for _ in clips])
    features = features_of((powers + level[:, None, None] * noise) * valid)
    return spec_augment(features, lengths, rules, rng) * valid, lengths, warped


def _warped(
    source: Tensor, old: list[int], new: list[int], rules: Augmentation, rng: np.random.Generator
) -> Tensor:
    """Stretched in time, and in frequency as by a longer or shorter vocal tract."""
    batch, frames, _ = source.shape
    rate = torch.tensor(old)[:, None] / torch.tensor(new)[:, None]
    time = (torch.arange(max(new))[None, :] + 0.5) * rate / frames * 2 - 1
    warp = torch.from_numpy(rng.uniform(*rules.vocal_tract, (batch, 1))).float()
    bend = torch.from_numpy(rng.uniform(-1, 1, (batch, 1)) * rules.vocal_bend).float()
    height = (torch.arange(BANDS)[None, :] + 0.5) / BANDS
    band = height * (warp + bend * (height - 0.5)) * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(band[:, None, :], time[:, :, None].float()), dim=3)
    out = torch.nn.functional.grid_sample(
        source[:, None], grid, padding_mode="border", align_corners=False
    )
    return out[:, 0]


def mixed_style(
    features: Tensor, lengths: Tensor, rules: Augmentation, rng: np.random.Generator
) -> Tensor:
    """Some clips with the mean and spread of each band part of the way to another clip's.

    Schmid et al., "CP-JKU submission to DCASE22: Distilling knowledge for low-complexity
    convolutional neural networks from a patchout audio transformer", 2022 (Freq-MixStyle), after
    Zhou et al., "Domain generalization with MixStyle", ICLR 2021. Whether a clip is synthetic is
    written in these numbers; so nothing must hang on them. features [batch, frames, BANDS].
    """
    batch, frames, _ = features.shape
    inside = (torch.arange(frames)[None, :] < lengths[:, None])[:, :, None]
    counted = lengths[:, None, None]
    mean = (features * inside).sum(1, keepdim=True) / counted
    spread = (((features - mean) * inside) ** 2).sum(1, keepdim=True).div(counted).sqrt() + 1e-3
    other = torch.from_numpy(rng.permutation(batch))
    mixing = rng.random(batch) < rules.style_probability
    share = torch.from_numpy(np.where(mixing, rng.random(batch), 0.0)).float()[:, None, None]
    target_mean = mean.lerp(mean[other], share)
    target_spread = spread.lerp(spread[other], share)
    mixed = (features - mean) / spread * target_spread + target_mean
    return torch.where(share > 0, mixed, features)


@cache
def _ripples() -> Tensor:
    extractor = feature_extractor()
    return ripples_of_pitches(lambda tone: torch.from_numpy(log_mel(extractor, tone)[2:-2]).mean(0))


def _random_gains(batch: int, rules: Augmentation, rng: np.random.Generator) -> Tensor:
    """Power gains [batch, 1, BANDS]: loudness, a smooth curve, and at times a low-pass filter."""
    knots = torch.from_numpy(rng.normal(0.0, rules.equaliser_db, (batch, 1, 6))).float()
    curve_db = torch.nn.functional.interpolate(knots, BANDS, mode="linear", align_corners=True)
    gain_db = torch.from_numpy(rng.uniform(*rules.gain_db, (batch, 1, 1))).float()
    limited = rng.random((batch, 1)) < rules.low_pass_probability
    high = torch.from_numpy(np.where(limited, rng.uniform(55, BANDS, (batch, 1)), 200.0)).float()
    cut_db = (8.0 * (torch.arange(BANDS)[None, :] - high)).clamp(0, 60)[:, None, :]
    return 10 ** ((curve_db + gain_db - cut_db) / 10)


def _cut_of(noises: list[Tensor], frames: int, rng: np.random.Generator) -> Tensor:
    noise = noises[int(rng.integers(len(noises)))]
    start = int(rng.integers(len(noise)))
    return noise[(torch.arange(frames) + start) % len(noise)]


def spec_augment(
    features: Tensor, lengths: Tensor, rules: Augmentation, rng: np.random.Generator
) -> Tensor:
    """Two groups of bands and two stretches of time set to each clip's mean.

    Park et al., "SpecAugment", Interspeech 2019; features [batch, frames, BANDS].
    """
    batch, time, bands = features.shape
    mean = features.sum((1, 2), keepdim=True) / (lengths[:, None, None] * bands)
    masked = torch.zeros(batch, time, bands, dtype=torch.bool)
    at_band, at_time = torch.arange(bands)[None, :], torch.arange(time)[None, :]
    for _ in range(2):
        start, size = _span(rng, batch, torch.full((batch, 1), float(bands)), rules.masked_bands)
        masked |= ((at_band >= start) & (at_band < start + size))[:, None, :]
        seen = lengths[:, None].float()
        start, size = _span(rng, batch, seen, rules.masked_share * seen)
        masked |= ((at_time >= start) & (at_time < start + size))[:, :, None]
    return torch.where(masked, mean, features)


def _span(
    rng: np.random.Generator, batch: int, room: Tensor, longest: Tensor | float
) -> tuple[Tensor, Tensor]:
    start = torch.from_numpy(rng.random((batch, 1))).float() * room
    return start, torch.from_numpy(rng.random((batch, 1))).float() * longest


def window_frames(seconds: float) -> int:
    """How many frames a window has; even, for the encoder halves them."""
    return 2 * math.ceil(seconds * FRAMES_PER_SECOND / 2)
