"""wav2vec 2.0 and its kin from raw waveform to pooled answer, padding without effect.

wav2vec2, HuBERT, WavLM, UniSpeech-SAT, data2vec-audio and wav2vec2-conformer are the same from
afar: strided convolutions over the waveform, a projection, positions, transformer layers. The
layers here are those of transformers, with their weights, except where one needs to know where an
utterance ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING

from ..errors import ExportError
from ..speech.front_end import SAMPLE_RATE_HZ, mask_up_to
from .audio_encoders import ConformerEncoder, Encoder
from .audio_heads import ProjectionHead
from .masked_layers import (
    Loudness,
    MaskedGroupNorm,
    MeanPooling,
    frames_after,
    receptive_field,
)

# Attention grows with the square of the length; the runtime's utterances end at 15 s.
LONGEST_SAMPLES = 30 * SAMPLE_RATE_HZ

FAMILIES = (
    "wav2vec2",
    "hubert",
    "wavlm",
    "unispeech-sat",
    "data2vec-audio",
    "wav2vec2-conformer",
)
# Half precision would lose the waveform's sums of squares and those of the pooling (which is there
# more than once where a head looks at all layers), and cuDNN on Hopper has no kernel for the
# grouped convolution.
FLOAT32_SCOPES = (
    "/loudness/",
    "/feature_encoder/conv_layers.0/norm/",
    "/encoder/positions/",
    "/pooling",
)


class FeatureEncoder(nn.Module):
    """The strided convolutions; their frames depend on whole windows of valid samples alone."""

    def __init__(self, original: Any, config: Any) -> None:
        super().__init__()
        layers = list(original.conv_layers)
        # data2vec-audio has no such option: it always has layer norms.
        self.group_norm = getattr(config, "feat_extract_norm", "layer") == "group"
        if self.group_norm:
            layers[0] = GroupNormLayer(layers[0])
        self.conv_layers = nn.ModuleList(layers)
        self.sizes = list(zip(config.conv_kernel, config.conv_stride, strict=True))

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, samples] -> [batch, frames, channels], valid frames int64 [batch]."""
        x, frames = waveform[:, None, :], lengths
        for index, layer in enumerate(self.conv_layers):
            frames = frames_after(frames, *self.sizes[index])
            x = layer(x, frames) if self.group_norm and index == 0 else layer(x)
        return x.transpose(1, 2), frames


class GroupNormLayer(nn.Module):
    """The first convolution where its output is normalised over time."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.conv, self.activation = original.conv, original.activation
        self.norm = MaskedGroupNorm(original.layer_norm)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """[batch, 1, samples], int64 [batch] -> [batch, channels, frames]."""
        out: Tensor = self.activation(self.norm(self.conv(x), frames))
        return out


class Wav2Vec2Graph(nn.Module):
    """Raw waveforms and lengths in; an embedding out, after the answer of a head if there is one.

    Args:
        base: the transformers model without head; its layers are shared.
        head: pooled states to logits, or None.
        layer_weights: of the weighted sum of all states that some heads look at, or None.
        normalise: whether the feature extractor brings waveforms to mean 0 and variance 1.
    """

    def __init__(
        self,
        base: Any,
        head: nn.Module | None,
        layer_weights: Tensor | None,
        *,
        normalise: bool,
    ) -> None:
        super().__init__()
        config = base.config
        self.loudness = Loudness(normalise)
        self.feature_encoder = FeatureEncoder(base.feature_extractor, config)
        self.feature_projection = base.feature_projection
        conformer = config.model_type == "wav2vec2-conformer"
        self.encoder = (ConformerEncoder if conformer else Encoder)(base.encoder, config)
        self.pooling = MeanPooling()
        self.head = head
        self.layer_weights = layer_weights
        self.width = config.hidden_size
        self.minimum_samples = receptive_field(config.conv_kernel, config.conv_stride)
        self.maximum_samples = LONGEST_SAMPLES

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """float32 [batch, samples], int64 [batch] -> (logits,) embedding, [batch, ...] each."""
        features, frames = self.feature_encoder(self.loudness(waveform, lengths), lengths)
        projected = self.feature_projection(features)
        if isinstance(projected, tuple):  # All but HuBERT's also give what they projected.
            projected = projected[0]
        mask = mask_up_to(frames, projected[:, :, 0])
        states = self.encoder(projected, mask)
        embedding = self.pooling(states[-1], mask)
        if self.head is None:
            return (embedding,)
        pooled = embedding
        if self.layer_weights is not None:
            each = torch.stack([self.pooling(state, mask) for state in states], 1)
            pooled = (each * self.layer_weights.softmax(0)[None, :, None]).sum(1)
        # The original projects each frame and then takes the mean; a linear map does not mind.
        return self.head(pooled), embedding


def build(original: Any, dense: nn.Module | None, extractor: Any) -> Wav2Vec2Graph:
    """The module to export; it shares the layers of the transformers model and changes none."""
    base, head, layer_weights = encoder_of(original), dense, None
    if getattr(base.config, "add_adapter", False):
        raise ExportError(
            "the model ends in an adapter (add_adapter in config.json), which shortens its output "
            "for a text decoder; export the encoder that it was made from"
        )
    if base is not original:
        head = ProjectionHead(original)
        layer_weights = getattr(original, "layer_weights", None)
    return Wav2Vec2Graph(base, head, layer_weights, normalise=extractor.do_normalize)


def bare_encoder(
    config: Any, weights: Mapping[str, Tensor]
) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """Class without head, configuration and weights, for `load_model`."""
    return MODEL_MAPPING[type(config)], config, weights


def encoder_of(original: Any) -> Any:
    """The model without its head."""
    return original.base_model


def pooled(output: Any, samples: int) -> Tensor:
    """What the original encoder gave for one utterance -> its embedding, [1, width]."""
    embedding: Tensor = output.last_hidden_state.mean(1)
    return embedding
