"""Moonshine's encoder from raw waveform to pooled answer, padding without effect.

Jeffries et al., "Moonshine: Speech recognition for live transcription and voice commands", 2024.
Three strided convolutions over the waveform, rotary positions, transformer layers; no window, so
that an utterance costs what its length costs. The embedding has mean and deviation of the states of
all layers: it was made to write words, and its last state says least of how they are said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

from ..speech.front_end import SAMPLE_RATE_HZ, mask_up_to
from .masked_layers import (
    Loudness,
    MaskedGroupNorm,
    StatisticsPooling,
    blocked_scores,
    frames_after,
    receptive_field,
    with_statistics,
)
from .source import of_encoder

FAMILIES = ("moonshine",)
FLOAT32_SCOPES = ("/loudness/", "/norm/", "/pooling")
LONGEST_SAMPLES = 30 * SAMPLE_RATE_HZ


class MoonshineGraph(nn.Module):
    """Raw waveforms and lengths in; an embedding out."""

    def __init__(self, encoder: Any, *, normalise: bool) -> None:
        super().__init__()
        self.loudness = Loudness(normalise)
        self.norm = MaskedGroupNorm(encoder.groupnorm)
        self.pooling = StatisticsPooling()
        self.encoder = encoder
        convolutions = (encoder.conv1, encoder.conv2, encoder.conv3)
        self.sizes = [(each.kernel_size[0], each.stride[0]) for each in convolutions]
        kernels, strides = zip(*self.sizes, strict=True)
        self.minimum_samples = receptive_field(kernels, strides)
        self.maximum_samples = LONGEST_SAMPLES
        self.width = 2 * (1 + len(encoder.layers)) * encoder.config.hidden_size

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """float32 [batch, samples], int64 [batch] -> embedding [batch, width]."""
        x, mask = self._heard(self.loudness(waveform, lengths), lengths)
        turns = self._turns(x)
        # A row for each query, as the layers of transformers take it.
        blocked = blocked_scores(mask).expand(-1, 1, x.shape[1], -1)
        of_states = []
        for layer in self.encoder.layers:
            of_states.append(self.pooling(x, mask))
            x = layer(x, attention_mask=blocked, position_embeddings=turns)
        of_states.append(self.pooling(self.encoder.layer_norm(x), mask))
        return (torch.cat(of_states, dim=1),)

    def _heard(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """-> [batch, positions, channels], and 1 where a position is of the utterance alone."""
        encoder, (first, second, third) = self.encoder, self.sizes
        frames = frames_after(lengths, *first)
        x = self.norm(torch.tanh(encoder.conv1(waveform[:, None, :])), frames)
        x = functional.gelu(encoder.conv3(functional.gelu(encoder.conv2(x)))).transpose(1, 2)
        positions = frames_after(frames_after(frames, *second), *third)
        return x, mask_up_to(positions, x[:, :, 0])

    def _turns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the rotary angles of each position, [1, positions, width] both."""
        rotary = self.encoder.rotary_emb
        places = torch.arange(x.shape[1], dtype=torch.float32)[:, None]
        angles = (places * rotary.inv_freq.float()[None, :]).repeat(1, 2)[None]
        return angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling


class StatisticsEncoder(MoonshineEncoder):
    """The original of `MoonshineGraph`."""

    def forward(self, input_values: Tensor) -> BaseModelOutputWithPooling:
        """float32 [batch, samples] -> the last state, and mean and deviation of all."""
        output = MoonshineEncoder.forward(self, input_values, output_hidden_states=True)
        return with_statistics(output)


def build(original: Any, dense: nn.Module | None, extractor: Any) -> MoonshineGraph:
    """The module to export; it shares the layers of the transformers model and changes none."""
    return MoonshineGraph(original, normalise=extractor.do_normalize)


def bare_encoder(
    config: Any, weights: Mapping[str, Tensor]
) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """As `load_model` takes them; without the decoder, which is the larger half."""
    return StatisticsEncoder, config, of_encoder(weights)


def encoder_of(original: Any) -> Any:
    """The model without its head; nobody has published one with a head."""
    return original


def pooled(output: Any, samples: int) -> Tensor:
    """What the original encoder gave for one utterance -> its embedding, [1, width]."""
    statistics: Tensor = output.pooler_output
    return statistics
