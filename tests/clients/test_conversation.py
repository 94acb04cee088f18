"""The client's state across connections, against a model of the server that drops them."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser_client.conversation import LARGEST_MESSAGE, Conversation
from realtime_ser_client.errors import ServerError
from realtime_ser_client.events import SessionClosed, SessionCreated, SessionResumed

CONFIG = {"encoding": "s16le", "sample_rate_hz": 16_000, "channels": 2}
FRAME_BYTES = 4


class Server:
    """Takes audio and tells an event every `EVERY` bytes of it; what was sent may get lost."""

    EVERY = 7_000

    def __init__(self) -> None:
        self.audio = bytearray()
        self.log: list[dict[str, Any]] = []
        self.wire: deque[str] = deque()
        self.half = b""
        opening = {"session_id": "s", "protocol_version": 1, "config": CONFIG, "bundle": {}}
        coming_back = {"resume_token": "t", "resume_grace_s": 1.0}
        self.tell("session.created", providers=[], asr="off", **opening, **coming_back)

    def tell(self, type: str, **fields: Any) -> None:
        self.log.append({"type": type, "seq": len(self.log), "audio_end_ms": 0.0, **fields})
        self.wire.append(json.dumps(self.log[-1]))

    def connect(self, query: dict[str, str]) -> None:
        self.half = b""
        if "resume" in query:
            last_seq = int(query["last_seq"])
            received = len(self.audio) // FRAME_BYTES
            resumed = {"type": "session.resumed", "seq": max(0, last_seq), "audio_end_ms": 0.0,
                       "session_id": "s", "received_samples": received}  # fmt: skip
            events = [resumed, *self.log[last_seq + 1 :]]
            self.wire = deque(json.dumps(event) for event in events)

    def take(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            assert len(message) <= LARGEST_MESSAGE
            told_before = len(self.audio) // self.EVERY
            data = self.half + message
            whole = len(data) // FRAME_BYTES * FRAME_BYTES
            self.audio += data[:whole]
            self.half = data[whole:]
            for _ in range(len(self.audio) // self.EVERY - told_before):
                self.tell("something.new")
        elif (said := json.loads(message))["type"] == "ping":
            self.wire.append(json.dumps({"type": "pong", "seq": len(self.log) - 1,
                                         "audio_end_ms": 0.0, "id": said["id"]}))  # fmt: skip
        elif self.log[-1]["type"] != "session.closed":
            self.tell("session.closed", reason="eof", utterances=0, audio_seconds=0.0,
                      speech_seconds=0.0, lost_samples=0)  # fmt: skip


class Link:
    """A client, a server, and a connection that holds messages in flight."""

    def __init__(self) -> None:
        self.client, self.server = Conversation(CONFIG), Server()
        self.upward: deque[bytes | str] = deque()
        self.heard: list[int] = []
        self.client.query()

    def up(self) -> bool:
        """Send one message, of which the server takes the oldest in flight."""
        if (message := self.client.next_message(0.0)) is not None:
            self.upward.append(message)
        if not self.upward:
            return False
        self.server.take(self.upward.popleft())
        return True

    def down(self) -> bool:
        if not self.server.wire:
            return False
        event = self.client.receive(self.server.wire.popleft())
        if event is not None and not isinstance(event, SessionResumed):
            self.heard.append(event.seq)
        return True

    def drop(self) -> None:
        self.upward.clear()
        self.server.wire.clear()
        self.server.connect(self.client.query())


ACTIONS = st.one_of(
    st.integers(1, 100_000),
    st.sampled_from(["send", "up", "up", "down", "down", "drop"]),
)


@given(st.lists(ACTIONS, max_size=60))
def test_whatever_drops_all_audio_arrives_once_and_all_events_too(actions: list[Any]) -> None:
    link = Link()
    assert isinstance(link.client.receive(link.server.wire.popleft()), SessionCreated)
    link.heard.append(0)
    audio = bytearray()
    for action in actions:
        if isinstance(action, int):
            data = bytes((len(audio) + i) % 251 for i in range(action))
            audio += data
            link.client.add(data)
        elif action == "send" and (message := link.client.next_message(0.0)) is not None:
            link.upward.append(message)
        elif action in ("up", "down", "drop"):
            getattr(link, action)()
        assert link.client.added_ms == pytest.approx(len(audio) / 64)
    link.client.end_audio()
    while link.up() | link.down():
        pass
    whole = len(audio) // FRAME_BYTES * FRAME_BYTES
    assert link.server.audio == audio[:whole]
    assert link.heard == list(range(len(link.server.log)))
    assert link.client.closed is not None


def test_confirmed_audio_is_not_kept() -> None:
    link = Link()
    link.down()
    for _ in range(100):
        link.client.add(bytes(64_000))
        while link.up() | link.down():
            pass
        assert link.client.kept_s <= 1.0


def event(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, "seq": 0, "audio_end_ms": 0.0, **fields})


def test_a_session_that_ended_while_we_came_back_begins_anew_if_that_loses_nothing() -> None:
    closed = event("session.closed", reason="disconnected", utterances=0, audio_seconds=0.0,
                   speech_seconds=0.0, lost_samples=0)  # fmt: skip
    link = Link()
    link.down()
    link.client.add(bytes(100))
    link.drop()
    assert link.client.receive(link.server.wire.popleft()) is not None
    assert link.client.receive(closed.replace('"seq": 0', '"seq": 1')) is None
    assert "resume" not in link.client.query()

    link = Link()
    link.down()
    link.client.add(bytes(100_000))
    while link.up() | link.down():
        pass
    link.drop()
    link.down()
    ended = link.client.receive(closed.replace('"seq": 0', '"seq": 99'))
    assert isinstance(ended, SessionClosed)
    assert link.client.error is not None
    assert link.client.error.code == "disconnected"


def test_a_server_that_has_more_than_was_sent_is_none_of_ours() -> None:
    link = Link()
    link.down()
    resumed = event("session.resumed", session_id="s", received_samples=5)
    with pytest.raises(ServerError, match="it has not"):
        link.client.receive(resumed)


def test_audio_goes_as_far_ahead_as_the_server_lets_it_and_no_further() -> None:
    """A minute of audio; on the way the connection drops, which does not set the clock back."""
    allowed_s, second, now_s, sent = 5.0, 64_000, 1000.0, 0
    link = Link()
    opening = json.loads(link.server.wire.popleft()) | {"max_ahead_s": allowed_s}
    link.client.receive(json.dumps(opening))
    link.client.add(bytes(60 * second))
    ahead_s = []
    while sent < 60 * second:
        while (message := link.client.next_message(now_s)) is not None:
            sent += len(message) if isinstance(message, bytes) else 0
            link.server.take(message)
        while link.down():
            pass
        ahead_s.append(sent / second - (now_s - 1000.0))
        if len(ahead_s) == 20:
            link.drop()
            link.down()
        now_s += max(0.001, link.client.ahead_for_s(now_s))
    assert 0.75 * allowed_s < max(ahead_s) <= 0.9 * allowed_s + 1e-6
    assert now_s - 1000.0 == pytest.approx(60 - 0.9 * allowed_s, abs=0.1)
    assert link.client.ahead_for_s(now_s) == 0.0


def test_a_message_is_no_longer_than_a_server_allows_to_be_ahead() -> None:
    link = Link()
    opening = json.loads(link.server.wire.popleft()) | {"max_ahead_s": 0.1}
    link.client.receive(json.dumps(opening))
    link.client.add(bytes(64_000))
    message = link.client.next_message(0.0)
    assert isinstance(message, bytes)
    assert len(message) == 3200
    assert link.client.next_message(0.0) is None
    assert link.client.ahead_for_s(0.0) == pytest.approx(0.01)
