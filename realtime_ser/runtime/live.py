"""The asyncio driver: audio at the pace of the world, analysis on the worker, wall-clock ledger."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from realtime_ser.core.events import Event
from realtime_ser.errors import AudioError, InferenceError
from realtime_ser.runtime.batching import AnalysisWorker, Outcome, Ticket
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Stream
from realtime_ser.types import SAMPLE_RATE_HZ, AudioChunk

_REMEMBERED_S = 60.0
"""How far back the clock knows when audio came: an utterance, its pauses and a slow final."""

_MAX_UNREAD_EVENTS = 1000
"""A consumer that is further behind stops the source from being read: memory stays bounded."""


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


async def run_live(
    source: AsyncIterable[AudioBlock],
    stream: Stream,
    clock: ArrivalClock,
    worker: AnalysisWorker,
    stop: asyncio.Event,
) -> AsyncGenerator[Event, None]:
    """Drive `stream`, whose clock must be `clock`, until `source` ends or `stop` is set.

    What was said up to then is still analysed and told.

    Raises:
        AudioError: the source failed, after everything that was recognised before it and a
            closing `session.closed` have been given out.
    """
    driver = _Driver(stream, clock, worker, stop)
    for event in stream.opening():
        yield event
    reader = asyncio.create_task(driver.read(source))
    reader.add_done_callback(driver.wake)
    try:
        while not (reader.done() and driver.all_told):
            await driver.something_to_tell()
            for event in driver.events():
                yield event
        failure = reader.result()
        for event in stream.closing("interrupted" if stop.is_set() else "eof", failure):
            yield event
        if failure:
            raise failure
    finally:
        reader.cancel()
        driver.take_all_back()


async def _until(
    stop: asyncio.Event, source: AsyncIterable[AudioBlock]
) -> AsyncGenerator[AudioBlock, None]:
    """The blocks of `source` until it ends or `stop` is set, also while a block is waited for."""
    blocks = aiter(source)
    stopped = asyncio.ensure_future(stop.wait())
    pending: asyncio.Future[AudioBlock] | None = None
    try:
        while True:
            pending = asyncio.ensure_future(anext(blocks))
            await asyncio.wait({pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return
            try:
                block = pending.result()
            except StopAsyncIteration:
                return
            yield block
    finally:
        stopped.cancel()
        if pending is not None and not pending.done():
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pending


class _Driver:
    def __init__(
        self, stream: Stream, clock: ArrivalClock, worker: AnalysisWorker, stop: asyncio.Event
    ) -> None:
        self._stream = stream
        self._stop = stop
        self._session = stream.session
        self._clock = clock
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[int, Ticket] = {}
        self._untold: list[Event] = []
        self._told = asyncio.Event()
        self._wake = asyncio.Event()
        self._reader_failed = False

    async def read(self, source: AsyncIterable[AudioBlock]) -> AudioError | None:
        """Feed the session; returns the error that ended the source, None when it just ended."""
        failure: AudioError | None = None
        try:
            async for block in _until(self._stop, source):
                captured_at_s = block.captured_at_s
                at_s = time.perf_counter() if captured_at_s is None else captured_at_s
                self._take(self._stream.cut(block), at_s)
                while len(self._untold) > _MAX_UNREAD_EVENTS:
                    self._told.clear()
                    await self._told.wait()
        except AudioError as error:
            failure = error
        self._take(self._stream.remainder(), time.perf_counter())
        self._session.receive_eof()
        self._work()
        return failure

    def wake(self, reader: asyncio.Task[AudioError | None]) -> None:
        """Called when the reader is done: nobody else would end the wait for something to tell."""
        self._reader_failed = not reader.cancelled() and reader.exception() is not None
        self._wake.set()

    @property
    def all_told(self) -> bool:
        """Whether nothing is left to say; also after a fault of the reader, which ends it all."""
        return self._reader_failed or (self._session.finished and not self._untold)

    async def something_to_tell(self) -> None:
        """Wait until there are events, or the reader is done."""
        await self._wake.wait()
        self._wake.clear()

    def events(self) -> list[Event]:
        """What is to be told now."""
        events, self._untold = self._untold, []
        self._told.set()
        return self._stream.stamped(events, time.perf_counter())

    def take_all_back(self) -> None:
        for ticket in self._tickets.values():
            self._worker.take_back(ticket)

    def _take(self, chunks: Iterable[AudioChunk], at_s: float) -> None:
        for chunk in chunks:
            self._clock.note(self._stream.received_samples, at_s)
            self._session.receive_audio(chunk)
            self._work()

    def _work(self) -> None:
        """Pass jobs and events on, and take back what has gone stale."""
        for job_id, ticket in list(self._tickets.items()):
            if not self._session.is_wanted(job_id) and self._worker.take_back(ticket):
                del self._tickets[job_id]
                self._session.receive_failure(job_id, "stale")
        for job in self._session.jobs_to_run():
            self._tickets[job.id] = self._worker.submit(
                job,
                lambda outcome, job_id=job.id: self._deliver(job_id, outcome),  # type: ignore[misc]
            )
        self._untold += self._session.events_received()
        if self._untold:
            self._wake.set()

    def _deliver(self, job_id: int, outcome: Outcome) -> None:
        """Called on the worker's thread."""
        try:
            self._loop.call_soon_threadsafe(self._answered, job_id, outcome)
        except RuntimeError:
            # the loop is closed: the stream was abandoned, and nobody waits for the answer
            return

    def _answered(self, job_id: int, outcome: Outcome) -> None:
        if self._tickets.pop(job_id, None) is None:
            return
        if isinstance(outcome, InferenceError):
            self._stream.fail(job_id, outcome)
        else:
            self._stream.answer(outcome, outcome.timings)
        self._work()
