"""The client's side of one session, across its connections. Sans I/O.

Audio goes in with `add`, what to send comes out of `next_message`, what the server said goes in
with `receive`. In a dropped connection what was sent last is lost, so audio is kept until the
server has confirmed it: every second of audio a `ping` carries how much was sent before it, and
comes back as a `pong` once that has been taken. When the server resumes the session it says how
much it has; the rest is sent again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from realtime_ser_client.errors import ServerError
from realtime_ser_client.events import (
    ErrorEvent,
    Event,
    Pong,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    SessionUpdated,
    parse_event,
)
from realtime_ser_client.samples import BYTES_PER_SAMPLE

LARGEST_MESSAGE = 32_768
"""Bytes of audio in one message: a second at 16 kHz, an eighth of what servers take."""

_AHEAD_SHARE = 0.9
"""Of what the server allows: its clock starts when our first audio reaches it, not when we send."""

PING = '{"type": "ping"}'
_CLOSE = '{"type": "session.close"}'
_CONFIRM_EVERY_S = 1.0
_GIVEN_UP = "disconnected"


class Conversation:
    """One session.

    Args:
        settings: what the session shall be set to.

    Attributes:
        created: the opening event of the server.
        closed: its last event.
        error: why the server ended the session, or did not begin it.
        refused: whether there is nothing to be had on this connection; it will be closed.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.created: SessionCreated | None = None
        self.closed: SessionClosed | None = None
        self.error: ServerError | None = None
        self.refused = False
        self._settings = {name: _query_text(value) for name, value in settings.items()}
        self._last_seq = -1
        self._opening_seq = -1
        """Number of the last event that a session without audio may have had."""
        self._kept = bytearray()
        """Audio that the server has not confirmed."""
        self._kept_from = 0
        """Where in the stream it begins, in bytes."""
        self._sent = 0
        """How much of the stream this connection has sent, or needs not to."""
        self._asked = 0
        """`_sent` when confirmation was last asked for."""
        self._open = False
        """Whether this connection has got as far as audio."""
        self._first_sent_s: float | None = None
        """When the session's first audio was sent."""
        self._grace_s = 0.0
        self._ending = False
        self._close_sent = False

    # what the server is to know

    def query(self) -> dict[str, str]:
        """Query parameters of the next connection, which begins with this call."""
        self._open = self.refused = self._close_sent = False
        if self.created is None or self.created.resume_token is None:
            return dict(self._settings)
        return {"resume": self.created.resume_token, "last_seq": str(self._last_seq)}

    def add(self, data: bytes) -> None:
        """More audio, in the encoding of the session; cut anywhere."""
        self._kept += data

    def end_audio(self) -> None:
        """No more audio comes: the server shall finish and close."""
        self._ending = True

    def next_message(self, now_s: float) -> bytes | str | None:
        """What to send next; None when there is nothing, for now.

        Args:
            now_s: the time, in seconds of any one clock; see `ahead_for_s`.
        """
        if not self._open or self.closed or self.refused:
            return None
        if self._sent - self._asked >= _CONFIRM_EVERY_S * self._bytes_per_second:
            self._asked = self._sent
            return json.dumps({"type": "ping", "id": str(self._sent // self._bytes_per_frame)})
        if size := self._next_size():
            if self.ahead_for_s(now_s) > 0:
                return None
            if self._first_sent_s is None:
                self._first_sent_s = now_s
            start = self._sent - self._kept_from
            self._sent += size
            return bytes(self._kept[start : start + size])
        if self._ending and not self._close_sent:
            self._close_sent = True
            return _CLOSE
        return None

    def ahead_for_s(self, now_s: float) -> float:
        """How long to wait before more audio may be sent; 0 for now, or when there is none."""
        size, most_s = self._next_size(), self._max_ahead_s
        if not size or most_s is None or self._first_sent_s is None:
            return 0.0
        audio_s = (self._sent + size) / self._bytes_per_second
        return max(0.0, self._first_sent_s + audio_s - _AHEAD_SHARE * most_s - now_s)

    def _next_size(self) -> int:
        """Bytes of the next message of audio: few where the server hardly lets us get ahead."""
        size = min(LARGEST_MESSAGE, len(self._kept) - (self._sent - self._kept_from))
        if self._max_ahead_s is not None:
            size = min(size, max(1, int(self._max_ahead_s / 2 * self._bytes_per_second)))
        return size

    # what the server said

    def receive(self, text: str | bytes) -> Event | None:
        """Take a message of the server; the event in it, unless it is for us or a repetition.

        Raises:
            ServerError: it is not from a server of ours.
        """
        event = parse_event(text)
        if isinstance(event, Pong):
            if event.id is not None and event.id.isdecimal():
                self._confirm(int(event.id))
            return None
        if isinstance(event, SessionResumed):
            self._resume(event)
            return event
        if not self._open and isinstance(event, ErrorEvent):
            return self._refuse(event)
        if isinstance(event, SessionClosed) and event.reason == _GIVEN_UP:
            return self._given_up(event)
        if event.seq >= 0:
            if event.seq <= self._last_seq:
                return None
            self._last_seq = event.seq
        self._note(event)
        return event

    def _note(self, event: Event) -> None:
        if isinstance(event, SessionCreated):
            self.created = event
            self._grace_s = event.resume_grace_s or 0.0
            self._begin_at(0)
        elif isinstance(event, SessionClosed):
            self.closed = event
        elif isinstance(event, ErrorEvent) and event.fatal:
            self.error = ServerError(event.code, event.message, event.retry_after_s)
        if isinstance(event, SessionCreated | SessionUpdated):
            self._opening_seq = event.seq

    def _refuse(self, event: ErrorEvent) -> ErrorEvent | None:
        self.refused = True
        if event.code == "resume_unknown" and self._can_begin_anew:
            self._begin_anew()
            return None
        self.error = ServerError(event.code, event.message, event.retry_after_s)
        return event

    def _given_up(self, event: SessionClosed) -> SessionClosed | None:
        """We came back while the server was just ending the session."""
        self.refused = True
        if self._can_begin_anew:
            self._begin_anew()
            return None
        self.error = ServerError(
            _GIVEN_UP, "the server gave the session up before we were back; open a new one"
        )
        return event

    @property
    def _can_begin_anew(self) -> bool:
        """Whether another session would tell all that this one would have, and nothing twice."""
        return self._kept_from == 0 and self._last_seq <= self._opening_seq

    def _begin_anew(self) -> None:
        self.created, self._last_seq, self._opening_seq = None, -1, -1
        self._first_sent_s = None

    def _resume(self, event: SessionResumed) -> None:
        received = event.received_samples * self._bytes_per_frame
        if not self._kept_from <= received <= self._kept_from + len(self._kept):
            raise ServerError(
                "bad_event", f"the server says it has {event.received_samples} samples; it has not"
            )
        self._begin_at(received)

    def _begin_at(self, position: int) -> None:
        self._drop_until(position)
        self._sent = self._asked = position
        self._open = True

    def _confirm(self, frames: int) -> None:
        self._drop_until(min(frames * self._bytes_per_frame, self._sent))

    def _drop_until(self, position: int) -> None:
        if position > self._kept_from:
            del self._kept[: position - self._kept_from]
            self._kept_from = position

    # how far we are

    @property
    def kept_s(self) -> float:
        """Seconds of audio that the server has not confirmed."""
        return len(self._kept) / self._bytes_per_second

    @property
    def added_ms(self) -> float:
        """How much audio was added, in milliseconds."""
        return (self._kept_from + len(self._kept)) * 1000 / self._bytes_per_second

    @property
    def progress(self) -> tuple[int, int]:
        """Changes whenever the server gets on with the session; opening it is no progress."""
        return self._kept_from, max(self._last_seq, self._opening_seq)

    @property
    def resume_grace_s(self) -> float:
        """How long the server waits for us after a drop."""
        return self._grace_s

    @property
    def _max_ahead_s(self) -> float | None:
        return self.created.max_ahead_s if self.created else None

    @property
    def is_kept_alive(self) -> bool:
        """Whether silence on the line is not to end the session."""
        return not float(self._configured("end_after_s"))

    @property
    def encoding(self) -> str:
        """Of a sample."""
        return str(self._configured("encoding"))

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second, of each channel."""
        return int(self._configured("sample_rate_hz"))

    @property
    def channels(self) -> int:
        """Interleaved channels."""
        return int(self._configured("channels"))

    def _configured(self, name: str) -> Any:
        # between two sessions of one conversation it is what was asked for
        defaults = {"encoding": "s16le", "sample_rate_hz": 16_000, "channels": 1, "end_after_s": 0}
        config = self.created.config if self.created else self._settings
        return config.get(name, defaults[name])

    @property
    def _bytes_per_frame(self) -> int:
        """Of one sample of all channels."""
        return BYTES_PER_SAMPLE[self.encoding] * self.channels

    @property
    def _bytes_per_second(self) -> int:
        return self._bytes_per_frame * self.sample_rate_hz


def _query_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
