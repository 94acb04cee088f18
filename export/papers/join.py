"""Fusion heads (`fusion.heads`) trained as the papers train theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..bundles.centroids import centroids
from ..fusion.answers import Answers
from ..fusion.heads import Fusion, build
from .fit import FitSettings, Indices, fit, predict, rows_of

Floats = NDArray[np.float32]


class _Scores(nn.Module):
    """A fusion as `fit` takes it: scores alone."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, audio: Tensor, text: Tensor, present: Tensor) -> Tensor:
        return self.fusion.scores(audio, text, present)[0]


def with_logits(answers: Answers, logits: Floats) -> Answers:
    """The answers of an encoder with the logits of a head that was trained on this task."""
    return replace(answers, logits=logits.astype(np.float32))


def join(
    strategy: str,
    heard: Answers,
    read: Answers,
    labels: Indices,
    train: Indices,
    dev: Indices,
    settings: FitSettings,
    folder: Path,
    *,
    dropout: float = 0.0,
    names: Sequence[str] = (),
) -> tuple[Fusion, Floats]:
    """Train one head, or go on; gives it with its scores of all n clips, float32 [n, labels].

    Args:
        heard, read: of the n clips. Logits count for the strategies that join them; for the others
            any of the right width will do.
        labels: int64 [n].
        names: of the labels, where affect is wanted of the head as well.
    """
    torch.manual_seed(settings.seed)
    head = build(strategy, heard.layout, read.layout, dropout=dropout)
    # Affect is no matter of the papers' heads: the point of the label, or else the centre.
    points = list(centroids(names).values()) if names else [[0.5, 0.5, 0.5]] * heard.layout.labels
    fusion = Fusion(head, heard.layout, read.layout, points, arousal_strength=0.0, text_affect=0.0)
    for name, embedding in (("audio", heard.embedding), ("text", read.embedding)):
        getattr(fusion, f"{name}_mean").copy_(torch.from_numpy(embedding[train].mean(0)))
        spread = embedding[train].std(0) + 1e-3
        getattr(fusion, f"{name}_deviation").copy_(torch.from_numpy(spread.astype(np.float32)))
    network = _Scores(fusion)
    present = np.ones(len(labels), np.float32)
    inputs = rows_of(_wide(heard), _wide(read), present)
    fit(network, inputs, labels, train, dev, settings, folder, strategy)
    return fusion, predict(network, inputs, np.arange(len(labels)), 256)


def _wide(answers: Answers) -> Floats:
    """What stands side by side in a wide embedding, in the order of `Layout`."""
    return np.concatenate([answers.embedding, answers.logits, answers.affect], axis=1)
