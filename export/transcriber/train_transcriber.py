"""The training loop of the miniature transcriber.

A standard Whisper loop (cross-entropy on the decoder's tokens) with one addition for a start from
nothing: a second, connectionist loss on the encoder, over letters (Kim, Hori & Watanabe, "Joint
CTC-attention based end-to-end speech recognition", ICASSP 2017). It teaches the encoder where
sounds are before the decoder has learnt where to look; its one layer is thrown away afterwards. A
published encoder may teach it, too (`teacher`). Matrices between hidden layers learn by Muon. The
written weights are an exponential moving average, and the best of them on dev is kept.
"""

from __future__ import annotations

import copy
import json
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
from ..training.checkpoints import Resumable, Stateful, crossed, move_average
from ..training.cpu import prepare_cpu
from ..training.muon import Muon
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
from .teacher import Hints
from .text_batches import IGNORED, Mixture, TextBatch, TextBatchMaker
from .transcripts import Recording

Score = Callable[[Any, Tokenizer], float]
"""The word error rate of a network on dev, as it will be served."""


@dataclass(frozen=True, slots=True)
class TranscriberConfig:
    """How long and how fast; `steps` and `evaluate_every` count optimiser steps.

    `window_s` is what the transcriber hears at a time, in whole seconds; `emphasis` are factors for
    corpora, and for sentences by how they begin, to be drawn more often than the others. `teacher`
    is a published encoder whose states are foretold (`teacher.Hints`), or none.
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
    matrix_rate_factor: float = 1.5
    teacher: str | None = None
    hint_weight: float = 0.5
    evaluate_every: int = 800
    save_every: int = 160
    window_s: int = 8
    seed: int = 1
    threads: int = 1
    mixture: Mixture = field(default_factory=Mixture)
    augmentation: Augmentation = field(default_factory=Augmentation)
    emphasis: dict[str, float] = field(default_factory=dict)


class TranscriberTrainer(Resumable):
    """Everything that changes during training. A score is a word error rate, negative."""

    def __init__(
        self,
        sizes: WhisperSizes,
        tokenizer: Tokenizer,
        letters: int,
        config: TranscriberConfig,
        folder: Path,
    ) -> None:
        super().__init__(folder)
        torch.manual_seed(config.seed)
        self.config, self.tokenizer, self.sizes = config, tokenizer, sizes
        self.network = build_network(sizes, tokenizer)
        self.blank = letters
        self.alignment = torch.nn.Linear(sizes.width, letters + 1)
        self.average = copy.deepcopy(self.network).eval()
        self.hints = Hints(config.teacher, sizes.width) if config.teacher else None
        learnt = [self.network, self.alignment, *([self.hints] if self.hints else [])]
        self.parameters = [
            each for part in learnt for each in part.parameters() if each.requires_grad
        ]
        matrices = [
            each for name, each in self.network.named_parameters()
            if ".layers." in name and each.ndim == 2 and each.requires_grad
        ]  # fmt: skip
        hidden = {id(each) for each in matrices}
        self.muon = Muon(matrices, weight_decay=config.weight_decay)
        self.adamw = torch.optim.AdamW(
            [each for each in self.parameters if id(each) not in hidden],
            weight_decay=config.weight_decay, betas=(0.9, 0.98),
        )  # fmt: skip
        self.losses: list[tuple[float, ...]] = []

    def train_step(self, batch: TextBatch) -> None:
        """One optimiser step."""
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.network.train()
        rate = learning_rate_at(self.step, self.config)
        self.adamw.param_groups[0]["lr"] = rate
        self.muon.param_groups[0]["lr"] = rate * self.config.matrix_rate_factor
        encoded = encode(self.network, batch.features)
        logits = decode(self.network, encoded, batch.tokens)
        text_loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            batch.labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.config.label_smoothing,
        )
        alignment_loss = self._alignment_loss(encoded, batch)
        hint_loss = self.hints(encoded, batch) if self.hints else torch.zeros(())
        loss = text_loss + self.config.connectionist_weight * alignment_loss
        loss = loss + self.config.hint_weight * hint_loss
        for each in (self.muon, self.adamw):
            each.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 2.0)
        for each in (self.muon, self.adamw):
            each.step()
        self.step += 1
        move_average(
            self.average, self.network, average_decay_at(self.step, self.config.average_decay)
        )
        self.losses.append((text_loss.item(), alignment_loss.item(), hint_loss.item()))

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

    def parts(self) -> dict[str, Stateful]:
        """See `Resumable`."""
        return {
            "network": self.network,
            "alignment": self.alignment,
            "average": self.average,
            "muon": self.muon,
            "adamw": self.adamw,
            **({"hints": self.hints} if self.hints else {}),
        }

    def chosen(self, score: float) -> dict[str, Any]:
        """The averaged weights, and how they came about."""
        return {
            "sizes": asdict(self.sizes),
            "weights": self.average.state_dict(),
            "training": {"step": self.step, "seconds": self.seconds, "dev_score": -score},
        }


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
    if trainer.hints:
        trainer.hints.prepare(batch for number in range(3) for batch in maker.pool(number))
    started = time.monotonic() - trainer.seconds
    for pool in prefetched(maker, trainer.step // POOL_BATCHES):
        if trainer.step >= config.steps:
            break
        for batch in pool:
            trainer.train_step(batch)
        trainer.seconds = time.monotonic() - started
        ended = trainer.step >= config.steps
        if ended or crossed(trainer.step, config.save_every, POOL_BATCHES):
            text, alignment, hint = np.mean(trainer.losses[-config.save_every :], axis=0)
            rate = trainer.step / trainer.seconds
            print(
                f"step {trainer.step}/{config.steps}, {rate:.2f}/s, loss {text:.3f}, "
                f"alignment {alignment:.3f}, hints {hint:.3f}",
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
    text, alignment, hint = np.mean(trainer.losses, axis=0)
    line = {
        "step": trainer.step,
        "minutes": round(trainer.seconds / 60, 1),
        "loss": round(float(text), 4),
        "alignment_loss": round(float(alignment), 4),
        "hint_loss": round(float(hint), 4),
        "dev_score": round(score, 4),
        "kept": trainer.keep_if_best(-score),
    }
    trainer.losses.clear()
    with (trainer.folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
