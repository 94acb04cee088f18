"""Acoustic frames for paper 4: an encoder's answer to every 0.96 s, or log-mel bands of 0.16 s.

What cuts a waveform, and what makes bands of it, are modules that go into the graph of a bundle;
training reads the same modules.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.bundle_description import Batching

from ..encoder_folder import RECORD_FILE, read_record
from ..errors import ExportError
from ..graphs.spectrograms import (
    MelPower,
    decibels_and_loudest,
    fourier_basis,
    hann,
    librosa_mel_filters,
)
from ..huggingface.masked_layers import Loudness
from ..speech.front_end import mask_up_to
from ..training.corpora import SAMPLE_RATE_HZ
from ..training.features import open_encoders
from .bars import bar
from .frozen import Waves, digest_of, embedded
from .pathosnet import Sequences

LOG_MEL = "log-mel"
FRAME_SAMPLES = 15_360
"""0.96 s, of which VGGish makes a frame (Hershey et al., "CNN architectures for large-scale audio
classification", 2017)."""
SHORTEST_SAMPLES, LONGEST_SAMPLES = 4_000, 30 * SAMPLE_RATE_HZ
"""Of a clip, in training as when served: a shorter one is filled up with zeros, of a longer one the
end is heard."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FrameEncoder:
    """An encoder that is asked for frames.

    Attributes:
        digest: names it.
        expert: None for log-mel bands.
        graph: its ONNX file; None likewise.
        licence: of its weights; None where it has none.
    """

    digest: str
    expert: AudioExpert | None = None
    graph: Path | None = None
    licence: str | None = None

    @property
    def module(self) -> LogMelFrames | Pieces:
        """What makes bands of a waveform, or cuts it for the encoder."""
        if self.expert is None:
            return LogMelFrames()
        part = self.expert.part
        masked = part.batching is Batching.MASKED
        return Pieces(part.minimum_samples, whole=not masked)


def open_frames(name: str, threads: int = 1) -> FrameEncoder:
    """Log-mel bands, or the first speech encoder of a bundle or folder.

    Raises:
        ExportError: it holds none.
    """
    if name == LOG_MEL:
        return FrameEncoder(f"{name} {LogMelFrames.WIDTH}")
    encoders = open_encoders(name, threads)
    if not encoders.audio:
        raise ExportError(f"{name} holds no speech encoder; give --frames one that does")
    expert, folder = encoders.audio[0], Path(name)
    if (folder / RECORD_FILE).is_file():
        licence = read_record(folder).source.licence or "not stated"
        return FrameEncoder(encoders.digest, expert, folder / expert.part.file, licence)
    bundle = load_bundle(name)
    weights = bundle.description.licence.weights
    return FrameEncoder(encoders.digest, expert, bundle.file(expert.part.file), weights)


class Pieces(nn.Module):
    """Cuts waveforms into pieces of 0.96 s without overlap.

    A last piece of less than a quarter is left out, unless it is the only one.

    Args:
        shortest: samples that the encoder needs; a shorter piece counts zeros to its length.
        whole: zeros count to the length of every piece, for encoders that cannot mask them.
    """

    def __init__(self, shortest: int, *, whole: bool) -> None:
        super().__init__()
        self.loudness = Loudness(normalise=False)
        self.shortest, self.whole = shortest, whole

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float32 [batch, samples], int64 [batch] -> pieces, their lengths, and their numbers.

        Returns:
            float32 [batch * n, samples of a piece] and int64 [batch * n] of n pieces of each
            waveform, and int64 [batch]: how many of the n are to be counted.
        """
        size = FRAME_SAMPLES
        count = (waveform.shape[1] + size - 1) // size
        padded = functional.pad(self.loudness(waveform, lengths), (0, size - 1))
        pieces = padded[:, : count * size].reshape(-1, size)
        pieces = functional.pad(pieces, (0, max(0, self.shortest - size)))
        starts = torch.arange(count, device=lengths.device) * size
        inside = (lengths[:, None] - starts[None]).clamp(0, size)
        counted = (inside >= size // 4) | (starts[None] == 0)
        least = max(self.shortest, size) if self.whole else self.shortest
        return pieces, inside.clamp(min=least).reshape(-1), counted.to(torch.int64).sum(1)


class LogMelFrames(nn.Module):
    """64 mel bands every 10 ms, as librosa gives them, averaged over four; four such are a frame.

    That is a frame each 0.16 s; one for each 40 ms took four times as long to train. Windows of
    25 ms in a transform of 512, centred, Slaney's bands; 0 to 80 dB below the loudest is 1 to -1.
    Ends without a whole frame are left out.
    """

    FFT_SAMPLES, WINDOW_SAMPLES, HOP_SAMPLES, BANDS, JOINED, STACKED = 512, 400, 160, 64, 4, 4
    WIDTH = BANDS * STACKED

    def __init__(self) -> None:
        super().__init__()
        size = self.FFT_SAMPLES
        filters = librosa_mel_filters(size, self.BANDS)
        edge = (size - self.WINDOW_SAMPLES) // 2
        window = np.pad(hann(self.WINDOW_SAMPLES, periodic=True), edge)
        self.loudness = Loudness(normalise=False)
        self.mel = MelPower(fourier_basis(size, size) * window, filters, self.HOP_SAMPLES)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [batch, samples], int64 [batch] -> frames [batch, time, 256], int64 [batch]."""
        edge = self.FFT_SAMPLES // 2
        power = self.mel(functional.pad(self.loudness(waveform, lengths), (edge, edge)))
        counts = torch.div(lengths, self.HOP_SAMPLES, rounding_mode="trunc") + 1
        mask = mask_up_to(counts, power)[:, None, :]
        decibels, loudest = decibels_and_loudest(power, mask)
        level = (decibels - loudest).clamp(min=-80.0) / 40 + 1
        joined = functional.avg_pool1d(level, self.JOINED).transpose(1, 2)
        whole = joined.shape[1] // self.STACKED
        frames = joined[:, : whole * self.STACKED].reshape(joined.shape[0], whole, self.WIDTH)
        hops = self.JOINED * self.STACKED
        return frames, torch.div(counts, hops, rounding_mode="trunc")


def frames_of(encoder: FrameEncoder, sounds: Waves, cache: Path | None) -> Sequences:
    """The frames of n clips.

    Args:
        cache: where they are kept; None to compute them now.
    """
    if cache is None:
        return _computed(encoder, sounds)
    key = hashlib.sha256(f"{encoder.digest} {digest_of(sounds)}".encode()).hexdigest()[:16]
    return Sequences.kept(cache / f"frames-{key}.npz", lambda: _computed(encoder, sounds))


def _computed(encoder: FrameEncoder, sounds: Waves) -> Sequences:
    module = encoder.module
    with torch.no_grad():
        if encoder.expert is None:
            places = bar(range(len(sounds)), "log-mel frames", brief=True)
            parts = [module(*_batch_of_one(sounds[index]))[0][0].numpy() for index in places]
            return Sequences.of(parts, LogMelFrames.WIDTH)
        parts, counts = [], []
        for index in range(len(sounds)):
            pieces, lengths, count = module(*_batch_of_one(sounds[index]))
            counts.append(int(count[0]))
            for piece, length in zip(pieces[: counts[-1]], lengths.tolist(), strict=False):
                parts.append(piece[:length].numpy())
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Sequences(embedded(encoder.expert, parts), offsets)


def _batch_of_one(wave: Floats) -> tuple[Tensor, Tensor]:
    heard = wave[-LONGEST_SAMPLES:]
    padded = np.pad(heard, (0, max(0, SHORTEST_SAMPLES - len(heard))))
    return torch.from_numpy(padded)[None], torch.tensor([len(padded)])
