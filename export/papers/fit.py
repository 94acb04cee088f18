"""One training loop for the networks of all papers: epochs, early stopping, and going on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ExportError
from ..training.checkpoints import restore_progress, save_atomically, save_progress
from ..training.cpu import prepare_cpu
from ..training.metrics import unweighted_recall
from .bars import bar

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Inputs = Callable[[Indices], tuple[Tensor, ...]]
"""The network's arguments for some clips; the first axis of each counts them."""

OPTIMISERS = ("adam", "adamw", "rmsprop")
_SORTED_BATCHES = 8
_LENGTH = ("epochs", "patience")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a network is trained.

    Attributes:
        epochs: at most.
        batch_size: clips at once.
        learning_rate: at the start, after the warm-up.
        optimiser: one of `OPTIMISERS`.
        weight_decay: of the optimiser.
        accumulate: batches a step.
        warmup_steps: over which the rate rises from 0; it then falls to 0 along a line, as
            transformers' Trainer has it by default. 0 for neither.
        decay: the rate is multiplied with exp(-decay) every epoch, down to 1e-5; 0 for never.
        patience: epochs without a better dev figure after which it stops; 0 for never.
        weigh_classes: weigh the loss by the inverse of the class's share.
        seed: of the order and of dropout.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimiser: str = "adam"
    weight_decay: float = 0.0
    accumulate: int = 1
    warmup_steps: int = 0
    decay: float = 0.0
    patience: int = 0
    weigh_classes: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ExportError(
                f"there is no optimiser {self.optimiser!r}; use one of {', '.join(OPTIMISERS)}"
            )


def fit(
    network: nn.Module,
    inputs: Inputs,
    labels: Indices,
    train: Indices,
    dev: Indices,
    settings: FitSettings,
    folder: Path,
    title: str,
    lengths: Indices | None = None,
    *,
    learnt_before: bool = False,
) -> None:
    """Train the network and leave it with the weights of the epoch that was best on dev.

    Goes on where it was stopped: `folder` holds last.pt and best.pt, written after every epoch.
    What was begun there with other settings is begun again.

    Args:
        inputs: see `Inputs`.
        labels: int64 [n] of all clips.
        train, dev: places among the n.
        title: of the progress bar.
        lengths: int64 [n], of sequences that are padded to the longest of their batch: the clips
            of a batch are then about as long as each other.
        learnt_before: the network as it is given counts as an epoch, too.
    """
    goes_on(folder, settings)
    prepare_cpu(torch.get_num_threads())
    learnt = [weight for weight in network.parameters() if weight.requires_grad]
    if not learnt:
        return
    optimiser = _optimiser(learnt, settings)
    steps = math.ceil(len(train) / settings.batch_size / settings.accumulate) * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _rate(step, steps, settings)
    )
    loss = nn.CrossEntropyLoss(_class_weights(labels[train]) if settings.weigh_classes else None)
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    known = restore_progress(folder / "last.pt", parts) or {"epoch": 0, "best": -1.0, "at": 0}
    epoch, best, at = int(known["epoch"]), float(known["best"]), int(known["at"])

    def recall() -> float:
        scores = predict(network, inputs, dev, settings.batch_size, lengths)
        return unweighted_recall(scores.argmax(1), labels[dev]) if len(dev) else float(epoch)

    if learnt_before and not epoch:
        best = recall()
        save_atomically(network.state_dict(), folder / "best.pt")
    while epoch < settings.epochs and not (settings.patience and epoch - at >= settings.patience):
        # The order depends on the epoch alone, so that a run that was stopped has the same.
        rng = np.random.default_rng([settings.seed, epoch])
        torch.manual_seed(settings.seed * 10_007 + epoch)
        network.train()
        batches = _batches(rng, train, settings.batch_size, lengths)
        _epoch(network, inputs, labels, batches, settings, loss, optimiser, schedule,
               f"{title}, epoch {epoch + 1} of {settings.epochs}")  # fmt: skip
        if settings.decay:
            factor = math.exp(-settings.decay * (epoch + 1))
            for group in optimiser.param_groups:
                group["lr"] = max(settings.learning_rate * factor, 1e-5)
        epoch += 1
        found = recall()
        if found > best:
            best, at = found, epoch
            save_atomically(network.state_dict(), folder / "best.pt")
        save_progress(folder / "last.pt", parts, {"epoch": epoch, "best": best, "at": at})
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    network.eval()


