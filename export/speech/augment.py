"""Everything about a recording that is not emotion, made random, on a batch of power spectra.

Measured beforehand: a model trained on one corpus hardly carries over to another, because the
corpora differ in room, band, noise floor and microphone. Loudness needs no augmentation: the front
end divides by the mean power.

The power of a sum of unrelated sounds is the sum of their powers, but for a cross term that is
random in phase and averages to nothing: that is what noise and a second voice are here. A room is
an exponentially decaying sum over time. Pitch and vocal tract move the bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .front_end import BANDS, FrontEnd, mask_up_to, mel_filterbank
from .settings import SoundSettings
from .spectra_cache import KEPT_BINS

_WARPS = torch.logspace(-0.3, 0.3, 41, base=2.0)  # 0.81 to 1.23
_WARPED_FILTERBANKS = torch.stack([mel_filterbank(float(warp), KEPT_BINS) for warp in _WARPS])
_FRAMES_PER_SECOND = 100.0


def mix_power(power: Tensor, other: Tensor, frames: Tensor, ratio_db: Tensor) -> Tensor:
    """Power with another sound's, whose mean lies `ratio_db` below its own: [batch, time, bins].

    ratio_db float32 [batch].
    """
    mask = mask_up_to(frames, power[:, :, 0])[:, :, None]
    own = (power * mask).sum((1, 2))
    of_other = (other * mask).sum((1, 2)).clamp(min=1e-12)
    gain = own / of_other * 10 ** (-ratio_db / 10)
    return power + other * gain[:, None, None]


def reverberate(power: Tensor, seconds: Tensor, direct_to_tail_db: Tensor) -> Tensor:
    """A room's tail, which takes `seconds` to fall by 60 dB; both float32 [batch]."""
    decay = 10 ** (-6.0 / (seconds * _FRAMES_PER_SECOND))
    # The tail of one frame sums to the chosen share of it.
    share = (10 ** (-direct_to_tail_db / 10) * (1 - decay) / decay)[:, None]
    decay = decay[:, None]
    tail = torch.zeros_like(power[:, 0])
    wet = torch.empty_like(power)
    for time in range(power.shape[1]):
        wet[:, time] = power[:, time] + tail
        tail = decay * (tail + share * power[:, time])
    return wet


def warped_bands(power: Tensor, probability: float) -> Tensor:
    """[batch, time, KEPT_BINS] -> [batch, BANDS, time] for a random voice each, with `probability`.

    The others keep their own (Jaitly & Hinton, "Vocal tract length perturbation improves speech
    recognition", 2013; wider here, for it stands for pitch as well).
    """
    batch = len(power)
    middle = len(_WARPS) // 2
    spread = (torch.randn(batch) * middle / 2.2).round().clamp(-middle, middle).long()
    moved = torch.rand(batch) < probability
    return torch.bmm(_WARPED_FILTERBANKS[middle + spread * moved], power.transpose(1, 2))


class Disguise:
    """Draws what a recording might have sounded like elsewhere."""

    def __init__(self, settings: SoundSettings) -> None:
        self.settings = settings

    def features(self, front_end: FrontEnd, power: Tensor, frames: Tensor, noise: Tensor) -> Tensor:
        """Features float32 [batch, BANDS, time] of power float32 [batch, time, KEPT_BINS].

        `noise` has power's shape. Some of it is mixed in at random, some of another clip of the
        batch, and some of a room.
        """
        settings, batch = self.settings, len(frames)
        power = power.clone()
        who = some_of(batch, settings.babble_probability)
        ratio_db = torch.empty(len(who)).uniform_(*settings.babble_ratio_db)
        other = power[torch.randperm(batch)[who]]
        power[who] = mix_power(power[who], other, frames[who], ratio_db)
        who = some_of(batch, settings.room_probability)
        seconds = torch.empty(len(who)).uniform_(*settings.room_seconds)
        direct_to_room_db = torch.empty(len(who)).uniform_(*settings.direct_to_room_db)
        power[who] = reverberate(power[who], seconds, direct_to_room_db)
        who = some_of(batch, settings.noise_probability)
        ratio_db = torch.empty(len(who)).uniform_(*settings.noise_ratio_db)
        power[who] = mix_power(power[who], noise[who], frames[who], ratio_db)
        bands = warped_bands(power, settings.voice_probability)
        bands = bands * random_equaliser(batch, settings)[:, :, None]
        floor = 10 ** torch.empty(batch, 1, 1).uniform_(*settings.floor_exponents)
        return spec_augment(front_end.features(bands, frames, floor), frames)


def some_of(batch: int, probability: float) -> Tensor:
    """Each of a batch with `probability`: int64 [those]. What happens to few is done to few."""
    return torch.nonzero(torch.rand(batch) < probability)[:, 0]


def random_equaliser(batch: int, settings: SoundSettings) -> Tensor:
    """Power gains of each band, float32 [batch, BANDS]: a smooth curve and soft band limits.

    The mean of each band is removed later; what is left of this is which parts sink below the
    floor, as they do on a telephone or a poor microphone.
    """
    knots = settings.equaliser_db * torch.randn(batch, 1, 6)
    gain_db = torch.nn.functional.interpolate(knots, BANDS, mode="linear", align_corners=True)[:, 0]
    band = torch.arange(BANDS, dtype=torch.float32)[None, :]
    from_below = torch.rand(batch, 1) < settings.high_pass_probability
    low = torch.where(from_below, torch.rand(batch, 1) * 12, -20.0)
    from_above = torch.rand(batch, 1) < settings.low_pass_probability
    high = torch.where(from_above, BANDS - torch.rand(batch, 1) * 20, 100.0)
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
