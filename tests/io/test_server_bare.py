"""The protocol as PROTOCOL.md tells it, by a client that has nothing but a socket and RFC 6455."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bare_websocket import BINARY, CONTINUATION, PING, PONG, TEXT, BareClient
from serving import DEADLINE_S, assert_same, pieces, reference, sample, serving

from realtime_ser.recognizer import Recognizer

PCM = sample().astype("<i2").tobytes()


@pytest.fixture(scope="module")
def recognizer(small_bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle=str(small_bundle), asr="off", threads=1) as recognizer:
        yield recognizer


def at_server(recognizer: Recognizer, act: Callable[[str], None], **settings: Any) -> None:
    """Serve, and act in a thread."""

    async def scenario() -> None:
        async with serving(recognizer, **settings) as served:
            await asyncio.to_thread(act, served.address)

    asyncio.run(scenario())


def test_raw_audio_and_a_query_are_all_it_takes(recognizer: Recognizer) -> None:
    def act(address: str) -> None:
        with BareClient(f"{address}?end_after_s=0.2", DEADLINE_S) as client:
            assert client.status == "HTTP/1.1 101 Switching Protocols"
            for piece in pieces(PCM, 3200):
                client.send(BINARY, piece)
            events, code = client.read_all()
        assert code == 1000
        assert events[0]["type"] == "session.created"
        assert_same(events, reference(recognizer, sample(), 16_000))

    at_server(recognizer, act)


def test_frames_of_every_size_fragments_and_pings(recognizer: Recognizer) -> None:
    def act(address: str) -> None:
        pongs, events = [], []
        with BareClient(f"{address}?partials=false", DEADLINE_S) as client:
            client.send(PING, b"there?")
            client.send(BINARY, PCM[:101])
            client.send(BINARY, PCM[101:40_000], is_last=False)
            client.send(CONTINUATION, PCM[40_000:40_001], is_last=False)
            client.send(CONTINUATION, b"")
            client.send(BINARY, PCM[40_001:])
            client.send(TEXT, b'{"type": ', is_last=False)
            client.send(CONTINUATION, b'"session.close"}')
            while not events or events[-1]["type"] != "session.closed":
                opcode, data = client.read()
                if opcode == PONG:
                    pongs.append(data)
                else:
                    assert opcode == TEXT
                    events.append(json.loads(data))
            assert client.read_all() == ([], 1000)
        assert pongs == [b"there?"]
        assert_same(events, reference(recognizer, sample(), 16_000))

    at_server(recognizer, act)
