"""wav2vec 2.0 and its kin from raw waveform to pooled answer, padding without effect.

wav2vec2, HuBERT, WavLM, UniSpeech-SAT, data2vec-audio and wav2vec2-conformer are the same from
afar: strided convolutions over the waveform, a projection, positions, transformer layers. The
layers here are those of transformers, with their weights; what is ours is the walk through them,
which takes a mask along, and the few that need one: group normalisation, the positional
convolutions, the convolutions of the conformer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING

from .errors import ExportError
from .front_end import SAMPLE_RATE_HZ, mask_up_to
from .hf_audio_heads import ProjectionHead
from .masked_layers import (
    Loudness,
    MaskedGroupNorm,
    blocked_scores,
    frames_after,
    masked_mean,
    receptive_field,
    with_replaced,
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
# Half precision would lose the waveform's sums of squares, and cuDNN on Hopper has no kernel for
# the grouped convolution.
FLOAT32_SCOPES = (
    "/loudness/",
    "/feature_encoder/norm/",
    "/encoder/positions/",
)


class FeatureEncoder(nn.Module):
    """The strided convolutions; their frames depend on whole windows of valid samples alone."""

    def __init__(self, original: nn.Module, config: Any) -> None:
        super().__init__()
        self.conv_layers = original.conv_layers
        self.sizes = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.norm = None
        if (
            getattr(config, "feat_extract_norm", "layer") == "group"
        ):  # data2vec-audio has no such option.
            self.norm = MaskedGroupNorm(self.conv_layers[0].layer_norm)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, samples] -> [batch, frames, channels], valid frames int64 [batch]."""
        x, frames = waveform[:, None, :], lengths
        for index, layer in enumerate(self.conv_layers):
            frames = frames_after(frames, *self.sizes[index])
            if index == 0 and self.norm is not None:
                x = layer.activation(self.norm(layer.conv(x), frames))
            else:
                x = layer(x)
        return x.transpose(1, 2), frames


class PositionalConvolution(nn.Module):
    """Positions by grouped convolution: one (wav2vec2) or several in a row (data2vec-audio).

    Alone, a convolution sees zeros past the end; in a batch it must see zeros there too.
    """

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        layers = getattr(original, "layers", [original])
        self.layers = nn.ModuleList(
            with_replaced(layer, conv=_plain_convolution(layer.conv)) for layer in layers
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[batch, time, width] with mask [batch, time, 1] -> [batch, time, width]."""
        x, mask = x.transpose(1, 2), mask.transpose(1, 2)
        for layer in self.layers:
            batch_norm = getattr(layer, "batch_norm", None)
            if batch_norm is not None:
                x = batch_norm(x)
            x = layer.padding(layer.conv(x * mask))
            norm = getattr(layer, "layer_norm", None)
            if norm is not None:
                x = norm(x.transpose(1, 2)).transpose(1, 2)
            x = layer.activation(x)
        return x.transpose(1, 2)


def _plain_convolution(conv: nn.Conv1d) -> nn.Conv1d:
    """The same without weight norm (w = g * v / |v|), which is for training."""
    plain = nn.Conv1d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        padding=conv.padding,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    plain.weight, plain.bias = nn.Parameter(conv.weight.detach().clone()), conv.bias
    return plain


class Encoder(nn.Module):
    """Positions and transformer layers of all but the conformer.

    The norm comes before the layers, or after them where it is also inside them ("stable").
    """

    def __init__(self, original: nn.Module, config: Any) -> None:
        super().__init__()
        self.positions = PositionalConvolution(original.pos_conv_embed)
        self.layer_norm, self.layers = original.layer_norm, original.layers
        # data2vec-audio has no such option: its norm always comes first.
        self.norm_last = getattr(config, "do_stable_layer_norm", False)
        self.bias = None
        if config.model_type == "wavlm":
            self.bias = RelativePositionBias(self.layers[0].attention)
            self.layers = nn.ModuleList(
                with_replaced(layer, attention=GatedAttention(layer.attention))
                for layer in self.layers
            )

    def forward(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """[batch, time, width], mask [batch, time] -> states: before the layers, after each."""
        blocked = blocked_scores(mask)
        x = x * mask[:, :, None]
        x = x + self.positions(x, mask[:, :, None])
        if not self.norm_last:
            x = self.layer_norm(x)
        states = [x]
        options = {} if self.bias is None else {"position_bias": self.bias(x)}
        for layer in self.layers:
            states.append(layer(states[-1], attention_mask=blocked, **options)[0])
        if self.norm_last:
            states[-1] = self.layer_norm(states[-1])
        return states


class RelativePositionBias(nn.Module):
    """What WavLM adds to attention for the distance of two frames, before the gate.

    Distances fall into buckets, wider the farther (as in T5); [1, heads, time, time].
    """

    def __init__(self, first: Any) -> None:
        super().__init__()
        self.embedding = first.rel_attn_embed
        self.half, self.farthest = first.num_buckets // 2, first.max_distance

    def forward(self, x: Tensor) -> Tensor:
        position = torch.arange(x.shape[1], device=x.device)
        offset = position[None, :] - position[:, None]
        distance = offset.abs()
        exact = self.half // 2
        # clamp: the logarithm of 0, which is not taken below, has no integer.
        octaves = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.farthest / exact)
        far = (exact + octaves * (self.half - exact)).to(torch.int64).clamp(max=self.half - 1)
        bucket = torch.where(distance < exact, distance, far) + (offset > 0).to(torch.int64) * (
            self.half
        )
        bias: Tensor = self.embedding(bucket).permute(2, 0, 1)[None]
        return bias


class GatedAttention(nn.Module):
    """WavLM's attention written out, where transformers calls torch's fused function.

    That function's trace holds sizes, and no optimiser knows it for attention.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.q_proj, self.k_proj = original.q_proj, original.k_proj
        self.v_proj, self.out_proj = original.v_proj, original.out_proj
        self.gate_proj, self.gate_scale = original.gru_rel_pos_linear, original.gru_rel_pos_const
        self.heads, self.head_dim = original.num_heads, original.head_dim

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_bias: Tensor,
        output_attentions: bool = False,
        index: int = 0,
    ) -> tuple[Tensor, None, Tensor]:
        """As the layer calls it; the mask is what to add to the scores."""
        gate_a, gate_b = (
            self.gate_proj(self._by_head(hidden_states))
            .unflatten(-1, (2, 4))
            .sum(-1)
            .sigmoid()
            .chunk(2, -1)
        )
        bias = (gate_a * (gate_b * self.gate_scale - 1) + 2) * position_bias
        query = self._by_head(self.q_proj(hidden_states))
        key = self._by_head(self.k_proj(hidden_states))
        value = self._by_head(self.v_proj(hidden_states))
        scores = torch.matmul(query, key.transpose(2, 3)) * self.head_dim**-0.5
        mixed = torch.matmul((scores + bias + attention_mask).softmax(-1), value)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None, position_bias

    def _by_head(self, x: Tensor) -> Tensor:
        """[batch, time, width] -> [batch, heads, time, width of one]."""
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)


