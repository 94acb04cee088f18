"""What the training loops of speech, text and transcriber have in common."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Schedule(Protocol):
    """Settings of a loop; `decay_share` is the last part of the steps, in which the rate falls."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def decay_share(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...


def learning_rate_at(step: int, schedule: Schedule) -> float:
    """Warm-up, a constant rate, and a linear decay to 0.

    Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations",
    2024.
    """
    decay_steps = max(1, int(schedule.steps * schedule.decay_share))
    warm = min(1.0, (step + 1) / schedule.warmup_steps)
    cool = min(1.0, max(0.0, (schedule.steps - step) / decay_steps))
    return schedule.learning_rate * warm * cool


class Patience(Protocol):
    """Settings of a loop that may stop `patience` evaluations after the best; 0 for never."""

    @property
    def patience(self) -> int: ...
    @property
    def evaluate_every(self) -> int: ...


def has_stalled(step: int, best_step: int, settings: Patience) -> bool:
    """Whether nothing better came for so long that training is to stop."""
    return 0 < settings.patience * settings.evaluate_every <= step - best_step


def average_decay_at(step: int, decay: float) -> float:
    """Of the moving average of weights: the first steps count less, or it would start at noise."""
    return min(decay, (1 + step) / (10 + step))


def masked_cross_entropy(logits: Tensor, targets: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of each row over its corpus's labels: float32 [batch]; 0 of targets all 0.

    logits and targets float32 [batch, labels], allowed bool [batch, labels].

    Not every corpus has every label (no *surprised* in CREMA-D, no *disgust* in nEMO). With one
    softmax over all labels, recognising the corpus would pay: it rules labels out. Leaving the
    absent ones out of the softmax makes that knowledge worthless, since no gradient ever says that
    a CREMA-D clip is not surprised. RAVDESS, which has all seven, ties the rest together.
    """
    log_probabilities = logits.masked_fill(~allowed, -1e4).log_softmax(1)
    return -(targets * log_probabilities).sum(1)
