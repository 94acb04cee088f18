"""One worker owns the models and does the work of all streams.

Sessions live on the event loop and never compute. Their jobs wait here by kind: finals go before
speculative ones, those before partials, first come first served within a kind; what runs together
is of one kind. Whoever asked may take a job back as long as it waits, which is how stale partials
and speculation that was talked over cost nothing under load.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from realtime_ser.errors import InferenceError
from realtime_ser.runtime.ports import Analyzer
from realtime_ser.types import Analysis, AnalysisJob, JobKind

Outcome = Analysis | InferenceError

_ORDER = (JobKind.FINAL, JobKind.SPECULATIVE, JobKind.PARTIAL)


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A job that was handed in; `deliver` is called once, on the worker's thread."""

    job: AnalysisJob
    deliver: Callable[[Outcome], None]


class AnalysisWorker:
    """A thread that owns an analyzer.

    Args:
        max_batch: how many jobs of one kind may run together.
    """

    def __init__(self, analyzer: Analyzer, *, max_batch: int = 8) -> None:
        self._analyzer = analyzer
        self._max_batch = max_batch
        self._waiting: dict[JobKind, deque[Ticket]] = {kind: deque() for kind in _ORDER}
        self._changed = threading.Condition()
        self._closing = False
        # a daemon: an interpreter that exits on an error must not hang on a model that computes
        self._thread = threading.Thread(target=self._run, name="analysis", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what runs, drop what waits, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def submit(self, job: AnalysisJob, deliver: Callable[[Outcome], None]) -> Ticket:
        """Hand in a job."""
        ticket = Ticket(job, deliver)
        with self._changed:
            self._waiting[job.kind].append(ticket)
            self._changed.notify()
        return ticket

    def take_back(self, ticket: Ticket) -> bool:
        """Withdraw a job; False when it runs or ran already, and will be or was delivered."""
        with self._changed:
            try:
                self._waiting[ticket.job.kind].remove(ticket)
            except ValueError:
                return False
            return True

    def _run(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)

    def _next_batch(self) -> list[Ticket]:
        """The next jobs to run together; empty when the worker is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or any(self._waiting.values()))
            if self._closing:
                return []
            queue = next(self._waiting[kind] for kind in _ORDER if self._waiting[kind])
            return [queue.popleft() for _ in range(min(self._max_batch, len(queue)))]

    def _answer(self, batch: list[Ticket]) -> None:
        try:
            analyses = self._analyzer.analyze([ticket.job for ticket in batch])
        except Exception as error:
            if len(batch) > 1:
                # one bad utterance must not cost the others theirs
                for ticket in batch:
                    self._answer([ticket])
                return
            # also what no analyzer should raise: a session that waits for ever is worse
            batch[0].deliver(
                error
                if isinstance(error, InferenceError)
                else InferenceError(f"the analysis failed unexpectedly: {error!r}; report this")
            )
            return
        for ticket, analysis in zip(batch, analyses, strict=True):
            ticket.deliver(analysis)
