"""The spectrograms of published models as tensor operations, so that they travel in the graph.

Everything done to a frame before its discrete Fourier transform (offset removed, pre-emphasis,
window) is linear, so all of it is one matrix, and a spectrogram is a strided convolution with it.
Matrices are multiplied out in float64; what is served is float32.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from ..speech.front_end import SAMPLE_RATE_HZ, mask_up_to

Matrix = NDArray[np.float64]

# A frame every 10 ms, and half as many positions.
WHISPER_POSITION_SAMPLES = 320


def fourier_basis(frame_samples: int, fft_samples: int) -> Matrix:
    """Cosines, then sines, of all bins: [2 * bins, frame_samples]; the frame is zero-padded."""
    bins = fft_samples // 2 + 1
    angle = 2 * math.pi / fft_samples * np.outer(np.arange(bins), np.arange(frame_samples))
    return np.concatenate([np.cos(angle), np.sin(angle)])


def hann(samples: int, *, periodic: bool) -> Matrix:
    """Hann window [samples]."""
    points = samples if periodic else samples - 1
    window: Matrix = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(samples) / points)
    return window


@contextmanager
def empty_bands_expected() -> Iterator[None]:
    """Keep transformers from warning of mel bands without a bin.

    With 128 bands over 257 bins, the published Audio Spectrogram Transformer has one.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        yield


class MelPower(nn.Module):
    """Waveform [batch, samples] to the power in mel bands, [batch, bands, frames].

    Args:
        basis: [2 * bins, samples of a frame].
        filters: [bins, bands].
        hop_samples: from one frame to the next.
    """

    def __init__(self, basis: Matrix, filters: Matrix, hop_samples: int) -> None:
        super().__init__()
        self.hop_samples, self.bins = hop_samples, len(filters)
        self.register_buffer("basis", torch.from_numpy(basis).float()[:, None, :], persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters.T).float(), persistent=False)
        self.basis: Tensor
        self.filters: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = functional.conv1d(waveform[:, None, :], self.basis, stride=self.hop_samples)
        real, imaginary = spectrum[:, : self.bins], spectrum[:, self.bins :]
        return torch.matmul(self.filters, real * real + imaginary * imaginary)


def fit_window(waveform: Tensor, samples: int) -> Tensor:
    """[batch, up to samples] -> [batch, samples], zeros after the end."""
    return functional.pad(waveform, (0, samples - waveform.shape[1]))


class WhisperLogMel(nn.Module):
    """As `WhisperFeatureExtractor`: the whole window, at most 80 dB below its maximum.

    Args:
        extractor: that of the model; its own mel filters are used.
        whole_window: False for the frames of the longest waveform alone, two a position of the
            encoder; they have the values that they have in the window, which must hold 20 ms more.
    """

    def __init__(self, extractor: Any, *, whole_window: bool = True) -> None:
        super().__init__()
        self.whole_window = whole_window
        frame: int = extractor.n_fft
        basis = fourier_basis(frame, frame) * hann(frame, periodic=True)
        self.edge, self.window_samples = frame // 2, extractor.n_samples
        filters, hop = extractor.mel_filters, extractor.hop_length
        self.mel = MelPower(basis, filters, hop)

    def forward(self, waveform: Tensor) -> Tensor:
        """Clean waveforms [batch, samples] -> [batch, bands, frames]."""
        if self.whole_window:
            whole = fit_window(waveform, self.window_samples)
            # The last frame is centred on the end of the window; Whisper leaves it out.
            return self._log(mirrored(whole, self.edge, self.edge))[:, :, :-1]
        frames = 2 * whisper_positions(waveform.shape[1])
        # So much silence that every frame that hears some of the waveform counts for the maximum.
        silence = self.edge + 4 * self.mel.hop_samples
        log = self._log(functional.pad(mirrored(waveform, self.edge, 0), (0, silence)))
        return log[:, :, :frames]

    def _log(self, edged: Tensor) -> Tensor:
        log = torch.log10(self.mel(edged).clamp(min=1e-10))
        log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8)
        return (log + 4) / 4


def mirrored(waveform: Tensor, before: int, after: int) -> Tensor:
    """[batch, samples] with its ends mirrored: [batch, before + samples + after]."""
    return functional.pad(waveform[:, None, :], (before, after), mode="reflect")[:, 0]


def whisper_positions(samples: Any) -> Any:
    """Positions of Whisper's encoder, 20 ms each, that hold some of so many samples."""
    return (samples + WHISPER_POSITION_SAMPLES - 1) // WHISPER_POSITION_SAMPLES


