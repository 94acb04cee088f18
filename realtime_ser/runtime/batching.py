"""One worker owns the models and does the work of all streams.

Sessions never compute. Their jobs wait here by kind: finals go before speculative ones, those
before partials. Within a kind the streams take turns, each with its jobs in their order, so that
one that sends an hour at once does not make the others wait for it. What runs together is of one
kind and of much the same length: the shorter ones of a batch are padded to the longest. A batch
never waits for company (the design's `max_wait_ms`): while one runs, the next one gathers, and
without load waiting would be all that it does. Partial transcripts come last of all and one at a
time: they gain nothing from company, and a final that comes up meanwhile waits for one at most.

Where finals are transcribed, there are two threads. Whisper takes longer than all else together, so
partials, which want no words, do not wait behind it; and what is transcribed runs alone, for one
utterance is no faster in company and would be told only when the last one is done.

Whoever asked may take a job back as long as it waits, which is how stale partials and speculation
that was talked over cost nothing under load. Nor does other speculation: as long as finals wait it
is not begun, and one whose utterance has ended meanwhile is a final like others (`promote`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Self

from realtime_ser.errors import InferenceError
from realtime_ser.runtime.ports import Analyzer, answers
from realtime_ser.types import AnalysisJob, Answer, JobKind

Outcome = Answer | InferenceError
Observer = Callable[[JobKind, Sequence[Answer]], None]

_ORDER = (JobKind.FINAL, JobKind.SPECULATIVE, JobKind.PARTIAL, JobKind.PARTIAL_TRANSCRIPT)
_TRANSCRIBED = (JobKind.FINAL, JobKind.SPECULATIVE, JobKind.PARTIAL_TRANSCRIPT)


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A job that was handed in; `deliver` is called once, on the worker's thread."""

    job: AnalysisJob
    deliver: Callable[[Outcome], None]
    stream: Hashable


@dataclass(slots=True)
class _Line:
    """The jobs of one kind and one stream; `since_s` is when the first of them became the first."""

    tickets: deque[Ticket]
    since_s: float


class _Lane:
    """A thread's share of the work: which kinds, in which order."""

    def __init__(self, kinds: tuple[JobKind, ...], lock: threading.Lock) -> None:
        self.kinds = kinds
        self.changed = threading.Condition(lock)


class AnalysisWorker:
    """A thread that owns an analyzer, or two.

    Args:
        max_batch: how many jobs may run together.
        transcribes: the analyzer transcribes all but partials. These then have a thread of their
            own, and the others run one at a time.

    Attributes:
        observer: told of every batch that was answered, on the thread that ran it.
    """

    def __init__(
        self, analyzer: Analyzer, *, max_batch: int = 8, transcribes: bool = False
    ) -> None:
        self.observer: Observer | None = None
        self._analyzer = analyzer
        self._max_batch = max_batch
        # by kind, then by stream in the order of their turns
        self._waiting: dict[JobKind, dict[Hashable, _Line]] = {kind: {} for kind in _ORDER}
        self._alone = set(_TRANSCRIBED) if transcribes else {JobKind.PARTIAL_TRANSCRIPT}
        self._lock = threading.Lock()
        shares = [_TRANSCRIBED, (JobKind.PARTIAL,)] if transcribes else [_ORDER]
        self._lanes = [_Lane(kinds, self._lock) for kinds in shares]
        self._closing = False
        # daemons: an interpreter that exits on an error must not hang on a model that computes
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name="analysis", daemon=True)
            for lane in self._lanes
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what runs, drop what waits, and end the threads."""
        with self._lock:
            self._closing = True
            for lane in self._lanes:
                lane.changed.notify()
        for thread in self._threads:
            thread.join()

    def submit(
        self, job: AnalysisJob, deliver: Callable[[Outcome], None], stream: Hashable = None
    ) -> Ticket:
        """Hand in a job of `stream`."""
        ticket = Ticket(job, deliver, stream)
        with self._lock:
            self._join(ticket, job.kind)
            next(lane for lane in self._lanes if job.kind in lane.kinds).changed.notify()
        return ticket

    def take_back(self, ticket: Ticket) -> bool:
        """Withdraw a job; False when it runs or ran already, and will be or was delivered."""
        with self._lock:
            return self._leave(ticket, ticket.job.kind) or self._leave(ticket, JobKind.FINAL)

    def promote(self, ticket: Ticket) -> None:
        """Have a speculative job wait as a final from now on, if it still waits as what it was."""
        with self._lock:
            if self._leave(ticket, JobKind.SPECULATIVE):
                self._join(ticket, JobKind.FINAL)

    def _join(self, ticket: Ticket, kind: JobKind) -> None:
        lines = self._waiting[kind]
        if ticket.stream not in lines:
            lines[ticket.stream] = _Line(deque(), time.perf_counter())
        lines[ticket.stream].tickets.append(ticket)

    def _leave(self, ticket: Ticket, kind: JobKind) -> bool:
        lines = self._waiting[kind]
        line = lines.get(ticket.stream)
        if line is None or ticket not in line.tickets:
            return False
        line.tickets.remove(ticket)
        if not line.tickets:
            del lines[ticket.stream]
        return True

    def waiting(self, kind: JobKind) -> int:
        """How many jobs of a kind wait."""
        with self._lock:
            return sum(len(line.tickets) for line in self._waiting[kind].values())

    def final_wait_s(self) -> float:
        """How long a final has been the next of its stream without being run, at most; 0 if none.

        A stream that sends faster than real time waits behind itself; that does not count.
        """
        with self._lock:
            now_s = time.perf_counter()
            lines = self._waiting[JobKind.FINAL].values()
            return max((now_s - line.since_s for line in lines), default=0.0)

    def _run(self, lane: _Lane) -> None:
        while batch := self._next_batch(lane):
            self._answer(batch)

    def _next_batch(self, lane: _Lane) -> list[Ticket]:
        """The next jobs to run together; empty when the worker is to end."""

        def next_kind() -> JobKind | None:
            return next((kind for kind in lane.kinds if self._waiting[kind]), None)

        with self._lock:
            lane.changed.wait_for(lambda: self._closing or next_kind() is not None)
            kind = next_kind()
            if self._closing or kind is None:
                return []
            lines = self._waiting[kind]
            batch = [_take_turn(lines, next(iter(lines)))]
            bucket = _bucket(batch[0])
            while len(batch) < self._max_batch and kind not in self._alone:
                fitting = [s for s, line in lines.items() if _bucket(line.tickets[0]) == bucket]
                if not fitting:
                    break
                batch.append(_take_turn(lines, fitting[0]))
            return batch

    def _answer(self, batch: list[Ticket]) -> None:
        try:
            answered = answers(self._analyzer, [ticket.job for ticket in batch])
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
        if self.observer is not None:
            self.observer(batch[0].job.kind, answered)
        for ticket, answer in zip(batch, answered, strict=True):
            ticket.deliver(answer)


def _take_turn(lines: dict[Hashable, _Line], stream: Hashable) -> Ticket:
    """Take the first job of `stream`, whose next turn then comes after all others'."""
    line = lines.pop(stream)
    ticket = line.tickets.popleft()
    if line.tickets:
        lines[stream] = _Line(line.tickets, time.perf_counter())
    return ticket


def _bucket(ticket: Ticket) -> int:
    """Utterances whose lengths have the same power of two are at most twice as long as others."""
    return len(ticket.job.utterance.samples).bit_length()
