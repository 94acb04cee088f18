"""Another melody and rhythm for speech, in a spectrogram: few voices speak for training, and acted
emotion goes far beyond how they read.

Between the harmonics of a low voice the shape of the vocal tract is drawn finely, between those of
a high or excited one hardly at all; a vowel has to be known either way. As in a channel vocoder
(Dudley, "Remaking speech", Journal of the Acoustical Society of America 11, 1939), the smooth part
of the spectrum is kept and the ripples on it are made anew, here in the log-mel bands themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..graphs.spectrograms import cosine_transform
from ..training.corpora import SAMPLE_RATE_HZ

LOWEST_HZ, HIGHEST_HZ = 80.0, 700.0
_PITCHES = 64  # of the table, evenly on a log scale
_KNOTS = 6  # of a melody, and of a rhythm
_SMOOTH_TERMS = 18  # of the cosine transform: what repeats within 9 bands is ripple

# Voiced is a frame whose low bands are louder than its high ones and than in the quietest tenth of
# the clip, and not far below the loudest; in the extractor's scale, where 0.25 is 10 dB.
_LOW_BANDS, _HIGH_BANDS = slice(2, 28), slice(52, 80)
_ABOVE_HIGH, _ABOVE_QUIET, _BELOW_LOUDEST = 0.1, 0.35, 0.9
_SOFTNESS = 0.06


@dataclass(frozen=True, slots=True)
class Acting:
    """How far a voice may stray from how it read; ranges are drawn from anew for each clip.

    Attributes:
        melody_probability: that a clip gets another melody.
        pitch_hz: of its middle, drawn evenly on a log scale.
        span_semitones: the most by which its pitch may spread around that.
        whispered: share of these clips that lose their harmonics.
        rhythm_probability: that a clip gets another rhythm, of the same length.
        rhythm_spread: of the natural logarithm of the local rates.
    """

    melody_probability: float = 0.5
    pitch_hz: tuple[float, float] = (95.0, 480.0)
    span_semitones: float = 4.0
    whispered: float = 0.08
    rhythm_probability: float = 0.5
    rhythm_spread: float = 0.25

    def eased(self, strength: float) -> Acting:
        """The same for a share of the clips that is smaller by a factor of 0 to 1."""
        return replace(
            self,
            melody_probability=self.melody_probability * strength,
            rhythm_probability=self.rhythm_probability * strength,
        )


def hurried(
    frames: NDArray[np.float32], speech: tuple[int, int], rules: Acting, rng: np.random.Generator
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """`frames` [frames, bands] now faster, now slower, and where `speech`, two frames, then is."""
    if rng.random() >= rules.rhythm_probability:
        return frames, speech
    count = len(frames)
    knots = np.exp(rules.rhythm_spread * rng.standard_normal(_KNOTS))
    lasts = np.interp(np.arange(count), np.linspace(0, count - 1, _KNOTS), knots)
    ends = np.concatenate([[0.0], np.cumsum(lasts)])
    ends *= count / ends[-1]
    place = np.interp(np.arange(count) + 0.5, ends, np.arange(count + 1)) - 0.5
    before = np.clip(np.floor(place).astype(np.int64), 0, count - 1)
    behind = np.minimum(before + 1, count - 1)
    share = np.clip(place - before, 0.0, 1.0)[:, None].astype(np.float32)
    out = frames[before] * (1 - share) + frames[behind] * share
    first, last = (round(float(x)) for x in np.interp(speech, np.arange(count + 1), ends))
    return out, (first, last)


def sung(
    features: Tensor, lengths: Tensor, ripples: Tensor, rules: Acting, rng: np.random.Generator
) -> Tensor:
    """Some clips of [batch, frames, bands] at another pitch; `ripples` is `ripples_of_pitches`."""
    batch, frames, bands = features.shape
    if not rules.melody_probability:
        return features
    chosen = torch.from_numpy(rng.random(batch) < rules.melody_probability)[:, None, None]
    whispered = torch.from_numpy(rng.random(batch) < rules.whispered)[:, None, None]
    depth = torch.from_numpy(rng.uniform(0.4, 1.0, (batch, 1, 1))).float()
    left = torch.from_numpy(rng.uniform(0.0, 0.4, (batch, 1, 1))).float()
    envelope = features @ smoothing(bands)
    made = ripples[_places(batch, frames, rules, rng)] * torch.where(whispered, 0.0, depth)
    remade = envelope + left * (features - envelope) + made
    return torch.where(chosen, features.lerp(remade, voicing(features, lengths)), features)


def voicing(features: Tensor, lengths: Tensor) -> Tensor:
    """How voiced each frame seems, 0..1: [batch, frames, 1] of [batch, frames, bands]."""
    low = features[:, :, _LOW_BANDS].amax(2)
    high = features[:, :, _HIGH_BANDS].amax(2)
    inside = torch.arange(low.shape[1])[None, :] < lengths[:, None]
    in_order = low.masked_fill(~inside, torch.inf).sort(1).values
    quiet = in_order.gather(1, lengths[:, None] // 10)
    loudest = low.masked_fill(~inside, -torch.inf).amax(1, keepdim=True)
    above = (low - high - _ABOVE_HIGH, low - quiet - _ABOVE_QUIET, low - loudest + _BELOW_LOUDEST)
    product = torch.stack([torch.sigmoid(each / _SOFTNESS) for each in above]).prod(0)
    return product[:, :, None]


def _places(batch: int, frames: int, rules: Acting, rng: np.random.Generator) -> Tensor:
    """Places in the table of pitches, int64 [batch, frames], of a smooth melody each."""
    middle = rng.uniform(*np.log2(rules.pitch_hz), (batch, 1))
    span = rng.uniform(0.0, rules.span_semitones / 12, (batch, 1))
    knots = torch.from_numpy(middle + span * rng.standard_normal((batch, _KNOTS)))
    octaves = torch.nn.functional.interpolate(
        knots[:, None], frames, mode="linear", align_corners=True
    )[:, 0]
    low, high = np.log2([LOWEST_HZ, HIGHEST_HZ])
    places = (octaves - low) / (high - low) * (_PITCHES - 1)
    return places.round().long().clamp(0, _PITCHES - 1)


def smoothing(bands: int) -> Tensor:
    """The matrix float32 [bands, bands] that keeps the slow part of a spectrum; symmetric."""
    terms = cosine_transform(bands)
    kept = np.clip(_SMOOTH_TERMS + 3 - np.arange(bands), 0, 6) / 6  # without a hard edge
    return torch.from_numpy((terms.T * kept) @ terms).float()


def ripples_of_pitches(mean_frame: Callable[[NDArray[np.float32]], Tensor]) -> Tensor:
    """What harmonics add to a smooth spectrum at each pitch: float32 [pitches, bands].

    `mean_frame` gives the log-mel frame [bands] of a steady float32 [samples].
    """
    pitches = np.geomspace(LOWEST_HZ, HIGHEST_HZ, _PITCHES)
    spectra = torch.stack([mean_frame(_tone(pitch)) for pitch in pitches])
    return spectra - spectra @ smoothing(spectra.shape[1])


def _tone(pitch_hz: float) -> NDArray[np.float32]:
    """Half a second of a breathy tone, all of its harmonics alike."""
    rng = np.random.default_rng(0)
    time_s = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    # It trembles by 1 %, as voices do: its high harmonics run into each other.
    pitch = pitch_hz * (1 + 0.01 * np.sin(10 * np.pi * time_s))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    harmonics = np.arange(1, int(SAMPLE_RATE_HZ / 2 / pitch_hz / 1.02) + 1)[:, None]
    tone = np.cos(harmonics * phase + rng.uniform(0, 2 * np.pi, harmonics.shape)).sum(0)
    breath = 0.07 * np.sqrt(len(harmonics)) * rng.standard_normal(len(tone))
    return (0.1 * (tone + breath) / np.sqrt(len(harmonics))).astype(np.float32)
