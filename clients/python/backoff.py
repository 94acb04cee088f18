"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with full jitter: each wait is drawn from 0 to a ceiling that doubles.

    Drawing from the whole range keeps a thousand clients of a server that was restarted from
    coming back at once (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Attributes:
        first_s: ceiling of the first wait.
        maximum_s: the ceiling stops here.
    """

    first_s: float = 0.25
    maximum_s: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.first_s <= self.maximum_s < float("inf"):
            raise ValueError(
                f"first_s {self.first_s} and maximum_s {self.maximum_s} of a backoff must be "
                "0 or more, the first not above the second"
            )

    def waits_s(self, rng: random.Random | None = None) -> Iterator[float]:
        """Seconds to wait before each attempt, without end."""
        rng = rng or random.Random()
        ceiling_s = self.first_s
        while True:
            yield rng.uniform(0, ceiling_s)
            ceiling_s = min(2 * ceiling_s, self.maximum_s)
