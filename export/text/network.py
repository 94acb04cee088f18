"""The network: byte pairs to seven logits, an embedding, and affect.

Token embeddings, blocks that put each token in its context, attentive and maximum pooling, one
linear head each. A hundred thousand short sentences are little to learn a deep network from: what
single words say is learnt first and fast, so every block starts as the identity and adds to it.
The order of tokens is told by the blocks that look at neighbours; there is no position embedding
and so no longest text. Padding is masked wherever one token meets another: the answer does not
depend on the batch it is computed in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .labels import EMOTIONS, OWN_LABELS
from .settings import NetworkSettings
from .tokens import MASK_ID

AFFECT = ("valence", "arousal", "dominance")
_HIDDEN = -1e4


class Neighbours(nn.Module):
    """Each token with the ones beside it, through a hidden layer; starts as the identity.

    What a phrase adds to its words is learnt on top of them: a network that starts as a bag of
    tokens is as good after a minute as one with random blocks is after ten.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.reach = settings.kernel // 2
        self.norm = nn.LayerNorm(settings.width)
        self.gather = nn.Linear(settings.kernel * settings.width, settings.inner)
        self.out = nn.Linear(settings.inner, settings.width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, hidden: Tensor, present: Tensor, hide: Tensor) -> Tensor:
        tokens = hidden.shape[1]
        wide = nn.functional.pad(self.norm(hidden) * present, (0, 0, self.reach, self.reach))
        beside = [wide[:, place : place + tokens] for place in range(2 * self.reach + 1)]
        gathered = nn.functional.silu(self.gather(torch.cat(beside, 2)))
        out: Tensor = hidden + self.dropout(self.out(gathered))
        return out


class Attention(nn.Module):
    """Every token to every token that is there; starts as the identity."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.norm = nn.LayerNorm(settings.width)
        self.queries_keys_values = nn.Linear(settings.width, 3 * settings.width)
        self.out = nn.Linear(settings.width, settings.width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, hidden: Tensor, present: Tensor, hide: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape
        parts = self.queries_keys_values(self.norm(hidden))
        parts = parts.view(batch, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        scores = queries @ keys.transpose(2, 3) * (width // self.heads) ** -0.5
        seen = (scores + hide[:, None, None]).softmax(3) @ values
        joined = seen.transpose(1, 2).reshape(batch, tokens, width)
        out: Tensor = hidden + self.dropout(self.out(joined))
        return out


_BLOCKS = {"n": Neighbours, "a": Attention}


class Pooling(nn.Module):
    """Weighted mean of each of `heads` slices, and the maximum: float32 [batch, 2 width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.score = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh())
        self.weigh = nn.Linear(width // 2, heads)

    def forward(self, hidden: Tensor, hide: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape
        weights = (self.weigh(self.score(hidden)) + hide[:, :, None]).softmax(1)
        slices = hidden.view(batch, tokens, self.heads, -1)
        mean = (slices * weights[..., None]).sum(1).reshape(batch, width)
        # A text without any token, of masked padding alone, must not give what hides it.
        top = (hidden + hide[:, :, None]).amax(1).clamp(min=_HIDDEN / 2)
        return torch.cat([mean, top * (top > _HIDDEN / 2)], 1)


class TextEncoder(nn.Module):
    """`forward` is what is exported; the heads named `own_*` serve training alone."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.tokens = nn.Embedding(settings.vocabulary, width)
        nn.init.normal_(self.tokens.weight, std=0.05)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_BLOCKS[kind](settings) for kind in settings.blocks)
        self.last_norm = nn.LayerNorm(width)
        self.pooling = Pooling(width, settings.heads)
        self.project = nn.Linear(2 * width, settings.embedding)
        self.dropout = nn.Dropout(settings.dropout)
        self.emotion = nn.Linear(settings.embedding, len(EMOTIONS))
        self.affect = nn.Linear(settings.embedding, len(AFFECT))
        own = sum(len(labels) for labels in OWN_LABELS.values())
        self.own_labels = nn.Linear(settings.embedding, own)
        # Affect is learnt in standard scores of each corpus and served on the scale of EmoBank.
        self.register_buffer("affect_mean", torch.full((len(AFFECT),), 0.5))
        self.register_buffer("affect_deviation", torch.full((len(AFFECT),), 0.1))
        # What is added to the logits when served: how common each emotion is taken to be.
        self.register_buffer("prior", torch.zeros(len(EMOTIONS)))

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Each token in its context, float32 [batch, tokens, width]."""
        present = attention_mask.to(torch.float32)
        hide = (1 - present) * _HIDDEN
        if self.training and self.settings.token_dropout:
            lost = torch.rand(input_ids.shape) < self.settings.token_dropout
            input_ids = input_ids.masked_fill(lost, MASK_ID)
        hidden = self.dropout(self.norm(self.tokens(input_ids)))
        for block in self.blocks:
            hidden = block(hidden, present[:, :, None], hide)
        out: Tensor = self.last_norm(hidden)
        return out

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The embedding, float32 [batch, embedding]."""
        hide = (1 - attention_mask.to(torch.float32)) * _HIDDEN
        pooled = self.pooling(self.hidden(input_ids, attention_mask), hide)
        out: Tensor = nn.functional.silu(self.project(self.dropout(pooled)))
        return out

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [batch, 7], embedding [batch, embedding], affect [batch, 3] about 0..1.

        input_ids and attention_mask int64 [batch, tokens].
        """
        embedding = self.encode(input_ids, attention_mask)
        affect = self.affect(embedding) * self.affect_deviation + self.affect_mean
        return self.emotion(embedding) + self.prior, embedding, affect


def parameter_count(model: TextEncoder) -> int:
    """Of what is served."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("own_"))
