"""Heads of speech models: pooled states [batch, width] to logits [batch, labels]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ExportError

_DENSE = "classifier.dense"
# Of the repositories that define this head, some call its last layer the one, some the other.
_LAST = ("classifier.out_proj", "classifier.output")


class ProjectionHead(nn.Module):
    """That of transformers: two linear layers with nothing in between."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.projector, self.classifier = original.projector, original.classifier

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.projector(pooled))
        return logits


class DenseHead(nn.Module):
    """dense, tanh, out_proj on the mean over time.

    It is no class of transformers, but one that model repositories define: audeering's
    dimensional model (Wagner et al., "Dawn of the transformer era in speech emotion recognition",
    2023) and those after m3hrdadfi's `Wav2Vec2ForSpeechClassification`. transformers loads such a
    model with a head of its own, drawn at random, and a warning.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], labels: int, pooling_mode: str | None = None
    ) -> None:
        super().__init__()
        if pooling_mode not in (None, "mean"):
            raise ExportError(
                f"the model pools by {pooling_mode!r} (pooling_mode in config.json); only the mean "
                "over time is known, use --head none"
            )
        last = next((name for name in _LAST if f"{name}.weight" in weights), None)
        if last is None:
            raise ExportError(
                f"the model has {_DENSE} but neither {' nor '.join(_LAST)}: a head that is not "
                "known; use --head none"
            )
        self.dense = _linear(weights, _DENSE)
        self.out_proj = _linear(weights, last)
        if self.out_proj.out_features != labels:
            raise ExportError(
                f"the model's head has {self.out_proj.out_features} outputs and config.json names "
                f"{labels} labels; correct id2label"
            )

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.out_proj(torch.tanh(self.dense(pooled)))
        return logits


def has_dense_head(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names of the weights are those of `DenseHead`."""
    return f"{_DENSE}.weight" in weights


def _linear(weights: Mapping[str, Tensor], name: str) -> nn.Linear:
    weight, bias = weights[f"{name}.weight"].float(), weights.get(f"{name}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.float().clone(), requires_grad=False)
    return layer
