"""Heads that join what is heard and what is read, by the names that recipes use.

    mean              mean of the probabilities         ITST at EmoSPeech 2024
    max               largest of the probabilities      the same
    logits_mlp        logits of both, 2 n units, n      Spanish TV debates
    concat_linear     embeddings, dropout, linear       HuBERT + BERT
    subnet_concat     each to 256, 256, ReLU, dropout   CogniCIC at EmoSPeech 2024
    subnet_attention  the same with attention           its variant
    gated             the voice's answer, moved by the  ours
                      words as far as a gate opens

All take the wide embeddings of `answers`, so that one graph of each encoder serves every head.
`Fusion` wraps any of them: it standardises what goes in, calibrates what comes out, and gives
valence, arousal and dominance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..bundles.fusion_head import ConcatenationHead, MaximumHead
from ..errors import ExportError
from .answers import Layout

_SUBNET_UNITS = 256
_ATTENTION_HEADS = 4
_GATE_OPEN = 1.0
_MOST_DEVIATIONS = 2.0


class Head(Protocol):
    """What is between the standardised answers and the calibrated ones."""

    def __call__(self, heard: Heard, read: Read, present: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [batch, labels], in nats, and how far the words count, [batch, 1] in 0..1.

        present: float32 [batch, 1], 1 where there is a text.
        """
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """logits [batch, labels] at a temperature that calibrates them, and the embedding, standardised
    by the mean and deviation of what the head was trained on."""

    logits: Tensor
    embedding: Tensor


Read = Heard
"""The same of the text; whatever it holds where there is none must have no influence."""


class MeanHead(nn.Module):
    """The mean of the probabilities of those that answer, as logits."""

    def forward(self, heard: Heard, read: Read, present: Tensor) -> tuple[Tensor, Tensor]:
        """See `Head`."""
        total = heard.logits.softmax(1) + present * read.logits.softmax(1)
        return (total / (1 + present)).clamp_min(1e-9).log(), present


class _Given(nn.Module):
    """A head of `bundles.fusion_head` on the logits, or on the embeddings."""

    def __init__(self, inner: nn.Module, *, logits: bool) -> None:
        super().__init__()
        self.inner = inner
        self.logits = logits

    def forward(self, heard: Heard, read: Read, present: Tensor) -> tuple[Tensor, Tensor]:
        """See `Head`."""
        voice, words = (
            (heard.logits, read.logits) if self.logits else (heard.embedding, read.embedding)
        )
        return self.inner(voice, words, present[:, 0]), present


class AttentionHead(nn.Module):
    """Each modality to a token of 256; attention between the two, added; their mean, 256, ReLU, n.

    CogniCIC names its variants "attention modules for each modality" and "multi-head attention"
    and says no more of them; this is multi-head attention after Vaswani et al. (2017) over the two
    tokens, of which a missing text is masked.
    """

    def __init__(self, audio: int, text: int, labels: int, dropout: float) -> None:
        super().__init__()
        width = _SUBNET_UNITS
        self.audio, self.text = nn.Linear(audio, width), nn.Linear(text, width)
        self.parts = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.last = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, labels)
        )

    def forward(self, heard: Heard, read: Read, present: Tensor) -> tuple[Tensor, Tensor]:
        """See `Head`."""
        tokens = torch.stack([self.audio(heard.embedding), self.text(read.embedding)], dim=1)
        there = torch.stack([torch.ones_like(present), present], dim=1)  # [batch, 2, 1]
        size = _SUBNET_UNITS // _ATTENTION_HEADS
        parts = self.parts(tokens).reshape(-1, 2, 3, _ATTENTION_HEADS, size)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = queries @ keys.transpose(2, 3) * size**-0.5
        hide = (1 - there).transpose(1, 2)[:, None] * -1e4
        mixed = ((scores + hide).softmax(3) @ values).transpose(1, 2)
        tokens = tokens + self.out(mixed.reshape(-1, 2, _SUBNET_UNITS))
        joined = (tokens * there).sum(1) / there.sum(1)
        return self.last(joined), present