class KaldiLogMel(nn.Module):
    """As `ASTFeatureExtractor`: Kaldi's filter bank, zeros after the end, then mean and deviation.

    Args:
        extractor: that of the model.
    """

    FRAME_SAMPLES, HOP_SAMPLES, FFT_SAMPLES = 400, 160, 512
    PREEMPHASIS = 0.97
    FLOOR = 1.192092955078125e-07  # Smallest step of float32 above 1, as in Kaldi.

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        bands: int = extractor.num_mel_bins
        self.frames: int = extractor.max_length
        self.offset, self.scale = 0.0, 1.0
        if extractor.do_normalize:
            self.offset, self.scale = extractor.mean, 2 * extractor.std
        size = self.FRAME_SAMPLES
        centre = np.eye(size) - 1 / size
        emphasis = np.eye(size) - self.PREEMPHASIS * np.eye(size, k=-1)
        emphasis[0, 0] = 1 - self.PREEMPHASIS  # What came before the frame counts as its first.
        prepare = hann(size, periodic=False)[:, None] * (emphasis @ centre)
        with empty_bands_expected():
            filters = mel_filter_bank(
                num_frequency_bins=self.FFT_SAMPLES // 2 + 1,
                num_mel_filters=bands,
                min_frequency=20,
                max_frequency=SAMPLE_RATE_HZ // 2,
                sampling_rate=SAMPLE_RATE_HZ,
                norm=None,
                mel_scale="kaldi",
                triangularize_in_mel_space=True,
            )
        self.mel = MelPower(
            fourier_basis(size, self.FFT_SAMPLES) @ prepare, filters, self.HOP_SAMPLES
        )

    @property
    def window_samples(self) -> int:
        """Samples that fill all frames."""
        return self.FRAME_SAMPLES + (self.frames - 1) * self.HOP_SAMPLES

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Clean waveforms [batch, samples], int64 [batch] -> [batch, frames, bands]."""
        bands = self.mel(fit_window(waveform, self.window_samples))
        whole = torch.div(lengths - self.FRAME_SAMPLES, self.HOP_SAMPLES, rounding_mode="trunc") + 1
        log = torch.log(bands.clamp(min=self.FLOOR)) * mask_up_to(whole, bands)[:, None, :]
        return (log.transpose(1, 2) - self.offset) / self.scale


class MeanMfcc(nn.Module):
    """Mel-frequency cepstral coefficients, averaged over time, as librosa gives them.

    librosa's defaults at 16 kHz: frames of 2048 samples every 512, centred, 128 mel bands
    (Slaney), at most 80 dB below the loudest, type II cosine transform, orthonormal.
    """

    FRAME_SAMPLES, HOP_SAMPLES, BANDS = 2048, 512, 128

    def __init__(self, coefficients: int = 128) -> None:
        super().__init__()
        size = self.FRAME_SAMPLES
        filters = librosa_mel_filters(size, self.BANDS)
        basis = fourier_basis(size, size) * hann(size, periodic=True)
        self.mel = MelPower(basis, filters, self.HOP_SAMPLES)
        cosines = cosine_transform(self.BANDS)[:coefficients]
        self.register_buffer("cosines", torch.from_numpy(cosines.T).float(), persistent=False)
        self.cosines: Tensor

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Clean waveforms [batch, samples], int64 [batch] -> [batch, coefficients]."""
        edge = self.FRAME_SAMPLES // 2
        bands = self.mel(functional.pad(waveform, (edge, edge)))
        frames = torch.div(lengths, self.HOP_SAMPLES, rounding_mode="trunc") + 1
        mask = mask_up_to(frames, bands)[:, None, :]
        decibels, loudest = decibels_and_loudest(bands, mask)
        decibels = torch.maximum(decibels, loudest - 80)
        mean = (decibels * mask).sum(2) / frames[:, None].to(decibels.dtype)
        # The transform is linear: of the mean, it is the mean of the transforms.
        return torch.matmul(mean, self.cosines)


def librosa_mel_filters(transform_samples: int, bands: int) -> Matrix:
    """Slaney's mel bands up to 8 kHz, as librosa's defaults have them: [frequencies, bands]."""
    filters: Matrix = mel_filter_bank(
        num_frequency_bins=transform_samples // 2 + 1,
        num_mel_filters=bands,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE_HZ / 2,
        sampling_rate=SAMPLE_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    return filters


def decibels_and_loudest(power: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Power [batch, bands, frames] in dB, and the loudest that `mask` keeps, [batch, 1, 1]."""
    decibels = 10 * torch.log10(power.clamp(min=1e-10))
    kept = torch.where(mask > 0, decibels, torch.full_like(decibels, -100.0))
    return decibels, kept.amax((1, 2), keepdim=True)


def cosine_transform(size: int) -> Matrix:
    """Orthonormal discrete cosine transform of type II, [coefficients, values]."""
    values = np.arange(size)
    matrix: Matrix = np.cos(math.pi / size * np.outer(values, values + 0.5))
    matrix *= math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
