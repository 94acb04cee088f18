"""Whisper's encoder from raw waveform to pooled answer.

It always hears its whole window, usually 30 s, silence after the end of the utterance included:
it was trained so, and nothing is masked in its attention. A short utterance therefore costs what a
long one costs.

Where config.json says `"utterance_only": true`, an entry of ours, it hears the positions of the
utterance and nothing after them, and costs what they cost; and its embedding has mean and deviation
of the states of all layers, for the last one of an encoder that was made for something else says
least of how a voice sounds. It is for encoders of which the states are used so, as `smart_turn`'s
are. transformers has no such class; `UtteranceEncoder` is its own on a window that ends with the
utterance.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..errors import ExportError
from ..graphs.spectrograms import WHISPER_POSITION_SAMPLES, WhisperLogMel, whisper_positions
from ..speech.front_end import mask_up_to
from .audio_heads import ProjectionHead
from .masked_layers import (
    Loudness,
    MeanPooling,
    StatisticsPooling,
    blocked_scores,
    with_replaced,
    with_statistics,
)
from .source import of_encoder

FAMILIES = ("whisper",)
FLOAT32_SCOPES = ("/loudness/", "/log_mel/", "/pooling")
UTTERANCE_ONLY = "utterance_only"
"""The entry of config.json."""

_MINIMUM_SAMPLES = 400


class WhisperGraph(nn.Module):
    """Raw waveforms and lengths in; an embedding out, after the answer of a head if there is one.

    The embedding is the mean over the positions that hold the utterance. The head takes the mean
    over the whole window, as it was trained.
    """

    def __init__(
        self, encoder: Any, head: nn.Module | None, layer_weights: Tensor | None, extractor: Any
    ) -> None:
        super().__init__()
        self.loudness = Loudness(normalise=False)
        self.log_mel = WhisperLogMel(extractor)
        self.pooling = MeanPooling()
        self.encoder, self.head, self.layer_weights = encoder, head, layer_weights
        self.width = encoder.config.d_model
        self.minimum_samples, self.maximum_samples = _MINIMUM_SAMPLES, extractor.n_samples

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """float32 [batch, samples], int64 [batch] -> (logits,) embedding, [batch, ...] each."""
        output = self.encoder(
            self.log_mel(self.loudness(waveform, lengths)),
            output_hidden_states=self.layer_weights is not None,
        )
        last = output.last_hidden_state
        embedding = self.pooling(last, mask_up_to(whisper_positions(lengths), last[:, :, 0]))
        if self.head is None:
            return (embedding,)
        everything = torch.ones_like(last[:, :, 0])
        pooled = self.pooling(last, everything)
        if self.layer_weights is not None:
            each = [self.pooling(state, everything) for state in output.hidden_states]
            pooled = (torch.stack(each, 1) * self.layer_weights.softmax(0)[None, :, None]).sum(1)
        # The original projects each position and then takes the mean; a linear map does not mind.
        return self.head(pooled), embedding


class UtteranceGraph(nn.Module):
    """As `WhisperGraph`, without a head, of an encoder that hears the utterance alone.

    What stands after an utterance in its batch is kept from it: by zeros before each convolution,
    which is what they see beyond the end of a window, and by a mask in the attention.
    """

    def __init__(self, encoder: Any, extractor: Any) -> None:
        super().__init__()
        self.loudness = Loudness(normalise=False)
        self.log_mel = WhisperLogMel(extractor, whole_window=False)
        self.pooling = StatisticsPooling()
        self.encoder = encoder
        self.width = 2 * (1 + len(encoder.layers)) * encoder.config.d_model
        self.minimum_samples = _MINIMUM_SAMPLES
        # The extractor mirrors the end of its window, in which the utterance must not be.
        self.maximum_samples = extractor.n_samples - WHISPER_POSITION_SAMPLES

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """float32 [batch, samples], int64 [batch] -> embedding [batch, width]."""
        features = self.log_mel(self.loudness(waveform, lengths)[:, : self.maximum_samples])
        positions = whisper_positions(lengths)
        *states, last = utterance_states(self.encoder, features, positions, self.encoder.layers)
        mask = mask_up_to(positions, last[:, :, 0])
        each = [self.pooling(x, mask) for x in (*states, self.encoder.layer_norm(last))]
        return (torch.cat(each, dim=1),)


def utterance_states(
    encoder: Any, features: Tensor, positions: Tensor, layers: Iterable[Any]
) -> list[Tensor]:
    """The states before some layers of an encoder and after each, [batch, positions, width].

    Args:
        features: float32 [batch, bands, frames], whatever stands after an utterance.
        positions: int64 [batch], two frames each, that hold the utterance.
        layers: of the encoder, from the first on.
    """
    in_frames = mask_up_to(2 * positions, features)[:, None, :]
    x = functional.gelu(encoder.conv1(features * in_frames))
    x = functional.gelu(encoder.conv2(x * in_frames)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    # A row for each query: layers of Whisper cut a piece out of it, and fused ones repeat none.
    blocked = blocked_scores(mask_up_to(positions, x[:, :, 0])).expand(-1, 1, x.shape[1], -1)
    states = [x]
    for layer in layers:
        states.append(layer(states[-1], blocked, layer_head_mask=None)[0])
    return states


class UtteranceEncoder(WhisperEncoder):
    """The original of `UtteranceGraph`: a window of as many frames as it is given."""

    def forward(self, input_features: Tensor) -> BaseModelOutputWithPooling:
        """float32 [batch, bands, frames], an even number of frames -> the last state, and mean and
        deviation of all, [batch, 2 * (1 + layers) * width]."""
        positions = self.embed_positions.weight[: input_features.shape[2] // 2]
        short = with_replaced(self, embed_positions=nn.Embedding.from_pretrained(positions))
        short.config = copy.copy(self.config)
        short.config.max_source_positions = len(positions)
        output = WhisperEncoder.forward(short, input_features, output_hidden_states=True)
        return with_statistics(output)


def build(original: Any, dense: nn.Module | None, extractor: Any) -> WhisperGraph | UtteranceGraph:
    """The module to export; it shares the layers of the transformers model and changes none."""
    encoder = encoder_of(original)
    heard = extractor.n_samples
    wanted = encoder.config.max_source_positions * WHISPER_POSITION_SAMPLES
    if heard != wanted:
        raise ExportError(
            f"preprocessor_config.json has a window of {heard} samples, the model one of {wanted}; "
            "they are not of the same model"
        )
    head, layer_weights = dense, None
    if encoder is not original:
        head, layer_weights = ProjectionHead(original), getattr(original, "layer_weights", None)
    if not _utterance_only(encoder.config):
        return WhisperGraph(encoder, head, layer_weights, extractor)
    if head is not None:
        raise ExportError(
            f"{UTTERANCE_ONLY} in config.json goes with an encoder alone; give --head none"
        )
    return UtteranceGraph(encoder, extractor)


def bare_encoder(
    config: Any, weights: Mapping[str, Tensor]
) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """As `load_model` takes them; without the decoder, which is the larger half."""
    return (
        UtteranceEncoder if _utterance_only(config) else WhisperEncoder,
        config,
        of_encoder(weights),
    )


def encoder_of(original: Any) -> Any:
    """The model without its head."""
    return getattr(original, "encoder", original)


def features_for(original: Any, inputs: dict[str, Any], samples: int) -> dict[str, Any]:
    """What the extractor gave for one utterance, as its original takes it."""
    if not _utterance_only(encoder_of(original).config):
        return inputs
    return {"input_features": inputs["input_features"][:, :, : 2 * whisper_positions(samples)]}


def pooled(output: Any, samples: int) -> Tensor:
    """What the original encoder gave for one utterance -> its embedding, [1, width]."""
    if "pooler_output" in output:
        statistics: Tensor = output.pooler_output
        return statistics
    embedding: Tensor = output.last_hidden_state[:, : whisper_positions(samples)].mean(1)
    return embedding


def _utterance_only(config: Any) -> bool:
    return bool(getattr(config, UTTERANCE_ONLY, False))
