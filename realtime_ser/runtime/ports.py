"""What a driver needs of the world, as protocols; the adapters live in `models` and `io`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from realtime_ser.types import Analysis, AnalysisJob


class Analyzer(Protocol):
    """Answers jobs. One instance a process, called from one thread at a time."""

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        """Answer `jobs` in their order; all are of one kind.

        Raises:
            InferenceError: the models failed; none of the jobs is answered.
        """
        ...
