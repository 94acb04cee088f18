"""Spectrograms as papers 1 and 2 make them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import librosa
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..training.corpora import SAMPLE_RATE_HZ
from .bars import bar
from .frozen import Waves, digest_of
from .pathosnet import Sequences
from .recordings import Waveform

BLOCK_SAMPLES = SAMPLE_RATE_HZ
ROWS, COLUMNS = 257, 251
_WINDOW_SAMPLES = 256  # 16 ms
_HOP_SAMPLES = 64  # 4 ms
_RANGE_DB = 80.0

MEL_ROWS, MEL_COLUMNS = 128, 625

_JET = torch.from_numpy(matplotlib.colormaps["jet"](np.linspace(0, 1, 256))[:, :3].astype("f4"))


def blocks(waveform: Waveform) -> NDArray[np.float32]:
    """The clip in blocks of 1 s, each with its peak at 1: float32 [blocks, 16000].

    A last block of less than half a second is left out, unless it is the only one; others are
    followed by silence. Without overlap: of the paper's four variants that was the best (1.4).
    """
    count = block_count(len(waveform))
    padded = np.zeros(count * BLOCK_SAMPLES, np.float32)
    kept = waveform[: len(padded)]
    padded[: len(kept)] = kept
    cut = padded.reshape(count, BLOCK_SAMPLES)
    peak: NDArray[np.float32] = cut / np.maximum(np.abs(cut).max(1, keepdims=True), 1e-6)
    return peak


def block_count(samples: int) -> int:
    """How many blocks a clip of so many samples is cut into."""
    return max(1, round(samples / BLOCK_SAMPLES))


def halved(images: Tensor) -> Tensor:
    """Images [n, 3, height, width] of half the height and width: a quarter of the work."""
    return nn.functional.avg_pool2d(images, 2)


def spectrogram_images(cut: NDArray[np.float32]) -> Tensor:
    """Blocks [n, 16000] -> images float32 [n, 3, 257, 251] in -1..1, in the colours of *jet*.

    Windows of 16 ms every 4 ms. That gives 129 frequencies; the paper's 257 are those of a Fourier
    transform of twice the window, so the window is followed by zeros. Levels are taken in decibels
    below the block's maximum: in the plain magnitudes nothing but the loudest vowel has a colour.
    """
    magnitude = torch.stft(
        torch.from_numpy(cut),
        n_fft=2 * _WINDOW_SAMPLES,
        hop_length=_HOP_SAMPLES,
        win_length=_WINDOW_SAMPLES,
        window=torch.hann_window(_WINDOW_SAMPLES),
        return_complex=True,
    ).abs()
    level = 20 * torch.log10(magnitude.clamp_min(1e-6))
    above = level - level.amax((1, 2), keepdim=True) + _RANGE_DB
    shade = (above.clamp(0, _RANGE_DB) * (255 / _RANGE_DB)).round().long()
    return _JET[shade].permute(0, 3, 1, 2) * 2 - 1


def mel_picture(waveform: Waveform) -> NDArray[np.float32]:
    """Paper 1: mel spectrogram in decibels, cut to 20 s: float32 [128, at most 625].

    625 columns of librosa's default hop, 512 samples, are 20 s, the longest clip of its corpus.
    The zeros that fill up shorter ones are added by the network.
    """
    power = librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE_HZ, n_mels=MEL_ROWS)
    level = librosa.power_to_db(power, ref=np.max) / 40 + 1
    return level[:, :MEL_COLUMNS].astype(np.float32)


def mel_pictures(sounds: Waves, cache: Path) -> Sequences:
    """Those of n clips, as sequences of columns of 128; computed once and read from `cache`."""
    key = hashlib.sha256(digest_of(sounds).encode()).hexdigest()[:16]

    def made() -> Sequences:
        places = bar(range(len(sounds)), "mel", brief=True)
        return Sequences.of([mel_picture(sounds[index]).T for index in places], MEL_ROWS)

    return Sequences.kept(cache / f"pictures-{key}.npz", made)
