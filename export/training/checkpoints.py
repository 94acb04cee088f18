"""What a training run keeps on disk, so that it can be stopped at any time and go on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn


class Stateful(Protocol):
    """A module or an optimiser of torch."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes during training."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take it over."""


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write `path`, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def save_progress(path: Path, parts: Mapping[str, Stateful], counters: Mapping[str, float]) -> None:
    """Write the state of all parts and the counters, such as the step."""
    save_atomically({name: part.state_dict() for name, part in parts.items()} | {**counters}, path)


def restore_progress(path: Path, parts: Mapping[str, Stateful]) -> dict[str, Any] | None:
    """Put the parts in the state of `path` and return its counters; None where it is not there."""
    if not path.exists():
        return None
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state.pop(name))
    counters: dict[str, Any] = state
    return counters


class Resumable(ABC):
    """A training run in a folder: last.pt to go on from, best.pt the best on dev so far.

    Attributes:
        step, seconds: done and spent so far.
        best, best_step: the highest score on dev, and when it was.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.step, self.seconds = 0, 0.0
        self.best, self.best_step = -math.inf, 0

    @abstractmethod
    def parts(self) -> Mapping[str, Stateful]:
        """Everything that changes in training, but the counters."""

    @abstractmethod
    def chosen(self, score: float) -> dict[str, Any]:
        """What best.pt is to hold of the run as it is now."""

    def save(self) -> None:
        """Write last.pt, whole or not at all."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        save_progress(self.folder / "last.pt", self.parts(), counters)

    def restore(self) -> bool:
        """Go on from last.pt if it is there.

        Without best.pt beside it, every score is the best so far: a run that was copied elsewhere,
        to be trained on other data, is judged by that alone.
        """
        counters = restore_progress(self.folder / "last.pt", self.parts())
        if counters is None:
            return False
        for name in _COUNTERS:
            setattr(self, name, counters[name])
        if not (self.folder / "best.pt").exists():
            self.best = -math.inf
        return True

    def keep_if_best(self, score: float) -> bool:
        """Write best.pt unless an earlier score on dev was as high."""
        if score <= self.best:
            return False
        self.best, self.best_step = score, self.step
        save_atomically(self.chosen(score), self.folder / "best.pt")
        return True


_COUNTERS = ("step", "seconds", "best", "best_step")


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """An exponential moving average of the weights; what is counted, not learnt, is copied."""
    current = model.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])


def crossed(step: int, every: int, pool: int) -> bool:
    """Whether the `pool` steps that ended at `step` passed a multiple of `every`."""
    return step // every > (step - pool) // every
