"""Averaged cepstral coefficients as an audio encoder: no weights, a vector of 128.

CogniCIC at EmoSPeech 2024 (IberLEF) put such a vector beside the output of BETO. They took
librosa's at 22.05 kHz; here speech comes at 16 kHz, so bands end at 8 kHz and a frame is longer.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.audio_utils import mel_filter_bank, power_to_db, spectrogram, window_function

from realtime_ser.types import SAMPLE_RATE_HZ

from ..encoder_folder import Source
from ..graphs.spectrograms import MeanMfcc
from .audio import AudioModel, audio_part, embedding_output
from .audio_wav2vec2 import LONGEST_SAMPLES
from .masked_layers import Loudness

NAME = "mfcc-mean"
"""What stands in place of a model's name on the command line."""

COEFFICIENTS = 128


class MfccGraph(nn.Module):
    """Raw waveforms and lengths in, averaged coefficients out."""

    def __init__(self) -> None:
        super().__init__()
        self.loudness = Loudness(normalise=False)
        self.mfcc = MeanMfcc(COEFFICIENTS)
        self.width = COEFFICIENTS
        self.minimum_samples, self.maximum_samples = MeanMfcc.HOP_SAMPLES, LONGEST_SAMPLES

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """float32 [batch, samples], int64 [batch] -> float32 [batch, COEFFICIENTS]."""
        means: Tensor = self.mfcc(self.loudness(waveform, lengths), lengths)
        return means


def load_mfcc() -> AudioModel:
    """The encoder as `load_audio` gives those that have weights."""
    module = MfccGraph().eval()
    return AudioModel(
        module=module,
        reference=_reference,
        part=audio_part(module, [embedding_output(COEFFICIENTS)]),
        config=PretrainedConfig(),
        family=NAME,
        architecture=NAME,
        fp32_scopes=("/",),
    )


def source() -> Source:
    """There is nothing to license, and no file to hash."""
    return Source(NAME, None, NAME, NAME, None, hashlib.sha256().hexdigest())


def _reference(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The same by transformers' own audio functions, which are tested against librosa."""
    powers = spectrogram(
        waveform,
        window_function(2048, "hann"),
        frame_length=2048,
        hop_length=512,
        power=2.0,
        center=True,
        pad_mode="constant",
        mel_filters=mel_filter_bank(
            1025, 128, 0.0, SAMPLE_RATE_HZ / 2, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
        ),
    )
    decibels = power_to_db(powers, db_range=80.0)
    k, n = np.ogrid[:128, :128]
    cepstrum = np.sqrt(2 / 128) * np.cos(np.pi / 128 * k * (n + 0.5)) @ decibels
    cepstrum[0] /= np.sqrt(2)
    return {"embedding": cepstrum.mean(1).astype(np.float32)}
