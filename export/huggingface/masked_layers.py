"""Layers that give an utterance in a padded batch the same answer as alone.

Published speech encoders were trained, and are evaluated, on lone utterances or on padding that
they take notice of only in part. Whatever looks along time (a normalisation, a convolution with
padding of its own, a mean) is done here over the valid samples or frames alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from ..speech.front_end import mask_up_to

# What a blocked position adds to its score before the softmax: exp(-1e4) is 0 in float32, and
# float16 can hold it, unlike the smallest float32 that transformers adds.
BLOCKED = -1e4


def frames_after(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Frames of a convolution without padding: int64 [batch] -> int64 [batch].

    No length is below the kernel (`minimum_samples`), so cutting off is rounding down, which ONNX
    has no operator for.
    """
    return torch.div(lengths - kernel, stride, rounding_mode="trunc") + 1


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one frame of a stack of convolutions sees."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def blocked_scores(mask: Tensor) -> Tensor:
    """float32 [batch, time] of 0 and 1 -> what to add to attention scores, [batch, 1, 1, time]."""
    return ((1 - mask) * BLOCKED)[:, None, None, :]


def with_replaced(module: nn.Module, **children: nn.Module) -> nn.Module:
    """A copy of `module` that shares everything with it but these children."""
    # copy.copy alone would share the dictionary of children too.
    copied = copy.copy(module)
    copied._modules = {**module._modules, **children}
    return copied


class Loudness(nn.Module):
    """Waveforms cut to their lengths and, if `normalise`, brought to mean 0 and variance 1.

    As `Wav2Vec2FeatureExtractor` does it with one waveform. Whatever the caller's padding held,
    it is zeros afterwards.
    """

    def __init__(self, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """float32 [batch, samples], int64 [batch] -> float32 [batch, samples]."""
        mask = mask_up_to(lengths, waveform)
        # where, not a product: a NaN times zero is still a NaN.
        clean = torch.where(mask > 0, waveform, torch.zeros_like(waveform))
        if not self.normalise:
            return clean
        count = lengths.to(waveform.dtype)[:, None]
        centred = (clean - clean.sum(1, keepdim=True) / count) * mask
        variance = (centred * centred).sum(1, keepdim=True) / count
        return centred / torch.sqrt(variance + 1e-7)


class MaskedGroupNorm(nn.Module):
    """`GroupNorm`, its statistics over the valid frames alone.

    With a group for each channel, or one for all of them.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        if norm.num_groups not in (1, norm.num_channels):
            raise ValueError("only one group, or one channel a group, is known in speech encoders")
        together = norm.num_groups == 1
        self.axes = (1, 2) if together else (2,)
        self.channels = norm.num_channels if together else 1
        self.weight, self.bias, self.epsilon = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """[batch, channels, time], int64 [batch] -> the same shape."""
        mask = mask_up_to(frames, x)[:, None, :]
        count = frames.to(x.dtype)[:, None, None] * self.channels
        mean = (x * mask).sum(self.axes, keepdim=True) / count
        # In two passes: in one, the small difference of two large sums would be the variance.
        centred = (x - mean) * mask
        variance = (centred * centred).sum(self.axes, keepdim=True) / count
        scale = self.weight[None, :, None] / torch.sqrt(variance + self.epsilon)
        return x * scale + (self.bias[None, :, None] - mean * scale)


class MeanPooling(nn.Module):
    """Mean of [batch, time, width] over the frames where mask [batch, time] is 1."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = mask[:, :, None]
        return (x * weights).sum(1) / weights.sum(1)


class StatisticsPooling(nn.Module):
    """Mean and standard deviation of [batch, time, width] over the frames where mask is 1.

    Side by side, [batch, 2 * width]: how much a voice moves says as much as where it is.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = mask[:, :, None]
        count = weights.sum(1)
        mean = (x * weights).sum(1) / count
        centred = (x - mean[:, None, :]) * weights
        # Where nothing moves, the root has no slope to learn by.
        variance = ((centred * centred).sum(1) / count).clamp(min=1e-10)
        return torch.cat([mean, variance.sqrt()], dim=1)


def with_statistics(output: BaseModelOutput) -> BaseModelOutputWithPooling:
    """What an original encoder gave for lone utterances: the last state, and mean and deviation of
    all its `hidden_states` side by side, as `StatisticsPooling` has them."""
    each = [torch.cat([x.mean(1), x.std(1, correction=0)], 1) for x in output.hidden_states]
    return BaseModelOutputWithPooling(output.last_hidden_state, torch.cat(each, dim=1))
