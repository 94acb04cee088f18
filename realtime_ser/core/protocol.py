"""The server's side of one session: messages in, what to do about them out. Sans I/O.

Three states:

- NEW: `session.update` is welcome. The first audio leads to STREAMING.
- STREAMING: audio; a `session.update` is an error, for the audio before it was heard otherwise.
- ENDED: `session.close` came. Audio and messages are let pass unread, except for `ping`: they may
  have been on their way.

Every error ends the session: a client that was told its encoding is unknown, and did not listen,
would get results of noise. What was said before the error is still finished and told.

The states outlive a connection; of a dropped one, only the bytes of a sample cut in half are
forgotten, since the client sends again from the last whole one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.config import ServerSettings, Settings
from realtime_ser.core.messages import Ping, SessionClose, SessionUpdate, parse_message
from realtime_ser.core.options import SessionConfig
from realtime_ser.core.pcm import PcmDecoder
from realtime_ser.errors import RemoteProtocolError

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011
CLOSE_OVERLOAD = 1013
CLOSE_BAD_MESSAGE = 4400
CLOSE_UNAUTHORIZED = 4401

_CLOSE_CODES = {
    "audio_ahead": CLOSE_POLICY,
    "session_too_long": CLOSE_POLICY,
    "idle_timeout": CLOSE_POLICY,
    "too_many_sessions": CLOSE_OVERLOAD,
    "overloaded": CLOSE_OVERLOAD,
    "warming_up": CLOSE_OVERLOAD,
    "server_shutdown": CLOSE_OVERLOAD,
    "unauthorized": CLOSE_UNAUTHORIZED,
    "internal": CLOSE_INTERNAL,
}


def close_code(error_code: str) -> int:
    """The WebSocket close code that follows a fatal error: 4400 unless it has its own."""
    return _CLOSE_CODES.get(error_code, CLOSE_BAD_MESSAGE)


class State(Enum):
    """Where a session stands."""

    NEW = auto()
    STREAMING = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Configured:
    """The session is set anew."""

    config: SessionConfig


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio came: int16 or float32 [samples, channels] at the client's rate."""

    samples: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Pinged:
    """A `pong` with this id is due."""

    id: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """No more audio comes; `cut_bytes` are left of a sample that never became whole."""

    cut_bytes: int


Action = Configured | Heard | Pinged | Ended


class SessionProtocol:
    """One session, from its first message to its last.

    Args:
        config: what is in force at the start.
        operator: the server's own settings, which bound the client's.
        limits: see `ServerSettings`.
        now_s: the time, here and in every call, in seconds of any one clock.

    Attributes:
        config: what is in force.
        received_samples: audio taken, in samples of the client's stream, each channel once.
    """

    def __init__(
        self, config: SessionConfig, operator: Settings, limits: ServerSettings, now_s: float
    ) -> None:
        self.config = config
        self.state = State.NEW
        self.received_samples = 0
        self._operator = operator
        self._limits = limits
        self._started_s = now_s
        self._heard_first_s = now_s
        self._decoder = self._new_decoder()

    def receive(self, message: str | bytes, now_s: float) -> Action | None:
        """Take one message, text or binary; None when there is nothing to do about it.

        Raises:
            RemoteProtocolError: it breaks the rules; the session is to end.
        """
        if not isinstance(message, str):
            return self._receive_audio(message, now_s)
        if self.state is State.ENDED:
            try:
                parsed = parse_message(message, self._limits.max_json_depth)
            except RemoteProtocolError:
                return None
            return Pinged(parsed.id) if isinstance(parsed, Ping) else None
        self._require_time(now_s)
        match parse_message(message, self._limits.max_json_depth):
            case SessionUpdate(changes):
                return self._update(changes)
            case SessionClose():
                self.state = State.ENDED
                return Ended(self._decoder.held_bytes)
            case Ping(id):
                return Pinged(id)

    def reconnected(self) -> None:
        """The client is back on a new connection, and sends from the last whole sample on."""
        self._decoder = self._new_decoder()

    def idle_limit_s(self) -> float:
        """How long the next message may take."""
        return min(self._limits.idle_timeout_s, self._end_after_s())

    def receive_silence(self) -> Ended:
        """Note that `idle_limit_s` has passed without a message.

        Raises:
            RemoteProtocolError: the client did not ask to have its session ended in this way.
        """
        if self._end_after_s() > self._limits.idle_timeout_s:
            raise RemoteProtocolError(
                "idle_timeout",
                f"nothing came for {self._limits.idle_timeout_s:g} s; send audio (silence is "
                "audio), or a ping now and then",
            )
        self.state = State.ENDED
        return Ended(self._decoder.held_bytes)

    def _end_after_s(self) -> float:
        after_s = self.config.options.end_after_s
        return after_s if after_s and self.state is State.STREAMING else float("inf")

    def _update(self, changes: Any) -> Configured:
        if self.state is not State.NEW:
            raise RemoteProtocolError(
                "update_after_audio",
                "session.update after the first audio; send it before, or open a new session",
            )
        self.config = self.config.changed(changes, self._operator)
        self._decoder = self._new_decoder()
        return Configured(self.config)

    def _receive_audio(self, data: bytes, now_s: float) -> Heard | None:
        if self.state is State.ENDED or not data:
            return None
        if self.state is State.NEW:
            self.state = State.STREAMING
            self._heard_first_s = now_s
        samples = self._decoder.decode(data)
        if np.issubdtype(samples.dtype, np.floating) and not np.isfinite(samples).all():
            raise RemoteProtocolError(
                "audio_unsupported",
                "samples that are NaN or infinite; is the encoding really f32le?",
            )
        self.received_samples += len(samples)
        self._require_time(now_s)
        return Heard(samples) if len(samples) else None

    def _require_time(self, now_s: float) -> None:
        limits = self._limits
        heard_s = self.received_samples / self.config.options.sample_rate_hz
        if max(heard_s, now_s - self._started_s) > limits.max_session_s:
            raise RemoteProtocolError(
                "session_too_long",
                f"a session may last {limits.max_session_s:g} s on this server; open a new one",
            )
        if heard_s - (now_s - self._heard_first_s) > limits.max_ahead_s:
            raise RemoteProtocolError(
                "audio_ahead",
                f"the audio is more than {limits.max_ahead_s:g} s ahead of real time; send it more "
                "slowly, or recognise recordings with `realtime-ser file`",
            )

    def _new_decoder(self) -> PcmDecoder:
        return PcmDecoder(self.config.options.encoding, self.config.options.channels)
