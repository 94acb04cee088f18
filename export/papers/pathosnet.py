"""PATHOSnet (paper 4, section 5): fusion of sequences, the strategy `conv_gap`.

Two symmetric branches of two residual blocks of 1-D convolutions of width 3 (He et al., 2015,
adapted), spatial dropout (Tompson et al., 2015), batch normalisation, global average pooling over
time; 128 channels for words, 256 for acoustic frames; concatenated, one linear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..training.array_files import save_arrays

Floats = NDArray[np.float32]

WORD_CHANNELS, FRAME_CHANNELS = 128, 256


class ResidualBlock(nn.Module):
    """Two convolutions over time and a shortcut; positions past the end stay zero.

    Args:
        before, after: channels.
        dropout: share of whole channels that are dropped.
    """

    def __init__(self, before: int, after: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, 3, padding=1)
        self.first_norm = nn.BatchNorm1d(after)
        self.second = nn.Conv1d(after, after, 3, padding=1)
        self.second_norm = nn.BatchNorm1d(after)
        self.shortcut = nn.Conv1d(before, after, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [batch, before, time], mask [batch, 1, time] -> [batch, after, time]."""
        inner = self.dropout(self.first_norm(self.first(x)).relu()) * mask
        inner = self.second_norm(self.second(inner))
        out: Tensor = (inner + self.shortcut(x)).relu() * mask
        return out


class Branch(nn.Module):
    """One modality: an adapting layer, two residual blocks, global average pooling.

    Args:
        width: of a vector of the sequence.
        channels: of the blocks, and of what comes out.
        adapts: with a layer that begins as identity and is frozen until `unlock`. The paper unlocks
            the layer of the acoustic network that is next to its own; graphs of ONNX cannot be
            trained, so that this layer behind theirs stands for it.
    """

    def __init__(self, width: int, channels: int, dropout: float, *, adapts: bool) -> None:
        super().__init__()
        self.adapt = nn.Linear(width, width) if adapts else None
        if self.adapt is not None:
            with torch.no_grad():
                self.adapt.weight.copy_(torch.eye(width))
                self.adapt.bias.zero_()
            self.adapt.requires_grad_(False)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            [ResidualBlock(width, channels, dropout), ResidualBlock(channels, channels, dropout)]
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x [batch, time, width], lengths int64 [batch] of 0 and more -> [batch, channels]."""
        positions = torch.arange(x.shape[1], device=x.device)
        mask = (positions[None] < lengths[:, None]).to(x.dtype)[:, None]
        # where, not a product: what an encoder makes of padding may be a NaN.
        known = torch.where(mask.transpose(1, 2) > 0, x, torch.zeros_like(x))
        if self.adapt is not None:
            known = self.adapt(known)
        x = self.norm(known).transpose(1, 2) * mask
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = x.sum(2) / lengths.clamp(min=1)[:, None].to(x.dtype)
        return out


class PathosNetwork(nn.Module):
    """Both branches and a linear layer.

    Args:
        frame_width, word_width: of an acoustic frame, and of a word vector.
        labels: n.
        dropout: of channels within the blocks.
    """

    def __init__(
        self, frame_width: int, word_width: int, labels: int, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.frames = Branch(frame_width, FRAME_CHANNELS, dropout, adapts=True)
        self.words = Branch(word_width, WORD_CHANNELS, dropout, adapts=False)
        self.linear = nn.Linear(FRAME_CHANNELS + WORD_CHANNELS, labels)

    def features(
        self, frames: Tensor, frame_counts: Tensor, words: Tensor, word_counts: Tensor
    ) -> Tensor:
        """[batch, time, width] and int64 [batch], twice -> [batch, 384]."""
        heard = self.frames(frames, frame_counts)
        return torch.cat([heard, self.words(words, word_counts)], dim=1)

    def forward(
        self, frames: Tensor, frame_counts: Tensor, words: Tensor, word_counts: Tensor
    ) -> Tensor:
        """The same -> logits [batch, n]."""
        out: Tensor = self.linear(self.features(frames, frame_counts, words, word_counts))
        return out

    def unlock(self) -> None:
        """Let the second step train the layer next to the acoustic frames, too."""
        if self.frames.adapt is not None:
            self.frames.adapt.requires_grad_(True)


class Ensemble(nn.Module):
    """Several networks without their classifiers, frozen, and "a new linear classification
    function on top of the concatenated feature vectors" (section 5)."""

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, labels)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [batch, features] -> logits [batch, n]."""
        out: Tensor = self.linear(features)
        return out


@dataclass(frozen=True, slots=True)
class Sequences:
    """n sequences of vectors, end to end: `vectors` float32 [total, width], `offsets` [n + 1]."""

    vectors: Floats
    offsets: NDArray[np.int64]

    @staticmethod
    def of(parts: Sequence[Floats], width: int) -> Sequences:
        """Of n arrays [time, width]."""
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        empty = np.zeros((0, width), np.float32)
        return Sequences(np.concatenate([empty, *parts]).astype(np.float32), offsets)

    @staticmethod
    def kept(path: Path, make: Callable[[], Sequences]) -> Sequences:
        """Those of an .npz; made and written there where it is missing."""
        if not path.is_file():
            made = make()
            save_arrays(path, vectors=made.vectors, offsets=made.offsets)
        with np.load(path, allow_pickle=False) as arrays:
            return Sequences(arrays["vectors"], arrays["offsets"])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Of each sequence, int64 [n]."""
        return np.diff(self.offsets)

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Padded with zeros: float32 [batch, time, width], int64 [batch]."""
        counts = self.offsets[indices + 1] - self.offsets[indices]
        # At least one position: a sentence may have no known word.
        out = np.zeros((len(indices), max(1, int(counts.max())), self.vectors.shape[1]), np.float32)
        for row, index, count in zip(out, indices, counts, strict=True):
            row[:count] = self.vectors[self.offsets[index] : self.offsets[index] + count]
        return torch.from_numpy(out), torch.from_numpy(counts)
