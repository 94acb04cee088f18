"""The asyncio driver: audio at the pace of the world, wall-clock ledger, an event loop kept free.

A `LiveStream` is fed from the loop and tells its events on it, and computes nothing there. Speech
detection (a network, too) and resampling are done on a thread for intake, models run on the
worker's, and the session in between is touched by either, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from realtime_ser.core.events import EmotionFinal, Event, WarningEvent
from realtime_ser.errors import AudioError, InferenceError, RealtimeSERError
from realtime_ser.runtime.batching import AnalysisWorker, Outcome, Ticket
from realtime_ser.runtime.inbox import inbox_of
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Notice, Stream
from realtime_ser.types import SAMPLE_RATE_HZ

_REMEMBERED_S = 60.0
"""How far back the clock knows when audio came: an utterance, its pauses and a slow final."""

_MAX_UNREAD_EVENTS = 1000
"""A consumer that is further behind stops the source from being read: memory stays bounded."""

_MAX_WAITING_FINALS = 8
"""Utterances that wait for their analysis; with more, a stream takes no audio until one is told."""

_PIECE_S = 0.25
"""Audio is worked off in pieces of this length at most: nobody waits long for the session."""


class ArrivalClock:
    """Knows when each sample was heard, from when the blocks came."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, float]] = deque()

    def note(self, received_samples: float, at_s: float) -> None:
        """Everything up to `received_samples` (16 kHz) had been heard at `at_s`."""
        self._arrivals.append((received_samples, at_s))
        while self._arrivals[0][1] < at_s - _REMEMBERED_S:
            self._arrivals.popleft()

    def heard_at(self, sample: int) -> float:
        """When everything before `sample` had sounded: a block's age is that of its last sample."""
        end, at_s = self._block_of(sample)
        return at_s - (end - sample) / SAMPLE_RATE_HZ

    def arrived_at(self, sample: int) -> float:
        """When the block that brought the last sample before `sample` came."""
        return self._block_of(sample)[1]

    def _block_of(self, sample: int) -> tuple[float, float]:
        end, at_s = 0.0, 0.0
        for earlier_end, earlier_at_s in reversed(self._arrivals):
            if earlier_end < sample and end:
                break
            end, at_s = earlier_end, earlier_at_s
        return end, at_s


