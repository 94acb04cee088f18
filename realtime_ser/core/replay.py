"""The events of a served stream, until the client has them for certain.

A dropped connection may lose what was sent last, so what was sent is kept for a while: the last
`KEPT_EVENTS`, not counting partials and pongs, which say nothing that a later event does not say
better. What was not sent yet is bounded by whoever pushes, who must stop at `MAXIMUM_UNSENT`;
partials that a slow reader has not taken give way to the next of their kind.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from realtime_ser.core.events import (
    EmotionPartial,
    Event,
    Pong,
    SessionResumed,
    TranscriptPartial,
)
from realtime_ser.errors import RemoteProtocolError

KEPT_EVENTS = 1024
MAXIMUM_UNSENT = 1024

_PARTIALS = (EmotionPartial, TranscriptPartial)
_PERISHABLE = (*_PARTIALS, Pong, SessionResumed)


class Replay:
    """A queue of events that can be rewound.

    Attributes:
        dropped_partials: how many gave way before they were sent.
        last_seq: number of the newest event; -1 before the first.
    """

    def __init__(self) -> None:
        self.dropped_partials = 0
        self.last_seq = -1
        self._sent: deque[Event] = deque()
        self._unsent: deque[Event] = deque()
        self._forgotten_seq = -1
        """Number of the newest event that is gone for good, partials aside."""

    @property
    def unsent(self) -> int:
        """How many events wait."""
        return len(self._unsent)

    def push(self, event: Event) -> None:
        """Add a numbered event."""
        self.last_seq = event.seq
        if isinstance(event, _PARTIALS):
            self._drop_older(type(event))
        self._unsent.append(event)

    def _drop_older(self, kind: type[Event]) -> None:
        """Drop what waits of `kind`, unless something lasting was said since."""
        for place in range(len(self._unsent) - 1, -1, -1):
            if not isinstance(self._unsent[place], _PARTIALS):
                return
            if isinstance(self._unsent[place], kind):
                del self._unsent[place]
                self.dropped_partials += 1
                return

    def push_unnumbered(self, event: Pong) -> None:
        """Add an event about the connection; it gets the number of the newest before it."""
        self._unsent.append(replace(event, seq=max(0, self.last_seq)))

    def next(self) -> Event | None:
        """The next event to send, from now on counted as sent; None when there is none."""
        if not self._unsent:
            return None
        event = self._unsent.popleft()
        if not isinstance(event, _PERISHABLE):
            self._sent.append(event)
            if len(self._sent) > KEPT_EVENTS:
                self._forgotten_seq = self._sent.popleft().seq
        return event

    def rewind(self, resumed: SessionResumed, last_seq: int) -> None:
        """Go on after `last_seq` on a new connection, `resumed` first.

        Raises:
            RemoteProtocolError: an event after `last_seq` is no longer there, or it never was.
        """
        if last_seq > self.last_seq:
            raise RemoteProtocolError(
                "resume_impossible",
                f"last_seq is {last_seq}, and the session has come to {self.last_seq}; "
                "is it another session's?",
            )
        if last_seq < self._forgotten_seq:
            raise RemoteProtocolError(
                "resume_impossible",
                f"events up to {self._forgotten_seq} are no longer kept; resume with that last_seq "
                "to go on without them, or open a new session",
            )
        kept = [e for e in (*self._sent, *self._unsent) if not isinstance(e, _PERISHABLE)]
        self._sent = deque(event for event in kept if event.seq <= last_seq)
        self._unsent = deque(event for event in kept if event.seq > last_seq)
        self._unsent.appendleft(replace(resumed, seq=max(0, last_seq)))
