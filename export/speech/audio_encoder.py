"""The audio encoder: a small conformer with attentive statistics pooling.

Conformer: Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition",
Interspeech 2020. Pooling: Okabe, Koshinaka & Shinoda, "Attentive Statistics Pooling for Deep
Speaker Embedding", Interspeech 2018. No positional encoding: the depthwise convolutions know what
is next to what, and an emotion does not depend on how far from the start it is heard.

Every layer that looks beyond one frame sees zeros past the end of each clip, exactly what it sees
past the end of a batch of one; so padding cannot change an answer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .depthwise import DepthwiseConvolution
from .front_end import BANDS, FrontEnd, mask_up_to
from .settings import NetworkSettings


class ChannelDropout(nn.Module):
    """Drops whole channels of [batch, time, width], the same ones at every time.

    As good a regulariser here as dropping single values, and drawing those took a quarter of a
    training step on a CPU.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1 - probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep == 1:
            return x
        kept = torch.rand(x.shape[0], 1, x.shape[2]) < self.keep
        return x * (kept.to(x.dtype) / self.keep)


class Stem(nn.Module):
    """Two strided convolutions, then frames put side by side: 100 frames a second to 25 / stacked.

    Fine time is heard by the convolutions, which see the harmonics of the voice; what the blocks
    are for, how it moves over seconds, does not need it.
    """

    def __init__(self, config: NetworkSettings) -> None:
        super().__init__()
        channels, self.stacked = config.stem_channels, config.stacked
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(2 * channels)
        self.project = nn.Linear(2 * channels * (BANDS // 4) * self.stacked, config.width)
        self.dropout = ChannelDropout(config.dropout)

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, BANDS, frames] -> [batch, time, width] and its valid lengths."""
        half, quarter = _halved(frames), _halved(_halved(frames))
        x = functional.silu(self.first_norm(self.first(features[:, None])))
        x = x * mask_up_to(half, x)[:, None, None, :]
        x = functional.silu(self.second_norm(self.pointwise(self.depthwise(x))))
        x = x.flatten(1, 2).transpose(1, 2)
        if self.stacked == 1:
            return self.dropout(self.project(x)), quarter
        # Past its end a clip is zeros, alone as in a batch, so that the last stack is the same.
        x = x * mask_up_to(quarter, x[:, :, 0])[:, :, None]
        x = functional.pad(x, (0, 0, 0, self.stacked - 1))
        pieces = x.unfold(1, self.stacked, self.stacked).transpose(2, 3).flatten(2)
        valid = torch.div(quarter + self.stacked - 1, self.stacked, rounding_mode="floor")
        return self.dropout(self.project(pieces)), valid


def _halved(frames: Tensor) -> Tensor:
    """Valid length after a stride of 2 with one frame of padding: rounded up."""
    return torch.div(frames + 1, 2, rounding_mode="floor")


class FeedForward(nn.Module):
    def __init__(self, width: int, factor: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, factor * width),
            nn.SiLU(),
            ChannelDropout(dropout),
            nn.Linear(factor * width, width),
            ChannelDropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class SelfAttention(nn.Module):
    """Multi-head attention over the valid frames, written out so that it exports plainly."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(width // heads)
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = ChannelDropout(dropout)

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        """x [batch, time, width]; blocked [batch, time]: 0 where valid, very negative beyond."""
        # -1 for the time axis alone keeps every other size out of the traced graph.
        batch, _, width = x.shape
        parts = self.query_key_value(self.norm(x))
        parts = parts.reshape(batch, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        scores = torch.matmul(query * self.scale, key.transpose(2, 3)) + blocked[:, None, None, :]
        mixed = torch.matmul(scores.softmax(-1), value)
        out: Tensor = self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, -1, width)))
        return out


class ConvolutionModule(nn.Module):
    """Gated pointwise, then depthwise convolution.

    LayerNorm where the paper has BatchNorm: batch statistics would see the padding.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        gated = functional.glu(self.gate(self.norm(x)), -1) * mask
        mixed = self._over_time(gated)
        out: Tensor = self.dropout(self.out(functional.silu(self.inner_norm(mixed))))
        return out

    def _over_time(self, x: Tensor) -> Tensor:
        if self.training:  # the same convolution, cheaper; what is exported is the plain one
            return DepthwiseConvolution.apply(x, self.depthwise.weight, self.depthwise.bias)
        out: Tensor = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return out


class ConformerBlock(nn.Module):
    def __init__(self, config: NetworkSettings) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.before = FeedForward(width, config.feed_forward, dropout)
        self.attention = SelfAttention(width, config.heads, dropout)
        self.convolution = ConvolutionModule(width, config.kernel, dropout)
        self.after = FeedForward(width, config.feed_forward, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor, blocked: Tensor) -> Tensor:
        x = torch.add(x, self.before(x), alpha=0.5)
        x = x + self.attention(x, blocked)
        x = x + self.convolution(x, mask)
        x = torch.add(x, self.after(x), alpha=0.5)
        out: Tensor = self.norm(x)
        return out


class AttentiveStatistics(nn.Module):
    """Weighted mean and deviation over the valid frames: [batch, time, width] -> 2 widths."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, width)
        )

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        weights = (self.score(x) + blocked[:, :, None]).softmax(1)
        mean = (weights * x).sum(1)
        variance = (weights * (x - mean[:, None]) ** 2).sum(1)
        return torch.cat([mean, torch.sqrt(variance + 1e-4)], 1)


class AudioEncoder(nn.Module):
    """Waveform in, logits and embedding out. What is exported is `forward`."""

    def __init__(self, config: NetworkSettings) -> None:
        super().__init__()
        self.settings = config
        self.front_end = FrontEnd()
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.blocks))
        self.pooling = AttentiveStatistics(config.width)
        self.embed = nn.Linear(2 * config.width, config.embedding)
        self.embed_norm = nn.LayerNorm(config.embedding)
        self.classify = nn.Linear(config.embedding, config.labels)
        self.dropout = nn.Dropout(2 * config.dropout)

    def matrices_and_others(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters for Muon, the matrices from hidden layer to hidden layer, and for AdamW."""
        hidden = {
            parameter
            for part in (self.stem.project, *self.blocks)
            for parameter in part.parameters()
            if parameter.ndim == 2
        }
        parameters = list(self.parameters())
        return [p for p in parameters if p in hidden], [p for p in parameters if p not in hidden]

    def encode(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features [batch, BANDS, frames] -> logits [batch, labels], embedding [batch, d]."""
        x, valid = self.stem(features, frames)
        mask = mask_up_to(valid, x[:, :, 0])
        blocked = (mask - 1) * 1e4
        for block in self.blocks:
            x = block(x, mask[:, :, None], blocked)
        embedding = self.embed_norm(self.embed(self.pooling(x, blocked)))
        return self.classify(self.dropout(functional.silu(embedding))), embedding

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """waveform float32 [batch, samples] (full scale -1 to 1), lengths int64 [batch] samples.

        Returns logits float32 [batch, labels] and embedding float32 [batch, embedding].
        """
        return self.encode(*self.front_end(waveform, lengths))


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
