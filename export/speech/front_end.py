"""Log-mel front end as plain tensor operations, so that it travels inside the ONNX graph.

What is served is then exactly what was trained: no second implementation in numpy to drift.

A frame is 25 ms of sound times a Hann window, taken every 10 ms; its discrete Fourier transform is
a 1-D convolution with cosines and sines, restricted to the bins below 5.4 kHz (CREMA-D has nothing
above, and a model that sees the empty band learns the corpus from it). Bands are triangles on the
mel scale of O'Shaughnessy (1987): mel = 2595 log10(1 + f / 700).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
BANDS = 64
LOWEST_HZ = 50.0
HIGHEST_HZ = 5300.0
_FFT_SAMPLES = 512
_BIN_HZ = SAMPLE_RATE_HZ / _FFT_SAMPLES
BINS = int(5400 / _BIN_HZ) + 1

# The floor of the logarithm, relative to the mean power of the utterance. Training draws it anew
# for every clip: how quiet the background was tells the studio, not the emotion.
SERVED_FLOOR = 1e-4
_SILENCE = 1e-10


def frame_count(lengths: Tensor) -> Tensor:
    """Whole frames in each clip: int64 [batch] samples -> int64 [batch] frames, at least 1."""
    frames = torch.div(lengths - FRAME_SAMPLES, HOP_SAMPLES, rounding_mode="floor") + 1
    return frames.clamp(min=1)


def mask_up_to(lengths: Tensor, like: Tensor) -> Tensor:
    """float32 [batch, size of like's last axis]: 1 where the position is below the length."""
    positions = torch.arange(like.shape[-1], device=like.device)
    return (positions[None, :] < lengths[:, None]).to(like.dtype)


def fourier_basis(bins: int = BINS) -> Tensor:
    """Windowed cosines, then sines, of the lowest `bins`: float32 [2 bins, 1, FRAME_SAMPLES]."""
    window = torch.hann_window(FRAME_SAMPLES, periodic=True, dtype=torch.float64)
    time = torch.arange(FRAME_SAMPLES, dtype=torch.float64)
    angle = 2 * math.pi * torch.arange(bins, dtype=torch.float64)[:, None] * time / _FFT_SAMPLES
    basis = torch.cat([torch.cos(angle), torch.sin(angle)]) * window
    return basis.float()[:, None, :]


def mel_filterbank(warp: float = 1.0, bins: int = BINS) -> Tensor:
    """Triangular bands, float32 [BANDS, bins], each summing to 1.

    `warp` scales the frequency axis as a longer or shorter vocal tract does (Jaitly & Hinton,
    "Vocal tract length perturbation improves speech recognition", 2013).
    """

    def mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    edges_mel = torch.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0) * warp
    centre = edges[1:-1, None]
    # Low bands are narrower than a bin; widened to one, or some would hold no bin at all.
    rise = (centre - edges[:-2, None]).clamp(min=_BIN_HZ)
    fall = (edges[2:, None] - centre).clamp(min=_BIN_HZ)
    away = torch.arange(bins, dtype=torch.float64)[None, :] * _BIN_HZ - centre
    weights = torch.where(away < 0, 1 + away / rise, 1 - away / fall).clamp(min=0)
    # A band warped past the last bin keeps a little of it rather than nothing to divide by.
    weights[:, -1] += 1e-6
    return (weights / weights.sum(1, keepdim=True)).float()


class FrontEnd(nn.Module):
    """Waveform to normalised log-mel features."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", fourier_basis(), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(), persistent=False)
        self.basis: Tensor
        self.filterbank: Tensor

    def power(self, waveform: Tensor) -> Tensor:
        """float32 [batch, samples] -> power spectrum, float32 [batch, BINS, frames]."""
        spectrum = functional.conv1d(waveform[:, None, :], self.basis, stride=HOP_SAMPLES)
        real, imaginary = spectrum[:, :BINS], spectrum[:, BINS:]
        return real * real + imaginary * imaginary

    def features(self, bands: Tensor, frames: Tensor, floor: Tensor | float) -> Tensor:
        """Band powers [batch, BANDS, frames] -> features, float32 of the same shape.

        Level goes with the mean power, the microphone's and room's colour with the mean of each
        band; what stays is how the spectrum moves. One scale per utterance, padding counts nowhere.
        """
        mask = mask_up_to(frames, bands)[:, None, :]
        count = frames.to(bands.dtype)[:, None, None]
        mean_power = (bands * mask).sum((1, 2), keepdim=True) / (count * BANDS)
        # clamp, not an addition: the ONNX exporter takes 1e-10 for 0 and drops it, and digital
        # silence then divides 0 by 0
        log = torch.log(bands / mean_power.clamp(min=_SILENCE) + floor)
        centred = (log - (log * mask).sum(2, keepdim=True) / count) * mask
        variance = (centred * centred).sum((1, 2), keepdim=True) / (count * BANDS)
        return centred / torch.sqrt(variance + 1e-2)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features float32 [batch, BANDS, frames] and valid frames int64 [batch]."""
        frames = frame_count(lengths)
        # The caller's padding may be anything; what lies past the end must not reach a frame.
        clean = waveform * mask_up_to(lengths, waveform)
        bands = torch.matmul(self.filterbank, self.power(clean))
        return self.features(bands, frames, SERVED_FLOOR), frames
