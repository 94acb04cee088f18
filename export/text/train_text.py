"""The training loop of the text encoder.

The rate warms up, stays, and falls in a line (Hägele et al., "Scaling Laws and Compute-Optimal
Training Beyond Fixed Training Durations", 2024). The served weights are an exponential moving
average; of them the best on dev.

The losses: cross-entropy of the seven emotions, of each row over those that its corpus can tell
apart; of the labels that each corpus calls its own; squared error of valence, arousal, dominance.
How frequent a corpus has each emotion is added to the logits in training only (logit adjustment:
Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021): what it is that makes half of
television dialogue neutral and hardly any tweet is then no business of the words.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..training.checkpoints import Resumable, Stateful, move_average
from ..training.context import Progress
from ..training.optimisation import (
    average_decay_at,
    has_stalled,
    learning_rate_at,
    masked_cross_entropy,
)
from .batches import (
    Batch,
    Encoded,
    allowed_emotions,
    allowed_own,
    batches,
    corpus_weights,
    label_logs,
)
from .labels import CORPORA, UNDIVIDED
from .network import TextEncoder
from .settings import NetworkSettings, TextSettings

Score = Callable[[TextEncoder], tuple[float, Mapping[str, float]]]
"""How good a network is on dev: one number to choose by, and figures to tell."""

_LARGEST_GRADIENT = 1.0
# A rare token moves by about rate / sqrt(1 - beta2) each time it is seen: with the usual 0.999 by
# thirty times the learning rate, which learns its rows by heart.
_BETAS = (0.9, 0.98)


def standard_scores(encoded: Encoded) -> tuple[Encoded, NDArray[np.float32]]:
    """Affect of each corpus in standard scores of its own raters.

    Returns:
        the rows, and mean and standard deviation, float32 [corpora, 2, 3], NaN where not rated.
    """
    affect = encoded.affect.copy()
    scales = np.full((len(CORPORA), 2, affect.shape[1]), np.nan, np.float32)
    with warnings.catch_warnings():
        # Of dimensions that no row of a corpus has; they stay NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        for number in np.unique(encoded.corpus):
            rows = encoded.corpus == number
            scales[number] = np.nanmean(affect[rows], 0), np.nanstd(affect[rows], 0)
            affect[rows] = (affect[rows] - scales[number, 0]) / scales[number, 1]
    return replace(encoded, affect=affect), scales


class Losses:
    """The loss of a batch."""

    def __init__(self, encoded: Encoded, settings: TextSettings, prior: Tensor) -> None:
        self.settings = settings
        self.allowed = torch.from_numpy(allowed_emotions())
        self.allowed_own = torch.from_numpy(allowed_own())
        self.logs = torch.from_numpy(label_logs(encoded))
        self.logs[[CORPORA.index(name) for name in UNDIVIDED]] = prior

    def __call__(self, model: TextEncoder, batch: Batch) -> Tensor:
        settings = self.settings
        embedding = model.encode(batch.input_ids, batch.attention_mask)
        allowed = self.allowed[batch.corpus]
        targets = smoothed(batch.emotions, allowed, settings.label_smoothing)
        logits = model.emotion(embedding) + self.logs[batch.corpus]
        shared = masked_cross_entropy(logits, targets, allowed).mean()
        own = masked_cross_entropy(
            model.own_labels(embedding), batch.own, self.allowed_own[batch.corpus]
        ).mean()
        rated = ~batch.affect.isnan()
        errors = (model.affect(embedding) - batch.affect.nan_to_num()).square() * rated
        affect = errors.sum() / len(rated)
        return shared + settings.own_weight * own + settings.affect_weight * affect


def smoothed(targets: Tensor, allowed: Tensor, share: float) -> Tensor:
    """`share` of each target spread evenly over what is allowed; rows without one stay 0."""
    even = allowed / allowed.sum(1, keepdim=True).clamp(min=1)
    return targets * (1 - share) + share * targets.sum(1, keepdim=True) * even


class Trainer(Resumable):
    """Everything that changes during training."""

    def __init__(self, model: TextEncoder, settings: TextSettings, folder: Path) -> None:
        super().__init__(folder)
        self.model, self.settings = model, settings
        self.average = copy.deepcopy(model).eval()
        blocks = list(model.blocks.parameters())
        rest = [p for name, p in model.named_parameters() if not name.startswith("blocks.")]
        groups = [{"params": rest, "factor": 1.0}]
        if blocks:
            groups.append({"params": blocks, "factor": settings.block_rate})
        # Fused: one pass over the embeddings instead of ten, a third of the time of a step.
        self.optimiser = torch.optim.AdamW(
            groups, betas=_BETAS, weight_decay=settings.weight_decay, fused=True
        )

    def train_step(self, batch: Batch, losses: Losses, seed: int) -> float:
        """One optimiser step; returns the loss."""
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(seed * 1_000_003 + self.step)
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = group["factor"] * learning_rate_at(self.step, self.settings)
        loss = losses(self.model, batch)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _LARGEST_GRADIENT)
        self.optimiser.step()
        self.step += 1
        move_average(
            self.average, self.model, average_decay_at(self.step, self.settings.average_decay)
        )
        return loss.item()

    def parts(self) -> dict[str, Stateful]:
        """See `Resumable`."""
        return {"model": self.model, "average": self.average, "optimiser": self.optimiser}

    def chosen(self, score: float) -> dict[str, Any]:
        """The averaged network, as `load_network` reads it."""
        return {
            "network": self.average.settings.as_dict(),
            "weights": self.average.state_dict(),
            "facts": {"step": self.step, "dev_score": score},
        }


def fit(
    model: TextEncoder,
    encoded: Encoded,
    settings: TextSettings,
    folder: Path,
    *,
    seed: int,
    progress: Progress,
    resume: bool = True,
    score: Score | None = None,
) -> TextEncoder:
    """Train `model`; affect of `encoded` is in standard scores.

    Args:
        folder: for last.pt and best.pt; a run that was stopped goes on from there.
        score: chooses among the checkpoints; without it the last one is taken.

    Returns:
        the chosen network, averaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in ("last.pt", "best.pt"):
            (folder / name).unlink(missing_ok=True)
    trainer = Trainer(model, settings, folder)
    trainer.restore()
    losses = Losses(encoded, settings, model.prior)
    chances = corpus_weights(encoded, settings)
    stream = batches(
        encoded, chances, settings.batch_size, settings.spoken_share, seed, trainer.step
    )
    started = time.monotonic() - trainer.seconds
    recent: list[float] = []
    while trainer.step < settings.steps and not has_stalled(
        trainer.step, trainer.best_step, settings
    ):
        recent.append(trainer.train_step(next(stream), losses, seed))
        trainer.seconds = time.monotonic() - started
        rate = trainer.step * settings.batch_size / trainer.seconds
        progress.step(trainer.step, settings.steps, sentences_per_second=rate)
        if trainer.step % settings.evaluate_every == 0 or trainer.step == settings.steps:
            value, figures = score(trainer.average) if score else (float(trainer.step), {})
            progress.record(
                step=trainer.step,
                minutes=round(trainer.seconds / 60, 1),
                loss=round(float(np.mean(recent)), 4),
                kept=trainer.keep_if_best(value),
                **figures,
            )
            recent.clear()
            trainer.save()
    return load_network(folder / "best.pt")


def load_network(path: Path) -> TextEncoder:
    """The network of a best.pt, in evaluation mode."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model = TextEncoder(NetworkSettings(**state["network"]))
    model.load_state_dict(state["weights"])
    return model.eval()
