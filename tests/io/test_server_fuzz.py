"""Clients that break every rule, at a live server: our errors come out, and others go on."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from bare_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, BareClient
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import CLOSE as CLOSE_MESSAGE
from serving import DEADLINE_S, GatedEngine, Heard, assert_same, read, read_all, serving, talk
from timelines import audio
from websockets.asyncio.client import connect

from realtime_ser.core.wire import json_schema

PCM = audio("." * 10 + "#" * 30 + "." * 30).astype("<i2").tobytes()
VALIDATORS = {
    name: jsonschema.Draft202012Validator(schema) for name, schema in json_schema()["$defs"].items()
}
CLOSE_CODES = {1000, 1001, 1002, 1007, 1008, 1009, 4400}
"""Of PROTOCOL.md, but for what only the operator's limits and tokens bring; not 1011, our fault."""

VALID = [
    '{"type": "session.update", "encoding": "f32le", "channels": 2}',
    '{"type": "ping", "id": "x"}',
    CLOSE_MESSAGE,
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["type", "id", "encoding", "channels", "sample_rate_hz", "hangover_ms"])
TYPES = st.sampled_from(["session.update", "session.close", "ping", "pong"])
MESSAGES = st.builds(
    lambda type, fields: json.dumps({"type": type, **fields}),
    TYPES,
    st.dictionaries(NAMES | st.text(max_size=8), VALUES, max_size=3),
)
TRUNCATED = st.builds(
    lambda message, length: message[:length], st.sampled_from(VALID) | MESSAGES, st.integers(0, 60)
)
FRAMES = st.one_of(
    st.tuples(st.just(TEXT), (MESSAGES | TRUNCATED | st.sampled_from(VALID)).map(str.encode)),
    st.tuples(st.sampled_from([TEXT, BINARY, CONTINUATION, PING, PONG]), st.binary(max_size=140)),
    st.tuples(st.just(BINARY), st.integers(0, len(PCM)).map(lambda count: PCM[:count])),
    st.tuples(st.integers(0, 15), st.binary(max_size=140)),
)
"""Opcode and payload: right, nearly right, and anything at all."""
RAW = st.binary(max_size=60)
QUERIES = st.dictionaries(NAMES | st.text(max_size=8), st.text(max_size=12), max_size=2).map(
    lambda query: "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())
)
ENDINGS = st.sampled_from(["close", "half-closed", "cut frame", "gone"])


def break_the_rules(
    address: str, query: str, frames: Sequence[tuple[int, bytes]], raw: bytes, ending: str
) -> None:
    """Do all of it; whatever the server says to it must be as described."""
    with BareClient(f"{address}?{query}", DEADLINE_S) as client:
        try:
            for opcode, payload in frames:
                client.send(opcode, payload)
            client.socket.sendall(raw)
            if ending == "close":
                client.send(CLOSE, struct.pack("!H", 1000))
            elif ending == "cut frame":
                client.socket.sendall(bytes([0x82, 0xFE, 0xFF]))
            if ending == "gone":
                return
            client.socket.shutdown(socket.SHUT_WR)
            while (frame := client.read())[0] != CLOSE:
                assert_described(*frame)
            assert struct.unpack("!H", frame[1][:2])[0] in CLOSE_CODES
        except (EOFError, ConnectionError):
            pass  # cut off, as it deserves


def assert_described(opcode: int, payload: bytes) -> None:
    assert opcode in (TEXT, PING, PONG)
    if opcode == TEXT:
        event: dict[str, Any] = json.loads(payload)
        VALIDATORS[event["type"]].validate(event)
        assert event.get("code") != "internal", event


def test_whatever_clients_send_only_described_errors_come_and_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with GatedEngine() as engine:
            limits = {"resume_grace_s": 0.0, "max_sessions": 10_000}
            async with serving(engine, **limits) as served, connect(served.address) as other:

                @settings(max_examples=60)
                @given(QUERIES, st.lists(FRAMES, max_size=5), st.just(b"") | RAW, ENDINGS)
                def fuzz(
                    query: str, frames: list[tuple[int, bytes]], raw: bytes, ending: str
                ) -> None:
                    break_the_rules(served.address, query, frames, raw, ending)

                await read(other)
                await other.send(PCM[:20_000])
                await loop.run_in_executor(None, fuzz)
                await other.send(PCM[20_000:])
                await other.send(CLOSE_MESSAGE)
                rest = Heard()
                await read_all(other, rest)
                assert_same(rest.events, (await talk(served.address, [PCM, CLOSE_MESSAGE])).events)
                assert rest.code == 1000

    with caplog.at_level(logging.INFO, "realtime_ser"):
        asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records if record.levelno >= 40] == []
