"""The transformers of wav2vec 2.0 and its kin, taking a mask along.

The layers are those of transformers, with their weights. Ours are the way through them, and the
few that look along time without knowing where an utterance ends: the positional convolutions, the
convolutions of the conformer, WavLM's positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .masked_layers import blocked_scores, with_replaced


class PositionalConvolution(nn.Module):
    """Positions by grouped convolution: one (wav2vec2) or several in a row (data2vec-audio).

    Alone, a convolution sees zeros past the end; in a batch it must see zeros there too.
    """

    def __init__(self, original: Any) -> None:
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

    def __init__(self, original: Any, config: Any) -> None:
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

    Distances fall into buckets, wider the farther (as in T5), by a logarithm. It is taken here
    once for every distance: another one's rounding, or that of half precision, would put some
    distances into the bucket beside.
    """

    def __init__(self, first: Any) -> None:
        super().__init__()
        self.embedding, self.farthest = first.rel_attn_embed, first.max_distance
        offsets = torch.arange(-self.farthest, self.farthest + 1)
        buckets = first._relative_positions_bucket(offsets)
        self.register_buffer("buckets", buckets, persistent=False)
        self.buckets: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, width] -> [1, heads, time, time]."""
        position = torch.arange(x.shape[1], device=x.device)
        offset = (position[None, :] - position[:, None]).clamp(-self.farthest, self.farthest)
        bucket = self.buckets[offset + self.farthest]
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

    def __init__(self, original: Any, config: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConformerLayer(layer) for layer in original.layers)
        self.layer_norm = original.layer_norm
        self.positions = original.embed_positions
        if config.position_embeddings_type == "rotary":
            self.positions = RotaryPositions(original.embed_positions.inv_freq)

    def forward(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """[batch, time, width], mask [batch, time] -> states: before the layers, after each."""
        blocked = blocked_scores(mask)
        positions = None if self.positions is None else self.positions(x)
        states = [x * mask[:, :, None]]
        for layer in self.layers:
            states.append(layer(states[-1], mask, blocked, positions))
        states[-1] = self.layer_norm(states[-1])
        return states


class ConformerLayer(nn.Module):
    """`Wav2Vec2ConformerEncoderLayer`, with a mask for its convolution."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.ffn1_layer_norm, self.ffn1 = original.ffn1_layer_norm, original.ffn1
        self.self_attn_layer_norm = original.self_attn_layer_norm
        self.self_attn = original.self_attn
        self.conv_module = ConformerConvolution(original.conv_module)
        self.ffn2_layer_norm, self.ffn2 = original.ffn2_layer_norm, original.ffn2
        self.final_layer_norm = original.final_layer_norm

    def forward(self, x: Tensor, mask: Tensor, blocked: Tensor, positions: Tensor | None) -> Tensor:
        """x [batch, time, width], mask [batch, time], blocked as `blocked_scores`."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        heard, _ = self.self_attn(
            self.self_attn_layer_norm(x),
            attention_mask=blocked,
            relative_position_embeddings=positions,
        )
        x = x + heard
        x = x + self.conv_module(x, mask)
        out: Tensor = self.final_layer_norm(x + 0.5 * self.ffn2(self.ffn2_layer_norm(x)))
        return out


class ConformerConvolution(nn.Module):
    """`Wav2Vec2ConformerConvolutionModule`; alone, its convolution sees zeros past the end."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.layer_norm, self.pointwise_conv1 = original.layer_norm, original.pointwise_conv1
        self.glu, self.depthwise_conv = original.glu, original.depthwise_conv
        self.batch_norm, self.activation = original.batch_norm, original.activation
        self.pointwise_conv2 = original.pointwise_conv2

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[batch, time, width], mask [batch, time] -> [batch, time, width]."""
        gated = self.glu(self.pointwise_conv1(self.layer_norm(x).transpose(1, 2)))
        mixed = self.batch_norm(self.depthwise_conv(gated * mask[:, None, :]))
        out: Tensor = self.pointwise_conv2(self.activation(mixed)).transpose(1, 2)
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
