"""Muon: gradient descent whose step turns every direction of a weight matrix equally far.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale that lets
it take AdamW's learning rate and weight decay is of Liu et al., "Muon is Scalable for LLM
Training", 2025. torch's own (`torch.optim.Muon`) goes one matrix after the other, in bfloat16,
which CPUs without it emulate; here matrices of one shape go together, in float32.

What it is worth here: the audio encoder is after 800 steps (dev UA 45 %) further than with AdamW
after 1,600 (40 %). Later the lead shrinks: 63.0 against 59.2 % after 4,800 steps, for which the
corpora were drawn and disguised a little otherwise, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_ITERATIONS = 5
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_ADAMW_SIZE = 0.2
"""Root mean square of what AdamW changes a weight by, in learning rates."""


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix of each, roughly: float32 [n, rows, columns].

    Newton and Schulz' iteration, with Jordan's coefficients, which bring singular values near 1
    (0.7 to 1.2) in five rounds and not to it.
    """
    rows, columns = matrices.shape[1:]
    x = matrices if rows <= columns else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = _LINEAR * x + (_CUBIC * gram + _QUINTIC * (gram @ gram)) @ x
    return x if rows <= columns else x.mT


class Muon(torch.optim.Optimizer):
    """For the matrices between hidden layers; all else is AdamW's."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], *, weight_decay: float, momentum: float = 0.95
    ) -> None:
        defaults = {"lr": 0.0, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(matrices, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step at each group's `lr`; every matrix must have a gradient."""
        for group in self.param_groups:
            alike = defaultdict(list)
            for matrix in group["params"]:
                alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                moves = torch.stack([self._momentum(m, group["momentum"]) for m in matrices])
                size = _ADAMW_SIZE * max(shape) ** 0.5 * group["lr"]
                for matrix, turn in zip(matrices, orthogonalised(moves), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(turn, alpha=size)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov's: the running mean of the gradients as it will be after this one again."""
        state = self.state[matrix]
        if not state:
            state["mean"] = torch.zeros_like(matrix)
        mean: Tensor = state["mean"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)
