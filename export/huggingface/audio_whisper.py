"""Whisper's encoder from raw waveform to pooled answer.

It always hears its whole window, usually 30 s, silence after the end of the utterance included:
it was trained so, and nothing is masked in its attention. A short utterance therefore costs what a
long one costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..errors import ExportError
from ..graphs.spectrograms import WhisperLogMel
from ..speech.front_end import mask_up_to
from .audio_heads import ProjectionHead
from .masked_layers import Loudness, MeanPooling

FAMILIES = ("whisper",)
FLOAT32_SCOPES = ("/loudness/", "/log_mel/", "/pooling")

# A frame every 10 ms, and half as many positions.
_POSITION_SAMPLES = 320
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
        embedding = self.pooling(last, mask_up_to(_positions(lengths), last[:, :, 0]))
        if self.head is None:
            return (embedding,)
        everything = torch.ones_like(last[:, :, 0])
        pooled = self.pooling(last, everything)
        if self.layer_weights is not None:
            each = [self.pooling(state, everything) for state in output.hidden_states]
            pooled = (torch.stack(each, 1) * self.layer_weights.softmax(0)[None, :, None]).sum(1)
        # The original projects each position and then takes the mean; a linear map does not mind.
        return self.head(pooled), embedding


def _positions(samples: Any) -> Any:
    """Positions that hold some of so many samples."""
    return (samples + _POSITION_SAMPLES - 1) // _POSITION_SAMPLES


def build(original: Any, dense: nn.Module | None, extractor: Any) -> WhisperGraph:
    """The module to export; it shares the layers of the transformers model and changes none."""
    encoder = encoder_of(original)
    heard, wanted = extractor.n_samples, encoder.config.max_source_positions * _POSITION_SAMPLES
    if heard != wanted:
        raise ExportError(
            f"preprocessor_config.json has a window of {heard} samples, the model one of {wanted}; "
            "they are not of the same model"
        )
    head, layer_weights = dense, None
    if encoder is not original:
        head, layer_weights = ProjectionHead(original), getattr(original, "layer_weights", None)
    return WhisperGraph(encoder, head, layer_weights, extractor)


def bare_encoder(
    config: Any, weights: Mapping[str, Tensor]
) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """As `load_model` takes them; without the decoder, which is the larger half."""
    names = {name: name.removeprefix("model.") for name in weights}
    own = {
        short.removeprefix("encoder."): weights[name]
        for name, short in names.items()
        if short.startswith("encoder.")
    }
    return WhisperEncoder, config, own


def encoder_of(original: Any) -> Any:
    """The model without its head."""
    return getattr(original, "encoder", original)


def pooled(output: Any, samples: int) -> Tensor:
    """What the original encoder gave for one utterance -> its embedding, [1, width]."""
    embedding: Tensor = output.last_hidden_state[:, : _positions(samples)].mean(1)
    return embedding
