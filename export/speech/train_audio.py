"""The training loop of the audio encoder.

Warm-up, a long constant learning rate, then a linear decay over the last part (Hägele et al.,
"Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024): unlike a
one-cycle schedule it can be stopped, resumed and lengthened without having planned for it. The
served weights are an exponential moving average; the best of them on dev is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..training.checkpoints import Resumable, Stateful, crossed, move_average
from ..training.context import Progress
from ..training.cpu import prepare_cpu
from ..training.muon import Muon
from ..training.optimisation import (
    average_decay_at,
    has_stalled,
    learning_rate_at,
    masked_cross_entropy,
)
from .audio_encoder import AudioEncoder
from .augment import Disguise
from .batches import POOL_BATCHES, Batch, BatchMaker
from .settings import AudioSettings, NetworkSettings

Score = Callable[[AudioEncoder], tuple[float, dict[str, float]]]
"""How good a network is on dev: the figure to choose by, and others worth telling."""


class Trainer(Resumable):
    """Everything that changes during training."""

    def __init__(self, settings: AudioSettings, folder: Path, seed: int) -> None:
        super().__init__(folder)
        torch.manual_seed(seed)
        self.settings, self.seed = settings, seed
        self.disguise = Disguise(settings.sound)
        self.model = AudioEncoder(settings.network)
        self.average = AudioEncoder(settings.network)
        self.average.load_state_dict(self.model.state_dict())
        self.average.eval()
        matrices, others = self.model.matrices_and_others()
        decay = settings.weight_decay
        self.muon = Muon(matrices, weight_decay=decay)
        self.adamw = torch.optim.AdamW(others, weight_decay=decay, fused=True)
        self.losses: list[float] = []

    def train_step(self, batch: Batch) -> None:
        """One optimiser step."""
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        self.model.train()
        rate = learning_rate_at(self.step, self.settings)
        self.adamw.param_groups[0]["lr"] = rate
        self.muon.param_groups[0]["lr"] = rate * self.settings.matrix_rate_factor
        with torch.no_grad():
            features = self.disguise.features(
                self.model.front_end, batch.power, batch.frames, batch.noise
            )
        loss = self._loss(features, batch)
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.muon.step()
        self.adamw.step()
        self.step += 1
        move_average(
            self.average, self.model, average_decay_at(self.step, self.settings.average_decay)
        )
        self.losses.append(loss.item())

    def _loss(self, features: Tensor, batch: Batch) -> Tensor:
        # Mixup (Zhang et al., 2018) with the loss mixed, not the targets: each side keeps the
        # label set of its own corpus.
        frames = batch.frames
        if torch.rand(()) >= self.settings.mixup_probability:
            logits, _ = self.model.encode(features, frames)
            return masked_cross_entropy(logits, batch.targets, batch.allowed).mean()
        share = torch.distributions.Beta(0.4, 0.4).sample((len(frames),))
        share = torch.maximum(share, 1 - share)
        other = torch.randperm(len(frames))
        weight = share[:, None, None]
        mixed = weight * features + (1 - weight) * features[other]
        logits, _ = self.model.encode(mixed, frames)
        own = masked_cross_entropy(logits, batch.targets, batch.allowed)
        second = masked_cross_entropy(logits, batch.targets[other], batch.allowed[other])
        return (share * own + (1 - share) * second).mean()

    def parts(self) -> dict[str, Stateful]:
        """See `Resumable`."""
        return {
            "model": self.model,
            "average": self.average,
            "muon": self.muon,
            "adamw": self.adamw,
        }

    def chosen(self, score: float) -> dict[str, Any]:
        """The averaged weights, and how they came about."""
        done = {"step": self.step, "seconds": self.seconds, "dev_recall": score}
        return {
            "encoder": self.average.settings.as_dict(),
            "weights": self.average.state_dict(),
            "training": asdict(self.settings) | done,
        }


def load_best(folder: Path) -> tuple[AudioEncoder, dict[str, Any]]:
    """The encoder of `best.pt`, in evaluation mode, and how it was trained."""
    state = torch.load(folder / "best.pt", weights_only=True)
    model = AudioEncoder(NetworkSettings(**state["encoder"]))
    model.load_state_dict(state["weights"])
    last = torch.load(folder / "last.pt", weights_only=True)
    totals = {"total_steps": last["step"], "total_seconds": last["seconds"]}
    return model.eval(), state["training"] | totals


def fit(
    maker: BatchMaker,
    score: Score,
    settings: AudioSettings,
    folder: Path,
    *,
    seed: int,
    threads: int,
    resume: bool,
    progress: Progress,
) -> None:
    """Train on what `maker` draws, choose by `score`; go on where `folder` was left.

    Writes last.pt and best.pt there at every evaluation.
    """
    prepare_cpu(threads)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings, folder, seed)
    if resume:
        trainer.restore()
    started = time.monotonic() - trainer.seconds
    while trainer.step < settings.steps and not has_stalled(
        trainer.step, trainer.best_step, settings
    ):
        for batch in maker.pool(trainer.step // POOL_BATCHES):
            trainer.train_step(batch)
        trainer.seconds = time.monotonic() - started
        recent = trainer.losses[-POOL_BATCHES:]
        progress.step(trainer.step, settings.steps, loss=sum(recent) / len(recent))
        if (
            crossed(trainer.step, settings.evaluate_every, POOL_BATCHES)
            or trainer.step >= settings.steps
        ):
            _evaluate(trainer, score, progress)
            trainer.save()


def _evaluate(trainer: Trainer, score: Score, progress: Progress) -> None:
    value, others = score(trainer.average)
    kept = trainer.keep_if_best(value)
    progress.record(
        step=trainer.step,
        minutes=round(trainer.seconds / 60, 1),
        loss=round(sum(trainer.losses) / len(trainer.losses), 4),
        dev_recall=round(value, 4),
        **{name: round(other, 3) for name, other in others.items()},
        kept=kept,
    )
    trainer.losses.clear()
