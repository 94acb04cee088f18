"""The server as its clients meet it: real WebSockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from serving import (
    CLOSE,
    Heard,
    assert_same,
    pieces,
    read,
    read_all,
    reference,
    sample,
    send_all,
    serving,
    talk,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from realtime_ser.core import interface
from realtime_ser.core.pcm import PcmDecoder
from realtime_ser.recognizer import Recognizer

PCM = sample().astype("<i2").tobytes()


@pytest.fixture(scope="module")
def recognizer(small_bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle=str(small_bundle), asr="off", threads=1) as recognizer:
        yield recognizer


def encoded(samples: np.ndarray, encoding: str) -> bytes:
    """int16 samples in a wire encoding; the nearest code where it has fewer values."""
    if encoding == "s16le":
        return samples.astype("<i2").tobytes()
    if encoding == "f32le":
        return (samples / 32768).astype("<f4").tobytes()
    table = PcmDecoder(encoding, 1).decode(bytes(range(256)))[:, 0].astype(int)
    return np.abs(samples[:, None].astype(int) - table).argmin(axis=1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("size", [317, 3200, 10**6])
def test_audio_in_any_chunks_gives_what_the_file_gives(recognizer: Recognizer, size: int) -> None:
    samples = sample("demo" if size == 3200 else "short")

    async def scenario() -> None:
        async with serving(recognizer, max_message_bytes=2**21) as served:
            data = samples.astype("<i2").tobytes()
            heard = await talk(served.address, [*pieces(data, size), CLOSE])
        assert heard.code == 1000
        assert heard.events[0]["type"] == "session.created"
        closed = heard.events[-1]
        assert (closed["type"], closed["reason"]) == ("session.closed", "eof")
        assert closed["audio_seconds"] == pytest.approx(len(samples) / 16000)
        assert_same(heard.events, reference(recognizer, samples, 16000))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "channels", "by_query"),
    [
        ("f32le", 16000, 1, True),
        ("mulaw", 8000, 1, False),
        ("alaw", 8000, 2, True),
        ("s16le", 48000, 2, False),
    ],
)
def test_every_encoding_and_rate_gives_what_the_file_gives(
    recognizer: Recognizer, encoding: str, rate_hz: int, channels: int, by_query: bool
) -> None:
    # taken at another rate the sample is faster or slower speech, which will do
    samples = np.repeat(sample(), 3 if rate_hz > 16000 else 1)
    data = encoded(np.repeat(samples, channels), encoding)
    decoded = PcmDecoder(encoding, channels).decode(data)
    options = {"encoding": encoding, "sample_rate_hz": rate_hz, "channels": channels}
    query = "?" + "&".join(f"{name}={value}" for name, value in options.items())
    update = [] if by_query else [json.dumps({"type": "session.update", **options})]

    async def scenario() -> None:
        async with serving(recognizer) as served:
            address = served.address + (query if by_query else "")
            heard = await talk(address, [*update, *pieces(data, 12_345), CLOSE])
        config = heard.one("session.created" if by_query else "session.updated")["config"]
        assert {name: config[name] for name in options} == options
        expected = reference(recognizer, decoded, rate_hz)
        assert len([event for event in expected if event["type"] == "emotion.final"]) >= 1
        assert_same(heard.events, expected)

    asyncio.run(scenario())


# what is said, against its description

CLIENTS = Path(__file__).parents[2] / "clients"


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("events.schema.json", "events"),
        ("messages.schema.json", "client"),
        ("asyncapi.yaml", "asyncapi"),
    ],
)
def test_the_committed_descriptions_are_the_generated_ones(name: str, document: str) -> None:
    option = "" if document == "events" else f" --{document}"
    assert (CLIENTS / name).read_text(encoding="utf-8") == interface.documents()[document], (
        f"run: realtime-ser schema{option} > clients/{name}"
    )


def test_the_yaml_says_what_was_meant() -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(interface.documents()["asyncapi"]) == interface.asyncapi()


def test_every_message_of_a_live_session_is_as_described(
    small_bundle: Path, whisper_folder: Path
) -> None:
    described = interface.asyncapi()["components"]["messages"]
    validators = {
        name: jsonschema.Draft202012Validator(message["payload"])
        for name, message in described.items()
    }
    update = {"type": "session.update", "partials": True, "partial_transcripts": True}
    sent = [update, {"type": "ping", "id": "first"}, {"type": "ping"}, {"type": "session.close"}]
    for message in sent:
        validators[message["type"]].validate(message)

    async def scenario() -> list[dict[str, Any]]:
        first, *others = map(json.dumps, sent)
        demo = sample("demo")[: 16_000 * 8].astype("<i2").tobytes()
        whole = Heard()
        async with serving(recognizer) as served:
            async with connect(served.address) as websocket:
                # in the midst of the first sentence there is time for its words so far
                await send_all(websocket, [first, demo[:64_000]])
                while (event := await read(websocket))["type"] != "transcript.partial":
                    whole.events.append(event)
                whole.events.append(event)
                await send_all(websocket, [*pieces(demo[64_000:], 9999), b"\0", *others])
                await read_all(websocket, whole)
            bad = await talk(served.address, [PCM[:9999], "?"])
            refused = await talk(served.address + "?asr=large", [])
            async with connect(served.address) as websocket:
                created = await read(websocket)
                await websocket.send(PCM)
                await websocket.send('{"type": "ping"}')
                await read(websocket, "pong")
                websocket.transport.abort()
            resume = f"?resume={created['resume_token']}"
            resumed = await talk(served.address + resume, ['{"type": "session.close"}'])
        return [*whole.events, *bad.events, *refused.events, *resumed.events]

    with Recognizer(bundle=str(small_bundle), asr=str(whisper_folder), threads=1) as recognizer:
        events = asyncio.run(scenario())
    for event in events:
        validators[event["type"]].validate(event)
    said = {event["type"] for event in events}
    assert said == set(described) - {"audio"} - {message["type"] for message in sent}


# bad input


async def send_frame(websocket: ClientConnection, data: bytes, opcode: Opcode) -> None:
    """A frame that the library would not let through."""
    websocket.protocol.writes.append(Frame(opcode, data).serialize(mask=True))
    for piece in websocket.protocol.data_to_send():
        websocket.transport.write(piece)


BAD_MESSAGES = {
    "text where audio is due": (["UklGRiQAAABXQVZF"], "invalid_json", "audio goes in binary"),
    "deep JSON": (["[" * 10_000], "json_too_deep", "nested deeper than 8"),
    "a long text": (['"' + "x" * 50_000 + '"'], "text_too_long", "at most 16384"),
    "an update after audio": (
        [PCM[:3200], '{"type": "session.update", "channels": 2}'],
        "update_after_audio",
        "send it before",
    ),
    "an unknown encoding": (
        ['{"type": "session.update", "encoding": "opus"}'],
        "invalid_setting",
        "encoding must be one of s16le",
    ),
    "an unknown message": (['{"type": "start"}'], "unknown_message", "'start'; there are"),
    "NaN": (
        ['{"type": "session.update", "encoding": "f32le"}', np.full(9, np.nan, "<f4").tobytes()],
        "audio_unsupported",
        "is the encoding really f32le",
    ),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_bad_messages_end_their_session_and_no_other(recognizer: Recognizer, name: str) -> None:
    messages, code, words = BAD_MESSAGES[name]

    async def scenario() -> None:
        async with serving(recognizer) as served, connect(served.address) as other:
            await read(other)
            await other.send(PCM[: len(PCM) // 2])
            heard = await talk(served.address, messages)
            error, closed = heard.events[-2:]
            assert (error["code"], error["fatal"]) == (code, True)
            assert words in error["message"]
            assert "Traceback" not in error["message"]
            assert (closed["type"], closed["reason"]) == ("session.closed", "error")
            assert (heard.code, heard.reason) == (4400, code)
            rest = Heard()
            await other.send(PCM[len(PCM) // 2 :])
            await other.send(CLOSE)
            await read_all(other, rest)
            assert rest.code == 1000
            assert_same(rest.events, reference(recognizer, sample(), 16000))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "query",
    [
        "encoding=opus",
        "channels=0",
        "colour=red",
        "resume=nobody",
        "resume=",
        "last_seq=1",
        "asr=tiny",
    ],
)
def test_a_bad_query_is_refused_with_a_reason(recognizer: Recognizer, query: str) -> None:
    async def scenario() -> Heard:
        async with serving(recognizer) as served:
            return await talk(f"{served.address}?{query}", [PCM, CLOSE])

    heard = asyncio.run(scenario())
    (error,) = heard.events
    assert (error["type"], error["seq"], error["fatal"]) == ("error", 0, True)
    assert (heard.code, heard.reason) == (4400, error["code"])


@pytest.mark.parametrize(
    ("data", "opcode", "code"),
    [
        (b"\xff\xfe", Opcode.TEXT, 1007),
        (bytes(300_000), Opcode.BINARY, 1009),
        (b" " * 300_000, Opcode.TEXT, 1009),
        (b"", Opcode.CONT, 1002),
    ],
)
def test_what_the_websocket_itself_forbids_closes_it_and_the_session_can_be_resumed(
    recognizer: Recognizer, data: bytes, opcode: Opcode, code: int
) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            before = Heard()
            async with connect(served.address, max_size=None) as websocket:
                created = await read(websocket)
                await websocket.send(PCM)
                await websocket.send('{"type": "ping"}')
                await read(websocket, "pong")
                await send_frame(websocket, data, opcode)
                await read_all(websocket, before)
            assert before.code == code
            if code == 1009:
                assert "262144" in before.reason
            after = await talk(f"{served.address}?resume={created['resume_token']}", [CLOSE])
        assert_same(after.events, reference(recognizer, sample(), 16000))

    asyncio.run(scenario())


def test_a_half_closed_connection_is_a_dropped_one(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            async with connect(served.address) as websocket:
                created = await read(websocket)
                await websocket.send(PCM)
                await websocket.send('{"type": "ping"}')
                await read(websocket, "pong")
                websocket.transport.write_eof()
                await websocket.wait_closed()
            assert websocket.close_code == 1006
            after = await talk(f"{served.address}?resume={created['resume_token']}", [CLOSE])
            assert after.one("session.resumed")["received_samples"] == len(PCM) // 2
        assert_same(after.events, reference(recognizer, sample(), 16000))

    asyncio.run(scenario())


def test_rubbish_on_the_port_harms_nobody(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            host, port = served.page.removeprefix("http://").rstrip("/").split(":")
            for rubbish in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", bytes(100_000)):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(rubbish)
                with contextlib.suppress(ConnectionError):
                    writer.write_eof()
                    await reader.read()
                writer.close()
            heard = await talk(served.address, [*pieces(PCM, 3200), CLOSE])
        assert_same(heard.events, reference(recognizer, sample(), 16000))

    asyncio.run(scenario())


def test_who_says_nothing_is_not_waited_for(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer, handshake_timeout_s=0.05) as served:
            host, port = served.page.removeprefix("http://").rstrip("/").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(scenario())


def test_an_odd_number_of_bytes_is_told(recognizer: Recognizer) -> None:
    async def scenario() -> Heard:
        async with serving(recognizer) as served:
            return await talk(served.address, [PCM, b"\x01", CLOSE])

    heard = asyncio.run(scenario())
    assert [event["type"] for event in heard.events[-2:]] == ["warning", "session.closed"]
    assert heard.events[-2]["code"] == "cut_sample"
    assert heard.code == 1000


def test_compression_is_declined(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with (
            serving(recognizer) as served,
            connect(served.address, compression="deflate") as websocket,
        ):
            assert websocket.protocol.extensions == []

    asyncio.run(scenario())
