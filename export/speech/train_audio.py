"""The training loop of the audio encoder.

Warm-up, a long constant learning rate, then a linear decay over the last part (Hägele et al.,
"Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024): unlike a
one-cycle schedule it can be stopped, resumed and lengthened without having planned for it. The
served weights are an exponential moving average; the best of them on dev is kept.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training.checkpoints import (
    Stateful,
    crossed,
    restore_progress,
    save_atomically,
    save_progress,
)
from ..training.corpora import TRAINING_CORPORA, Clip, check_speakers_disjoint, label_masks, select
from ..training.evaluate import mean_recall_over_corpora, predict
from .audio_cache import AudioCache
from .audio_encoder import AudioEncoder, EncoderConfig, parameter_count
from .augment import random_features
from .batches import POOL_BATCHES, Batch, BatchMaker, prefetched


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and how fast; `steps` and `evaluate_every` count optimiser steps."""

    steps: int = 5000
    batch_size: int = 32
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.03
    warmup_steps: int = 300
    decay_share: float = 0.35
    average_decay: float = 0.998
    mixup_probability: float = 0.25
    evaluate_every: int = 320
    noise_sounds: int = 150
    seed: int = 1
    threads: int = 1


def masked_cross_entropy(logits: Tensor, targets: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of each clip over the labels its corpus has: float32 [batch].

    logits and targets float32 [batch, labels], allowed bool [batch, labels].

    Not every corpus has every label (no *surprised* in CREMA-D, no *disgust* in nEMO). With one
    softmax over all labels, recognising the corpus would pay: it rules labels out. Leaving the
    absent ones out of the softmax makes that knowledge worthless, since no gradient ever says that
    a CREMA-D clip is not surprised. RAVDESS, which has all seven, ties the rest together.
    """
    log_probabilities = logits.masked_fill(~allowed, -1e4).log_softmax(1)
    return -(targets * log_probabilities).sum(1)


def learning_rate_at(step: int, config: TrainConfig) -> float:
    decay_steps = max(1, int(config.steps * config.decay_share))
    warm = min(1.0, (step + 1) / config.warmup_steps)
    cool = min(1.0, max(0.0, (config.steps - step) / decay_steps))
    return config.learning_rate * warm * cool


def keep_freed_memory() -> None:
    """Have glibc reuse large blocks instead of returning them to the system after each operation.

    Clearing fresh pages took up to half of a training step on a CPU. Elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


class Trainer:
    """Everything that changes during training, and how it is saved and restored."""

    def __init__(self, encoder: EncoderConfig, config: TrainConfig, folder: Path) -> None:
        torch.set_num_threads(config.threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self.model = AudioEncoder(encoder)
        self.average = AudioEncoder(encoder)
        self.average.load_state_dict(self.model.state_dict())
        self.average.eval()
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), weight_decay=config.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.best = -math.inf
        self.losses: list[float] = []

    def train_step(self, batch: Batch) -> float:
        """One optimiser step; returns the loss."""
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        with torch.no_grad():
            features, frames = random_features(self.model.front_end, batch.waveform, batch.lengths)
        loss = self._loss(features, frames, batch)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return loss.item()

    def _loss(self, features: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        # Mixup (Zhang et al., 2018) with the loss mixed, not the targets: each side keeps the
        # label set of its own corpus.
        if torch.rand(()) >= self.config.mixup_probability:
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
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
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
            "optimiser": self.optimiser,
        }

    def save(self) -> None:
        """Write `last.pt`, whole or not at all."""
        counters = {"step": self.step, "seconds": self.seconds, "best": self.best}
        save_progress(self.folder / "last.pt", self._parts(), counters)

    def restore(self) -> bool:
        """Continue from `last.pt` if it is there."""
        counters = restore_progress(self.folder / "last.pt", self._parts())
        if counters is None:
            return False
        self.step, self.seconds, self.best = (counters[n] for n in ("step", "seconds", "best"))
        return True

    def keep_if_best(self, score: float) -> bool:
        """Write the averaged weights to `best.pt` if no earlier score on dev was higher."""
        if score <= self.best:
            return False
        self.best = score
        state = {
            "encoder": self.average.config.as_dict(),
            "weights": self.average.state_dict(),
            "training": asdict(self.config)
            | {"step": self.step, "seconds": self.seconds, "dev_recall": score},
        }
        save_atomically(state, self.folder / "best.pt")
        return True


def load_best(folder: Path) -> tuple[AudioEncoder, dict[str, Any]]:
    """The encoder of `best.pt`, in evaluation mode, and how it was trained."""
    state = torch.load(folder / "best.pt", weights_only=True)
    model = AudioEncoder(EncoderConfig(**state["encoder"]))
    model.load_state_dict(state["weights"])
    last = torch.load(folder / "last.pt", weights_only=True)
    totals = {"total_steps": last["step"], "total_seconds": last["seconds"]}
    return model.eval(), state["training"] | totals


def train(
    clips: Sequence[Clip],
    audio: AudioCache,
    folder: Path,
    encoder: EncoderConfig,
    config: TrainConfig,
) -> None:
    """Train on the train split of the training corpora; choose on dev; never look at test.

    Resumes from `folder` and writes there: last.pt, best.pt, history.jsonl.
    """
    check_speakers_disjoint(clips)
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    masks = label_masks(clips)
    training = select(clips, TRAINING_CORPORA, ["train"])
    dev = select(clips, TRAINING_CORPORA, ["dev"])
    maker = BatchMaker(
        clips, training, audio, masks, config.batch_size, config.seed, config.noise_sounds
    )
    trainer = Trainer(encoder, config, folder)
    resumed = trainer.restore()
    print(
        f"{parameter_count(trainer.model):,} parameters, {len(training)} clips, "
        f"{'resumed at' if resumed else 'from'} step {trainer.step} of {config.steps}",
        flush=True,
    )
    started = time.monotonic() - trainer.seconds
    for pool in prefetched(maker, trainer.step // POOL_BATCHES):
        if trainer.step >= config.steps:
            break
        for batch in pool:
            trainer.losses.append(trainer.train_step(batch))
        trainer.seconds = time.monotonic() - started
        if sys.stderr.isatty() or crossed(trainer.step, config.evaluate_every // 6, POOL_BATCHES):
            rate = trainer.step / trainer.seconds
            print(f"step {trainer.step}/{config.steps}, {rate:.2f}/s", file=sys.stderr, flush=True)
        if (
            crossed(trainer.step, config.evaluate_every, POOL_BATCHES)
            or trainer.step >= config.steps
        ):
            _evaluate(trainer, clips, audio, dev, masks)
            trainer.save()


def _evaluate(
    trainer: Trainer,
    clips: Sequence[Clip],
    audio: AudioCache,
    dev: NDArray[np.int64],
    masks: dict[str, NDArray[np.bool_]],
) -> None:
    def run(waveform: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits, _ = trainer.average(torch.from_numpy(waveform), torch.from_numpy(lengths))
        out: NDArray[np.float32] = logits.numpy()
        return out

    logits = predict(run, [audio.utterance(int(i)) for i in dev])
    score, of_corpus = mean_recall_over_corpora(logits, [clips[i] for i in dev], masks)
    kept = trainer.keep_if_best(score)
    line = {
        "step": trainer.step,
        "minutes": round(trainer.seconds / 60, 1),
        "loss": round(float(np.mean(trainer.losses)), 4),
        "dev_recall": round(score, 4),
        **{corpus: round(value, 3) for corpus, value in of_corpus.items()},
        "kept": kept,
    }
    trainer.losses.clear()
    with (trainer.folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