def goes_on(folder: Path, settings: FitSettings) -> bool:
    """Whether `folder` has what `fit` can go on with: no other settings, but for a longer run.

    What was trained otherwise is forgotten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    same = {name: value for name, value in asdict(settings).items() if name not in _LENGTH}
    path, wanted = folder / "settings.json", json.dumps(same, indent=1)
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        (folder / "last.pt").unlink(missing_ok=True)
        path.write_text(wanted, encoding="utf-8")
    return (folder / "last.pt").is_file()


def predict(
    network: nn.Module,
    inputs: Inputs,
    clips: Indices,
    batch_size: int,
    lengths: Indices | None = None,
    asked: Callable[..., Tensor] | None = None,
    title: str = "answers",
) -> Floats:
    """Scores float32 [n, labels] of some clips, or what else the network has, [n, ...].

    Args:
        lengths: as in `fit`.
        asked: a method of the network, instead of itself.
        title: of the progress bar.
    """
    network.eval()
    size = max(batch_size, 32)
    order = np.arange(len(clips)) if lengths is None else _by_length(clips, lengths)
    with torch.no_grad():
        parts = [
            (asked or network)(*inputs(clips[order[start : start + size]])).numpy()
            for start in bar(range(0, len(clips), size), title, brief=True)
        ]
    if not parts:
        return np.zeros((0, 1), np.float32)
    scores = np.concatenate(parts)
    out = np.empty_like(scores)
    out[order] = scores
    return out


def rows_of(*arrays: NDArray[np.float32]) -> Inputs:
    """`Inputs` that are rows of arrays in memory."""
    tensors = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays]
    return lambda clips: tuple(tensor[torch.from_numpy(clips)] for tensor in tensors)


def _by_length(clips: Indices, lengths: Indices) -> Indices:
    return np.argsort(lengths[clips], kind="stable")


def _batches(
    rng: np.random.Generator, train: Indices, size: int, lengths: Indices | None
) -> list[Indices]:
    """The clips of each step, in random order; sorted by length, a few batches at a time."""
    order = rng.permutation(train)
    if lengths is not None:
        window = size * _SORTED_BATCHES
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([part[_by_length(part, lengths)] for part in parts])
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    # A last batch of one clip has no variance for batch normalisation to divide by.
    kept = [batch for batch in batches if len(batch) > 1]
    return kept if lengths is None else [kept[place] for place in rng.permutation(len(kept))]


def _epoch(
    network: nn.Module,
    inputs: Inputs,
    labels: Indices,
    batches: Sequence[Indices],
    settings: FitSettings,
    loss: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    title: str,
) -> None:
    optimiser.zero_grad()
    for count, clips in enumerate(bar(batches, title, brief=True), 1):
        scores = network(*inputs(clips))
        (loss(scores, torch.from_numpy(labels[clips])) / settings.accumulate).backward()
        if count % settings.accumulate == 0 or count == len(batches):
            optimiser.step()
            optimiser.zero_grad()
            if settings.warmup_steps:
                schedule.step()


def _optimiser(weights: Sequence[Tensor], settings: FitSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(weights, lr=rate, weight_decay=decay)
    # In batches of 8 half the time of a small head went into the many small steps of the other one.
    made = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    return made(weights, lr=rate, weight_decay=decay, fused=True)


def _rate(step: int, steps: int, settings: FitSettings) -> float:
    # A warm-up that is longer than the whole training would never reach the rate.
    warmup = min(settings.warmup_steps, steps // 4)
    if not settings.warmup_steps:
        return 1.0
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))


def _class_weights(labels: Indices) -> Tensor:
    counts = np.maximum(np.bincount(labels), 1)
    return torch.from_numpy((len(labels) / (len(counts) * counts)).astype(np.float32))
