"""The server as its clients meet it: real WebSockets on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import CLOSE, assert_same, pieces, reference, sample, serving, talk

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


@pytest.mark.parametrize("by_query", [True, False])
@pytest.mark.parametrize(
    ("encoding", "rate_hz", "channels"),
    [("f32le", 16000, 1), ("mulaw", 8000, 1), ("alaw", 8000, 2), ("s16le", 48000, 2)],
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
