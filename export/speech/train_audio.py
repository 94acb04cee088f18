"""The training loop of the audio encoder.

Warm-up, a long constant learning rate, then a linear decay over the last part (Hägele et al.,
"Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024): unlike a
one-cycle schedule it can be stopped, resumed and lengthened without having planned for it. The
served weights are an exponential moving average; the best of them on dev is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..training.checkpoints import (
    Stateful,
    crossed,
    restore_progress,
    save_atomically,
    save_progress,
)
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

_COUNTERS = ("step", "seconds", "best", "best_step")
Score = Callable[[AudioEncoder], tuple[float, dict[str, float]]]
"""How good a network is on dev: the figure to choose by, and others worth telling."""


class Trainer:
    """Everything that changes during training, and how it is saved and restored."""

    def __init__(self, settings: AudioSettings, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.settings, self.folder, self.seed = settings, folder, seed
        self.disguise = Disguise(settings.sound)
        self.model = AudioEncoder(settings.network)
        self.average = AudioEncoder(settings.network)
        self.average.load_state_dict(self.model.state_dict())
        self.average.eval()
        matrices, others = self.model.matrices_and_others()
        decay = settings.weight_decay
        self.muon = Muon(matrices, weight_decay=decay)
        self.adamw = torch.optim.AdamW(others, weight_decay=decay, fused=True)
        self.step = 0
        self.seconds = 0.0
        self.best, self.best_step = -math.inf, 0
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
        self._update_average()
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

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = average_decay_at(self.step, self.settings.average_decay)
        current = self.model.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])

    def _parts(self) -> dict[str, Stateful]:
        return {
            "model": self.model,
            "average": self.average,
            "muon": self.muon,
            "adamw": self.adamw,
        }

    def save(self) -> None:
        """Write `last.pt`, whole or not at all."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        save_progress(self.folder / "last.pt", self._parts(), counters)

    def restore(self) -> bool:
        """Continue from `last.pt` if it is there."""
        counters = restore_progress(self.folder / "last.pt", self._parts())
        if counters is None:
            return False
        for name in _COUNTERS:
            setattr(self, name, counters[name])
        return True

    def keep_if_best(self, score: float) -> bool:
        """Write the averaged weights to `best.pt` if no earlier score on dev was higher."""
        if score <= self.best:
            return False
        self.best, self.best_step = score, self.step
        state = {
            "encoder": self.average.settings.as_dict(),
            "weights": self.average.state_dict(),
            "training": asdict(self.settings)
            | {"step": self.step, "seconds": self.seconds, "dev_recall": score},
        }
        save_atomically(state, self.folder / "best.pt")
        return True


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
