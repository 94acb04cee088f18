"""The training loop of the miniature transcriber.

A standard Whisper loop (cross-entropy on the decoder's tokens) with one addition for a start from
nothing: a second, connectionist loss on the encoder, over letters (Kim, Hori & Watanabe, "Joint
CTC-attention based end-to-end speech recognition", ICASSP 2017). It teaches the encoder where
sounds are before the decoder has learnt where to look; its one layer is thrown away afterwards. The
written weights are an exponential moving average, and the best of them on dev is kept.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..speech.batches import POOL_BATCHES
from ..training.checkpoints import (
    Stateful,
    crossed,
    restore_progress,
    save_atomically,
    save_progress,
)
from ..training.cpu import prepare_cpu
from ..training.optimisation import average_decay_at, learning_rate_at
from ..training.prefetch import prefetched
from .log_mel import Augmentation, FeatureCache
from .small_whisper import (
    AUDIO_POSITIONS,
    WhisperSizes,
    build_network,
    decode,
    encode,
    parameter_count,
    train_tokenizer,
)
from .text_batches import IGNORED, Mixture, TextBatch, TextBatchMaker
from .transcripts import Recording

Score = Callable[[Any, Tokenizer], float]
"""The word error rate of a network on dev, as it will be served."""


@dataclass(frozen=True, slots=True)
class TranscriberConfig:
    """How long and how fast; `steps` and `evaluate_every` count optimiser steps.

    `window_s` is what the transcriber hears at a time, in whole seconds; `emphasis` are factors for
    corpora, and for sentences by how they begin, to be drawn more often than the others.
    """

    steps: int = 4000
    batch_size: int = 32
    learning_rate: float = 2.2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 250
    decay_share: float = 0.3
    average_decay: float = 0.995
    label_smoothing: float = 0.1
    connectionist_weight: float = 0.5
    evaluate_every: int = 800
    save_every: int = 160
    window_s: int = 8
    seed: int = 1
    threads: int = 1
    mixture: Mixture = field(default_factory=Mixture)
    augmentation: Augmentation = field(default_factory=Augmentation)
    emphasis: dict[str, float] = field(default_factory=dict)


class TranscriberTrainer:
    """Everything that changes during training, and how it is saved and restored."""

    def __init__(
        self,
        sizes: WhisperSizes,
        tokenizer: Tokenizer,
        letters: int,
        config: TranscriberConfig,
        folder: Path,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.tokenizer, self.sizes = config, folder, tokenizer, sizes
        self.network = build_network(sizes, tokenizer)
        self.blank = letters
        self.alignment = torch.nn.Linear(sizes.width, letters + 1)
        self.average = copy.deepcopy(self.network).eval()
        parameters = [*self.network.parameters(), *self.alignment.parameters()]
        self.parameters = [each for each in parameters if each.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.step = 0
        self.seconds = 0.0
        self.best = math.inf
        self.losses: list[tuple[float, float]] = []

    def train_step(self, batch: TextBatch) -> None:
        """One optimiser step."""
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        encoded = encode(self.network, batch.features)
        logits = decode(self.network, encoded, batch.tokens)
        text_loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            batch.labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.config.label_smoothing,
        )
        alignment_loss = self._alignment_loss(encoded, batch)
        loss = text_loss + self.config.connectionist_weight * alignment_loss
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 2.0)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        self.losses.append((text_loss.item(), alignment_loss.item()))

    def _alignment_loss(self, encoded: Tensor, batch: TextBatch) -> Tensor:
        known = [i for i, letters in enumerate(batch.letters) if letters]
        if not known:
            return encoded.sum() * 0
        letters = [batch.letters[i] for i in known]
        # A place behind the end, for a blank where the last letter needs it.
        positions = (batch.lengths[known] // 2 + 1).clamp(max=encoded.shape[1])
        logits = self.alignment(encoded[known, : int(positions.max())])
        return torch.nn.functional.ctc_loss(
            logits.log_softmax(2).transpose(0, 1),
            torch.tensor([letter for row in letters for letter in row]),
            positions,
            torch.tensor([len(row) for row in letters]),
            blank=self.blank,
            zero_infinity=True,
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = average_decay_at(self.step, self.config.average_decay)
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        for averaged, current in pairs:
            averaged.lerp_(current, 1 - decay)

    def _parts(self) -> dict[str, Stateful]:
        return {
            "network": self.network,
            "alignment": self.alignment,
            "average": self.average,
            "optimiser": self.optimiser,
        }

    def save(self) -> None:
        """Write `last.pt`, whole or not at all."""
        counters = {"step": self.step, "seconds": self.seconds, "best": self.best}
        save_progress(self.folder / "last.pt", self._parts(), counters)

    def restore(self) -> bool:
        """Continue from `last.pt` if it is there.

        Without a `best.pt` beside it, the score to beat is none: a run that was copied elsewhere to
        be trained on other data is judged by that alone.
        """
        counters = restore_progress(self.folder / "last.pt", self._parts())
        if counters is None:
            return False
        self.step, self.seconds, self.best = (counters[n] for n in ("step", "seconds", "best"))
        if not (self.folder / "best.pt").exists():
            self.best = math.inf
        return True

    def keep_if_best(self, score: float) -> bool:
        """Write the averaged weights to `best.pt` unless an earlier score on dev was lower."""
        if score >= self.best:
            return False
        self.best = score
        state = {
            "sizes": asdict(self.sizes),
            "weights": self.average.state_dict(),
            "training": {"step": self.step, "seconds": self.seconds, "dev_score": score},
        }
        save_atomically(state, self.folder / "best.pt")
        return True


def load_best(folder: Path) -> tuple[Any, Tokenizer, dict[str, Any]]:
    """The network of `best.pt`, its tokenizer, and how it was trained."""
    state = torch.load(folder / "best.pt", weights_only=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    network = build_network(WhisperSizes(**state["sizes"]), tokenizer)
    network.load_state_dict(state["weights"])
    return network.eval(), tokenizer, state["training"]


def train(
    recordings: Sequence[Recording],
    features: FeatureCache,
    folder: Path,
    sizes: WhisperSizes,
    config: TranscriberConfig,
    score: Score,
) -> None:
    """Train on the train split, choose by `score`, which is to look at dev alone.

    Resumes from `folder` and writes there: tokenizer.json, last.pt, best.pt, history.jsonl.
    """
    prepare_cpu(config.threads)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(recordings, folder, sizes)
    training = np.array([i for i, each in enumerate(recordings) if each.split == "train"], np.int64)
    maker = TextBatchMaker(
        recordings,
        training,
        features,
        tokenizer,
        batch_size=config.batch_size,
        window_s=config.window_s,
        padded_s=PADDED_S,
        mixture=config.mixture,
        augmentation=config.augmentation,
        seed=config.seed,
        emphasis=config.emphasis,
    )
    trainer = TranscriberTrainer(sizes, tokenizer, len(maker.alphabet), config, folder)
    resumed = trainer.restore()
    print(
        f"{parameter_count(trainer.network):,} parameters, {len(training)} recordings of "
        f"{len(maker.words)} sentences, {'resumed at' if resumed else 'from'} step {trainer.step} "
        f"of {config.steps}",
        flush=True,
    )
    started = time.monotonic() - trainer.seconds
    for pool in prefetched(maker, trainer.step // POOL_BATCHES):
        if trainer.step >= config.steps:
            break
        for batch in pool:
            trainer.train_step(batch)
        trainer.seconds = time.monotonic() - started
        ended = trainer.step >= config.steps
        if ended or crossed(trainer.step, config.save_every, POOL_BATCHES):
            text, alignment = np.mean(trainer.losses[-config.save_every :], axis=0)
            rate = trainer.step / trainer.seconds
            print(
                f"step {trainer.step}/{config.steps}, {rate:.2f}/s, loss {text:.3f}, "
                f"alignment {alignment:.3f}",
                flush=True,
            )
        if ended or crossed(trainer.step, config.evaluate_every, POOL_BATCHES):
            _report(trainer, score(trainer.average, tokenizer))
        if ended or crossed(trainer.step, config.save_every, POOL_BATCHES):
            trainer.save()


PADDED_S = AUDIO_POSITIONS / 25
"""What plain faster-whisper pads to: all positions, of which there are 25 a second."""


def _tokenizer(recordings: Sequence[Recording], folder: Path, sizes: WhisperSizes) -> Tokenizer:
    """That of an earlier run, which its weights belong to, or a new one."""
    path = folder / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    texts = sorted({each.text for each in recordings if each.text and each.split == "train"})
    tokenizer = train_tokenizer(texts, sizes.text_tokens)
    tokenizer.save(str(path))
    return tokenizer


def _report(trainer: TranscriberTrainer, score: float) -> None:
    text, alignment = np.mean(trainer.losses, axis=0)
    line = {
        "step": trainer.step,
        "minutes": round(trainer.seconds / 60, 1),
        "loss": round(float(text), 4),
        "alignment_loss": round(float(alignment), 4),
        "dev_score": round(score, 4),
        "kept": trainer.keep_if_best(score),
    }
    trainer.losses.clear()
    with (trainer.folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
