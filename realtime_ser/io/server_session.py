"""One session of the server; it outlives its connections."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from realtime_ser.config import ServerSettings, Settings
from realtime_ser.core.events import Event, Pong, SessionResumed
from realtime_ser.core.options import SessionConfig
from realtime_ser.core.protocol import (
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL,
    CLOSE_NORMAL,
    Action,
    Configured,
    Ended,
    Heard,
    Pinged,
    SessionProtocol,
    close_code,
)
from realtime_ser.core.replay import MAXIMUM_UNSENT, Replay
from realtime_ser.errors import AudioError, RealtimeSERError, RemoteProtocolError
from realtime_ser.io.server_metrics import Metrics
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.batching import AnalysisWorker
from realtime_ser.runtime.intake import Intake
from realtime_ser.runtime.live import LiveStream
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Clock, Notice, Stream, StreamDescription, error_code

_LOGGER = logging.getLogger(__name__)

SHUTDOWN = "server_shutdown"


class Engine(Protocol):
    """What does the recognizing; the recognizer, to this layer."""

    settings: Settings

    def load(self) -> None:
        """Load and warm up the models; blocks, and may be called again."""
        ...

    def new_stream(self, stream_id: str, settings: Settings, clock: Clock) -> Stream:
        """A stream of its own."""
        ...

    @property
    def description(self) -> StreamDescription:
        """What listens."""
        ...

    @property
    def worker(self) -> AnalysisWorker:
        """Runs the models for all."""
        ...

    @property
    def intake(self) -> Intake:
        """Listens for all."""
        ...


class ServerSession:
    """A stream, what its client may do with it, and what it has yet to be told.

    Args:
        config: what is in force at the start.
        on_finished: called when all has been said (not: sent).

    Attributes:
        id: public; `token` is the secret that a dropped client comes back with.
        finished: whether all has been said.
        given_up: whether its client has gone for good; nobody may come back to it.
        close_code, close_reason: how the connection is to be closed once all was sent.
    """

    def __init__(
        self,
        engine: Engine,
        config: SessionConfig,
        limits: ServerSettings,
        metrics: Metrics,
        on_finished: Callable[[ServerSession], None],
    ) -> None:
        self.id = secrets.token_hex(8)
        self.token = secrets.token_urlsafe(24)
        self.finished = self.given_up = False
        self.close_code, self.close_reason = CLOSE_NORMAL, ""
        self._limits = limits
        self._metrics = metrics
        self._on_finished = on_finished
        self._protocol = SessionProtocol(config, engine.settings, limits, time.monotonic())
        self._replay = Replay()
        self._changed = asyncio.Event()
        """Something was pushed, or taken."""
        clock = ArrivalClock()
        self._stream = engine.new_stream(self.id, config.settings, clock)
        self._live = LiveStream(self._stream, clock, engine.worker, engine.intake, self._tell)
        self._finishing: asyncio.Task[None] | None = None
        self._tell(
            self._stream.opening(config, self.token, limits.resume_grace_s, limits.max_ahead_s)
        )

    # what the client sends

    @property
    def idle_limit_s(self) -> float | None:
        """How long the next message may take; None when none is waited for."""
        return None if self._finishing else self._protocol.idle_limit_s()

    @property
    def can_resume(self) -> bool:
        """Whether there is anything that a client could come back for."""
        return self._protocol.received_samples > 0

    async def has_room(self) -> None:
        """Wait until the client has taken enough of what it was told to send more.

        And until what came before is worked off, but for a little.
        """
        while self._replay.unsent >= MAXIMUM_UNSENT:
            self._changed.clear()
            await self._changed.wait()
        await self._until(self._live.has_room())

    async def receive(self, message: str | bytes) -> None:
        """Take a message; there must be room.

        Audio is worked off later, also when the connection is lost: what has been received has.
        """
        action = self._understood(message)
        if isinstance(action, Pinged):
            # the pong confirms what came before it
            await self._until(self._live.all_taken())
        self._act(action)

    async def _until(self, taken: Awaitable[None]) -> None:
        """Wait for audio to be taken; some that cannot be ends the session."""
        try:
            await taken
        except AudioError as error:
            self.end("error", error)

    def leave(self, rest: Sequence[str | bytes]) -> None:
        """Note that the client has closed in good order; `rest` it had sent before."""
        for message in rest:
            self._act(self._understood(message))
        self.end("eof")

    def _understood(self, message: str | bytes) -> Action | None:
        try:
            return self._protocol.receive(message, time.monotonic())
        except RemoteProtocolError as error:
            self.end("error", error)
            return None

    def receive_silence(self) -> None:
        """Note that `idle_limit_s` has passed without a message."""
        try:
            self._end_asked(self._protocol.receive_silence())
        except RemoteProtocolError as error:
            self.end("error", error)

    def _act(self, action: Action | None) -> None:
        match action:
            case Heard(samples):
                rate_hz = self._protocol.config.options.sample_rate_hz
                self._metrics.audio_seconds.inc(len(samples) / rate_hz)
                self._live.push(AudioBlock(samples, rate_hz))
            case Configured(config):
                self._tell([self._stream.update(config)])
            case Pinged(id):
                self._replay.push_unnumbered(Pong(audio_end=self._position, id=id))
                self._changed.set()
            case Ended():
                self._end_asked(action)

    def _end_asked(self, ended: Ended) -> None:
        notice = None
        if ended.cut_bytes:
            notice = Notice(
                "cut_sample",
                f"the audio ended inside a sample, bytes left over: {ended.cut_bytes}; are "
                "encoding and channels right?",
            )
        self.end("eof", notice=notice)

    # the end

    def end(
        self,
        reason: str,
        error: RealtimeSERError | None = None,
        *,
        notice: Notice | None = None,
    ) -> None:
        """Take no more audio; finish what was said. Only the first call counts."""
        if self._finishing is None:
            if error is not None:
                self.close_reason = error_code(error)
                self.close_code = close_code(self.close_reason)
            elif reason == SHUTDOWN:
                self.close_code, self.close_reason = CLOSE_GOING_AWAY, reason
            self._finishing = asyncio.create_task(self._finish(reason, error, notice))

    async def _finish(
        self, reason: str, error: RealtimeSERError | None, notice: Notice | None
    ) -> None:
        try:
            await self._live.finish(reason, error, notice)
        except Exception as fault:  # a fault of ours must not leave a session that never ends
            _LOGGER.error("a session could not be finished: %r; report this", fault)
            reason, self.close_code, self.close_reason = "internal", CLOSE_INTERNAL, "internal"
            self._live.abandon()
        self.finished = True
        self._metrics.closed("error" if error else reason, self._replay.dropped_partials)
        self._changed.set()
        self._on_finished(self)

    def give_up(self) -> None:
        """Its client has gone, and cannot or did not come back."""
        self.given_up = True
        self.end("disconnected")

    def abandon(self) -> None:
        """Nobody waits for the rest."""
        if self._finishing is not None:
            self._finishing.cancel()
        self._live.abandon()

    # what the client is told

    async def next_event(self) -> Event | None:
        """The next event to send, once there is one; None after the last."""
        while (event := self._replay.next()) is None:
            if self.finished:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._changed.set()
        return event

    def resume(self, last_seq: int) -> None:
        """Begin anew on another connection, after the event `last_seq`.

        Raises:
            RemoteProtocolError: that cannot be done without loss.
        """
        resumed = SessionResumed(
            audio_end=self._position,
            session_id=self.id,
            received_samples=self._protocol.received_samples,
        )
        self._replay.rewind(resumed, last_seq)
        self._protocol.reconnected()
        self._changed.set()

    @property
    def _position(self) -> int:
        return self._stream.session.position

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self._replay.push(event)
            self._metrics.told(event)
        self._changed.set()