class ConformerEncoder(nn.Module):
    """The layers of wav2vec2-conformer, their convolutions kept from looking at padding."""

    def __init__(self, original: nn.Module, config: Any) -> None:
        super().__init__()
        self.layers, self.layer_norm = original.layers, original.layer_norm
        self.positions = original.embed_positions
        if config.position_embeddings_type == "rotary":
            self.positions = RotaryPositions(original.embed_positions.inv_freq)

    def forward(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """[batch, time, width], mask [batch, time] -> states: before the layers, after each."""
        blocked = blocked_scores(mask)
        positions = None if self.positions is None else self.positions(x)
        states = [x * mask[:, :, None]]
        for layer in self.layers:
            states.append(_conformer_layer(layer, states[-1], mask, blocked, positions))
        states[-1] = self.layer_norm(states[-1])
        return states


def _conformer_layer(
    layer: Any, x: Tensor, mask: Tensor, blocked: Tensor, positions: Tensor | None
) -> Tensor:
    """`Wav2Vec2ConformerEncoderLayer.forward`, with the mask for its convolution."""
    x = x + 0.5 * layer.ffn1(layer.ffn1_layer_norm(x))
    x = (
        x
        + layer.self_attn(
            layer.self_attn_layer_norm(x),
            attention_mask=blocked,
            relative_position_embeddings=positions,
        )[0]
    )
    module = layer.conv_module
    inner = module.layer_norm(x).transpose(1, 2)
    inner = module.glu(module.pointwise_conv1(inner)) * mask[:, None, :]
    inner = module.activation(module.batch_norm(module.depthwise_conv(inner)))
    x = x + module.pointwise_conv2(inner).transpose(1, 2)
    out: Tensor = layer.final_layer_norm(x + 0.5 * layer.ffn2(layer.ffn2_layer_norm(x)))
    return out


class RotaryPositions(nn.Module):
    """Cosines and sines, [2, time, 1, 1, width of a head].

    That of transformers keeps them from one call to the next: traced, they would be constants.
    """

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies.clone(), persistent=False)
        self.frequencies: Tensor

    def forward(self, x: Tensor) -> Tensor:
        time = torch.arange(x.shape[1], device=x.device).to(x.dtype)
        angles = time[:, None] * self.frequencies[None, :]
        angles = torch.cat([angles, angles], -1)[:, None, None, :]
        return torch.stack([angles.cos(), angles.sin()])


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
        embedding = masked_mean(states[-1], mask)
        if self.head is None:
            return (embedding,)
        pooled = embedding
        if self.layer_weights is not None:
            each = torch.stack([masked_mean(state, mask) for state in states], 1)
            pooled = (each * self.layer_weights.softmax(0)[None, :, None]).sum(1)
        # The original projects each frame and then takes the mean; a linear map does not mind.
        return self.head(pooled), embedding


def build(original: Any, dense: nn.Module | None, extractor: Any) -> Wav2Vec2Graph:
    """The module to export; it shares the layers of the transformers model and changes none."""
    base, head, layer_weights = encoder_of(original), dense, None
    if getattr(base.config, "add_adapter", False):
        raise ExportError("the model has an adapter (add_adapter), which is not supported")
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
