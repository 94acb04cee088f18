"""What a training run keeps on disk, so that it can be stopped at any time and go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch


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


def crossed(step: int, every: int, pool: int) -> bool:
    """Whether the `pool` steps that ended at `step` passed a multiple of `every`."""
    return step // every > (step - pool) // every