class LiveStream:
    """One stream that is fed on an event loop.

    Args:
        stream: opened, with `clock` as its clock; this owns it from here on.
        worker: runs its jobs.
        intake: runs what listening costs besides; its threads may be shared.
        tell: called on the loop with events, in their order.
    """

    def __init__(
        self,
        stream: Stream,
        clock: ArrivalClock,
        worker: AnalysisWorker,
        intake: Executor,
        tell: Callable[[list[Event]], None],
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._worker = worker
        self._intake = intake
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox_of(self._loop)
        self._lock = threading.Lock()
        """Held by whoever touches the stream; seldom for more than a few milliseconds."""
        self._tickets: dict[int, Ticket] = {}
        self._ended = False
        self._lagging = False
        self._room = asyncio.Event()
        self._finished = asyncio.Event()

    async def feed(self, block: AudioBlock) -> None:
        """Take the next audio; waits while too much of it is still to be analysed.

        Audio after `finish` is dropped.

        Raises:
            AudioUnsupportedError: the audio cannot be taken.
        """
        captured_at_s = block.captured_at_s
        at_s = time.perf_counter() if captured_at_s is None else captured_at_s
        for piece in _pieces(block):
            await self._has_room()
            await self._listen(self._take, piece, at_s)

    async def finish(
        self, reason: str, error: RealtimeSERError | None = None, notice: Notice | None = None
    ) -> None:
        """End the stream: what was said is analysed and told, then `session.closed`.

        Args:
            error: what ended it, if it did not end by itself.
            notice: something to be told before.
        """
        await self._listen(self._end)
        await self._finished.wait()
        with self._lock:
            self._tell(self._stream.closing(reason, error, notice))

    def abandon(self) -> None:
        """Nobody listens any more: take back what waits, drop what comes."""
        with self._lock:
            self._ended = True
            for ticket in self._tickets.values():
                self._worker.take_back(ticket)
            self._tickets.clear()
        self._room.set()

    async def _has_room(self) -> None:
        # cleared before the look: what is told after the look sets it again
        self._room.clear()
        while not self._ended and self._stream.session.waiting_finals >= _MAX_WAITING_FINALS:
            await self._room.wait()
            self._room.clear()

    def _listen(self, work: Callable[..., None], *arguments: Any) -> asyncio.Future[None]:
        """Have `work` done on a thread for intake; as `run_in_executor`, at half its cost."""
        done = self._loop.create_future()
        self._intake.submit(self._do, done, work, arguments)
        return done

    # on the threads

    def _do(
        self, done: asyncio.Future[None], work: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        failure: Exception | None = None
        try:
            work(*arguments)
        except Exception as error:  # whoever waits for the work raises it
            failure = error
        self._inbox.post(_settle, done, failure)

    def _take(self, block: AudioBlock, at_s: float) -> None:
        with self._lock:
            if self._ended:
                return
            for chunk in self._stream.cut(block):
                self._clock.note(self._stream.received_samples, at_s)
                self._stream.session.receive_audio(chunk)
                self._work()

    def _end(self) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                for chunk in self._stream.remainder():
                    self._clock.note(self._stream.received_samples, time.perf_counter())
                    self._stream.session.receive_audio(chunk)
                self._stream.session.receive_eof()
                self._work()

    def _deliver(self, job_id: int, outcome: Outcome) -> None:
        with self._lock:
            if self._tickets.pop(job_id, None) is None:
                return
            if isinstance(outcome, InferenceError):
                self._stream.fail(job_id, outcome)
            else:
                self._stream.answer(outcome, outcome.timings)
            self._work()

    def _work(self) -> None:
        """Pass jobs and events on, and take back what has gone stale."""
        session = self._stream.session
        for job_id, ticket in list(self._tickets.items()):
            if not session.is_wanted(job_id) and self._worker.take_back(ticket):
                del self._tickets[job_id]
                session.receive_failure(job_id, "stale")
        for job in session.jobs_to_run():
            self._tickets[job.id] = self._worker.submit(
                job,
                lambda outcome, job_id=job.id: self._deliver(job_id, outcome),  # type: ignore[misc]
                stream=id(self),
            )
        events = self._stamped(session.events_received())
        if events or session.finished:
            self._inbox.post(self._pass_on, events, session.finished)

    def _stamped(self, events: list[Event]) -> list[Event]:
        if not events:
            return []
        now_s = time.perf_counter()
        stamped = self._stream.stamped(events, now_s)
        finals = [event for event in stamped if isinstance(event, EmotionFinal)]
        warnings = [warning for final in finals if (warning := self._lag_warning(final))]
        return stamped + self._stream.stamped(warnings, now_s)

    def _lag_warning(self, final: EmotionFinal) -> WarningEvent | None:
        """Said when finals begin to come late, and not again until they came in time."""
        account = final.timings
        assert account is not None  # it was stamped
        late_ms = account.end_of_speech_to_emit - account.critical["hangover"]
        limit_ms = self._stream.settings.lag_warning_ms
        was_lagging, self._lagging = self._lagging, late_ms > limit_ms / (1 + self._lagging)
        if was_lagging or not self._lagging:
            return None
        return WarningEvent(
            audio_end=final.audio_end,
            code="lagging",
            message=f"results come {late_ms / 1000:.1f} s late: there is more to do than this "
            "machine can, or audio comes faster than real time; a smaller transcription model "
            "costs less, and so do partials switched off",
        )

    # on the loop

    def _pass_on(self, events: list[Event], finished: bool) -> None:
        self._room.set()
        if events:
            self._tell(events)
        if finished:
            self._finished.set()


def _settle(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.done():
        return  # nobody waits any more
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


async def run_live(
    source: AsyncIterable[AudioBlock],
    stream: Stream,
    clock: ArrivalClock,
    worker: AnalysisWorker,
    intake: Executor,
    stop: asyncio.Event,
) -> AsyncGenerator[Event, None]:
    """Drive `stream`, whose clock must be `clock`, until `source` ends or `stop` is set.

    What was said up to then is still analysed and told.

    Raises:
        AudioError: the source failed, after everything that was recognised before it and a
            closing `session.closed` have been given out.
    """
    untold: deque[Event] = deque()
    changed = asyncio.Event()
    told = asyncio.Event()

    def tell(events: list[Event]) -> None:
        untold.extend(events)
        changed.set()

    live = LiveStream(stream, clock, worker, intake, tell)

    async def read() -> AudioError | None:
        failure: AudioError | None = None
        try:
            async for block in _until(stop, source):
                await live.feed(block)
                while len(untold) > _MAX_UNREAD_EVENTS:
                    told.clear()
                    await told.wait()
        except AudioError as error:
            failure = error
        await live.finish("interrupted" if stop.is_set() else "eof", failure)
        return failure

    tell(stream.opening())
    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: changed.set())
    try:
        while untold or not reader.done():
            await changed.wait()
            changed.clear()
            while untold:
                yield untold.popleft()
            told.set()
        failure = reader.result()
        if failure:
            raise failure
    finally:
        reader.cancel()
        live.abandon()


async def _until(
    stop: asyncio.Event, source: AsyncIterable[AudioBlock]
) -> AsyncGenerator[AudioBlock, None]:
    """The blocks of `source` until it ends or `stop` is set, also while a block is waited for.

    A block that the source has given by then is still handed on: it may have been recorded.
    """
    blocks = aiter(source)
    stopped = asyncio.ensure_future(stop.wait())
    pending: asyncio.Future[AudioBlock] | None = None
    try:
        while True:
            pending = asyncio.ensure_future(anext(blocks))
            await asyncio.wait({pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if pending.done():
                try:
                    yield pending.result()
                except StopAsyncIteration:
                    return
            if stopped.done():
                return
    finally:
        stopped.cancel()
        if pending is not None and not pending.done():
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pending


def _pieces(block: AudioBlock) -> Iterator[AudioBlock]:
    length = max(1, round(_PIECE_S * block.sample_rate_hz))
    if len(block.samples) <= length:
        yield block
        return
    lost_samples = block.lost_samples
    for start in range(0, len(block.samples), length):
        yield replace(
            block, samples=block.samples[start : start + length], lost_samples=lost_samples
        )
        lost_samples = 0
