"""The asyncio driver: audio at the pace of the world, wall-clock ledger, an event loop kept free.

A `LiveStream` is fed from the loop and tells its events on it, and computes nothing there. Speech
detection (a network, too) and resampling are done on the intake's thread, models run on the
worker's, and the session in between is touched by either, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Sequence
from dataclasses import replace

from realtime_ser.core.events import EmotionFinal, Event, WarningEvent
from realtime_ser.core.framing import Frame, Gap, SpeechDetector
from realtime_ser.errors import AudioError, InferenceError, RealtimeSERError
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.batching import AnalysisWorker, Outcome, Ticket
from realtime_ser.runtime.inbox import inbox_of
from realtime_ser.runtime.intake import Intake
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Notice, Stream
from realtime_ser.types import JobKind, Judgement, Samples

_MAX_UNREAD_EVENTS = 1000
"""A consumer that is further behind stops the source from being read: memory stays bounded."""

_MAX_WAITING_FINALS = 8
"""Utterances that wait for their analysis; with more, a stream takes no audio until one is told."""

_PIECE_S = 0.25
"""Audio is worked off in pieces of this length, about: nobody waits long for the session."""

_MAX_WAITING_PIECES = 8
"""With more of them, a stream is said to have no room; a message of a client is one, or several."""


class LiveStream:
    """One stream that is fed on an event loop.

    Args:
        stream: opened, with `clock` as its clock; this owns it from here on.
        worker: runs its jobs.
        intake: listens for it, and may do so for others.
        tell: called on the loop with events, in their order.
    """

    def __init__(
        self,
        stream: Stream,
        clock: ArrivalClock,
        worker: AnalysisWorker,
        intake: Intake,
        tell: Callable[[list[Event]], None],
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._worker = worker
        self._intake = intake
        self._tell = tell
        self._inbox = inbox_of(asyncio.get_running_loop())
        self._lock = threading.Lock()
        """Held by whoever touches the stream; seldom for more than a few milliseconds."""
        self._pieces: deque[tuple[AudioBlock, float]] = deque()
        """Audio that waits, each piece with when it was captured."""
        self._pushed = self._taken = 0
        """Pieces; counted by the loop and by the intake, which need no lock to see what is left."""
        self._frames: list[Frame | Gap] = []
        """What was cut and is being judged."""
        self._tickets: dict[int, Ticket] = {}
        self._closing = False
        """No more audio is accepted."""
        self._ended = False
        """The session has been told so, or nobody listens any more."""
        self._fault: Exception | None = None
        self._lagging = False
        self._is_waited_for = False
        self._changed = asyncio.Event()
        self._finished = asyncio.Event()

    def push(self, block: AudioBlock) -> None:
        """Hand in the next audio, for which there should be room.

        Audio after `finish` is dropped.
        """
        if self._closing:
            return
        captured_at_s = block.captured_at_s
        at_s = time.perf_counter() if captured_at_s is None else captured_at_s
        for piece in _pieces(block):
            self._pieces.append((piece, at_s))
            self._pushed += 1
        self._intake.schedule(self)

    async def has_room(self) -> None:
        """Wait while too much of what was pushed waits itself.

        Raises:
            AudioUnsupportedError: some of it could not be taken, and what came after it was
                dropped; said once.
        """
        await self._until_waiting(_MAX_WAITING_PIECES - 1)

    async def all_taken(self) -> None:
        """Wait until all that was pushed has been listened to; errors as `has_room`."""
        await self._until_waiting(0)

    async def feed(self, block: AudioBlock) -> None:
        """Push, and wait until it has been taken; errors as `has_room`."""
        self.push(block)
        await self.all_taken()

    async def finish(
        self, reason: str, error: RealtimeSERError | None = None, notice: Notice | None = None
    ) -> None:
        """End the stream: what was said is analysed and told, then `session.closed`.

        Args:
            error: what ended it, if it did not end by itself.
            notice: something to be told before.
        """
        self._closing = True
        self._intake.schedule(self)
        await self._finished.wait()
        if self._fault is not None and not isinstance(self._fault, AudioError):
            raise self._fault
        with self._lock:
            self._tell(self._stream.closing(reason, error, notice))

    def abandon(self) -> None:
        """Nobody listens any more: take back what waits, drop what comes."""
        with self._lock:
            self._closing = self._ended = True
            self._pieces.clear()
            for ticket in self._tickets.values():
                self._worker.take_back(ticket)
            self._tickets.clear()
        self._changed.set()

    async def _until_waiting(self, count: int) -> None:
        """Wait until at most `count` pieces wait."""
        while self._pushed - self._taken > count and self._fault is None and not self._ended:
            # cleared and noted before the next look: what is taken after the look wakes us
            self._changed.clear()
            self._is_waited_for = True
            if self._pushed - self._taken > count and self._fault is None:
                await self._changed.wait()
        fault = self._fault
        if isinstance(fault, AudioError):
            self._fault = None
        if fault is not None:
            raise fault

    # on the thread of the intake

    @property
    def detector(self) -> SpeechDetector:
        """See `Listening`, as for those that follow."""
        return self._stream.session.detector

    @property
    def has_work(self) -> bool:
        """More audio, or its end; none while too many utterances wait for the models."""
        if self._pieces:
            return self._stream.session.waiting_finals < _MAX_WAITING_FINALS
        return self._closing and not self._ended

    def cut(self) -> list[Samples | None]:
        """As much as makes up one long piece, if that much waits."""
        seconds = 0.0
        with self._lock:
            while self.has_work and self._pieces and seconds < _PIECE_S:
                block, at_s = self._pieces.popleft()
                seconds += len(block.samples) / block.sample_rate_hz
                try:
                    self._cut(block, at_s)
                except Exception as error:
                    self._failed(error)
                self._taken += 1
        return [frame.samples for frame in self._frames]

    def _cut(self, block: AudioBlock, at_s: float) -> None:
        for chunk in self._stream.cut(block):
            self._clock.note(self._stream.received_samples, at_s)
            self._frames += self._stream.session.cut(chunk)

    def take(self, judgements: Sequence[Judgement]) -> None:
        """Take the frames, ask and tell what follows from them, and end if that was all."""
        with self._lock:
            frames, self._frames = self._frames, []
            try:
                self._take(frames, judgements)
            except Exception as error:
                self._failed(error)
        self._wake()

    def _take(self, frames: list[Frame | Gap], judgements: Sequence[Judgement]) -> None:
        if self._ended:
            return
        session = self._stream.session
        session.receive_frames(frames, judgements)
        if self._closing and not self._pieces:
            self._ended = True
            for chunk in self._stream.remainder():
                self._clock.note(self._stream.received_samples, time.perf_counter())
                session.receive_audio(chunk)
            session.receive_eof()
        self._work()

    def fail(self, error: Exception) -> None:
        """What was cut cannot be judged: a fault of ours."""
        with self._lock:
            self._frames = []
            self._failed(error)
        self._wake()

    def _failed(self, error: Exception) -> None:
        """What waits behind a fault is dropped."""
        self._fault = error
        self._taken += len(self._pieces)
        self._pieces.clear()
        if not isinstance(error, AudioError):
            self._ended = True
            self._inbox.post(self._finished.set)

    def _wake(self) -> None:
        if self._is_waited_for:
            self._is_waited_for = False
            self._inbox.post(self._changed.set)

    # on the threads of the worker and of the intake

    def _deliver(self, job_id: int, outcome: Outcome) -> None:
        with self._lock:
            if self._tickets.pop(job_id, None) is None:
                return
            if isinstance(outcome, InferenceError):
                self._stream.fail(job_id, outcome)
            else:
                self._stream.answer(outcome, outcome.timings)
            self._work()
        if self._pieces and self.has_work:
            # it may have been held up by its own finals
            self._intake.schedule(self)

    def _work(self) -> None:
        """Pass jobs and events on, and take back what has gone stale."""
        session = self._stream.session
        for job_id, ticket in list(self._tickets.items()):
            if not session.is_wanted(job_id) and self._worker.take_back(ticket):
                del self._tickets[job_id]
                session.receive_failure(job_id, "stale")
            elif ticket.job.kind is JobKind.SPECULATIVE and session.is_due(job_id):
                self._worker.promote(ticket)
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
        if events:
            self._tell(events)
        if finished:
            self._finished.set()


async def run_live(
    source: AsyncIterable[AudioBlock],
    stream: Stream,
    clock: ArrivalClock,
    worker: AnalysisWorker,
    intake: Intake,
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