class GatedHead(nn.Module):
    """The voice's log-probabilities, plus what the words say times a gate.

        scores = log p(y | voice) + present * gate * evidence(words)

    With the gate open and the evidence log p(y | words), this is the product of two independent
    witnesses. The evidence is learnt from there: what a corpus of tweets calls neutral, say, is no
    witness against anything. The gate, one number in 0..1, sees the probabilities of both, how sure
    each is, how far they agree, and the embedding of the words, by which it knows sentences that
    say nothing. Without text the voice's answer stands, to the last bit.

    After the gated multimodal unit (Arevalo et al., "Gated multimodal units for information
    fusion", 2017), and the modality dropout of ModDrop (Neverova et al., 2016), except that here a
    missing text cannot be learnt wrong.

    Args:
        hidden: units of the gate.
    """

    def __init__(self, labels: int, text: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.evidence = nn.Linear(labels, labels)
        self.look = nn.Linear(text, hidden)
        self.weigh = nn.Linear(2 * labels + 3, hidden)
        self.dropout = nn.Dropout(dropout)
        self.gate = nn.Linear(hidden, 1)
        with torch.no_grad():
            self.evidence.weight.copy_(torch.eye(labels))
            self.evidence.bias.zero_()
            self.gate.weight.zero_()
            self.gate.bias.fill_(_GATE_OPEN)

    def forward(self, heard: Heard, read: Read, present: Tensor) -> tuple[Tensor, Tensor]:
        """See `Head`."""
        voice, words = heard.logits.log_softmax(1), read.logits.log_softmax(1)
        p, q = voice.exp(), words.exp()
        entropies = [-(p * voice).sum(1, keepdim=True), -(q * words).sum(1, keepdim=True)]
        agreement = (p * q).sum(1, keepdim=True)
        seen = self.weigh(torch.cat([p, q, *entropies, agreement], dim=1))
        units = torch.nn.functional.silu(seen + self.look(self.dropout(read.embedding)))
        gate = self.gate(self.dropout(units)).sigmoid() * present
        return heard.logits + gate * self.evidence(words), gate


def build(
    strategy: str, audio: Layout, text: Layout, *, hidden: int = 32, dropout: float = 0.0
) -> nn.Module:
    """The head of a strategy, with fresh weights from torch's random state.

    Raises:
        ExportError: there is no such strategy.
    """
    n = audio.labels
    if strategy == "gated":
        return GatedHead(n, text.embedding, hidden, dropout)
    if strategy == "mean":
        return MeanHead()
    if strategy == "max":
        return _Given(MaximumHead(n), logits=True)
    if strategy == "logits_mlp":
        return _Given(ConcatenationHead(n, n, n, hidden=(2 * n,), dropout=dropout), logits=True)
    if strategy == "subnet_attention":
        return AttentionHead(audio.embedding, text.embedding, n, dropout)
    sizes = {
        "concat_linear": {},
        "subnet_concat": {
            "project": _SUBNET_UNITS,
            "hidden": (_SUBNET_UNITS,),
            "activation": "relu",
        },
    }
    if strategy not in sizes:
        raise ExportError(f"there is no fusion strategy {strategy!r}")
    inner = ConcatenationHead(
        audio.embedding, text.embedding, n, dropout=dropout, **sizes[strategy]
    )
    return _Given(inner, logits=False)


class Fusion(nn.Module):
    """A head with all around it, as it is exported: wide embeddings in, logits and affect out.

    Affect is the expected point of the labels under the answer's probabilities; arousal then moves
    with the intensity that is heard in the voice; and where the text encoder gives affect, the two
    are mixed as far as the words count.

    Args:
        head: see `Head`.
        centroids: valence, arousal, dominance of each label, 0..1, in the order of the labels.
        arousal_strength: see `FusionSettings`, as is `text_affect`.

    Attributes:
        temperature: of the bundle, by which the logits will be divided. It calibrates the voice
            alone, so that the head can hand the voice's own logits through.
        audio_temperature, text_temperature: that calibrate each encoder on dev.
        fused_temperature: that calibrates the head's scores where there is a text,
            `alone_temperature` where there is none.
        intensity: weights of the regression on the wide audio embedding, and its constant.
    """

    def __init__(
        self,
        head: nn.Module,
        audio: Layout,
        text: Layout,
        centroids: list[list[float]],
        *,
        arousal_strength: float,
        text_affect: float,
    ) -> None:
        super().__init__()
        self.head = head
        self.audio, self.text = audio, text
        self.arousal_strength, self.text_affect = arousal_strength, text_affect
        for name in ("", "audio_", "text_", "fused_", "alone_"):
            self.register_buffer(f"{name}temperature", torch.ones(()))
        for name, layout in (("audio", audio), ("text", text)):
            self.register_buffer(f"{name}_mean", torch.zeros(layout.embedding))
            self.register_buffer(f"{name}_deviation", torch.ones(layout.embedding))
        self.register_buffer("centroids", torch.tensor(centroids))
        self.register_buffer("intensity", torch.zeros(audio.width + 1))

    def scores(self, audio: Tensor, text: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """What the head says, before it is calibrated; wide embeddings, present [batch]."""
        heard = self._split(audio, self.audio, "audio")
        read = self._split(text, self.text, "text")
        scores, gate = self.head(heard, read, present[:, None])
        return scores, gate

    def voice(self, audio: Tensor) -> Tensor:
        """The speech encoder's own logits, calibrated, of its wide embeddings."""
        return self._split(audio, self.audio, "audio").logits

    def _split(self, wide: Tensor, layout: Layout, name: str) -> Heard:
        embedding, logits, _ = wide.split([layout.embedding, layout.labels, layout.affect], dim=1)
        mean, deviation = getattr(self, f"{name}_mean"), getattr(self, f"{name}_deviation")
        return Heard(logits / getattr(self, f"{name}_temperature"), (embedding - mean) / deviation)

    def forward(
        self, audio_embedding: Tensor, text_embedding: Tensor, text_present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Wide embeddings [batch, width] and [batch] -> logits [batch, n], affect [batch, 3]."""
        scores, gate = self.scores(audio_embedding, text_embedding, text_present)
        present = text_present[:, None]
        temperature = present * self.fused_temperature + (1 - present) * self.alone_temperature
        calibrated = scores / temperature
        return calibrated * self.temperature, self._affect(
            calibrated.softmax(1), audio_embedding, text_embedding, gate
        )

    def _affect(self, probabilities: Tensor, audio: Tensor, text: Tensor, gate: Tensor) -> Tensor:
        affect = probabilities @ self.centroids
        heard = audio @ self.intensity[:-1] + self.intensity[-1]
        moved = self.arousal_strength * heard.clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
        valence, arousal, dominance = affect.split(1, dim=1)
        affect = torch.cat([valence, arousal + moved[:, None], dominance], dim=1)
        if self.text.affect:
            weight = self.text_affect * gate
            affect = (1 - weight) * affect + weight * text[:, -self.text.affect :]
        return affect.clamp(0, 1)
