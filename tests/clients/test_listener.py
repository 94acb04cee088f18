"""What the adapters have in common, against the real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from serving import pieces, sample, serving

from realtime_ser.recognizer import Recognizer
from realtime_ser_client import Backoff, ClientError, Event, SessionCreated
from realtime_ser_client.listener import Listener

LINE = r"\[speaker: \w+, 0\.\d\d; arousal (low|medium|high); \d\.\d s heard\]"
PCM = sample().astype("<i2").tobytes()
AT_ONCE = Backoff(0.0, 0.0)


@pytest.fixture(scope="module")
def hearing() -> Iterator[Recognizer]:
    """A recognizer that is sure of itself."""
    with Recognizer(asr="off", threads=1) as recognizer:
        yield recognizer


class Following:
    """A listener, and what it tells."""

    def __init__(self, url: str, **options: str) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.errors: asyncio.Queue[ClientError] = asyncio.Queue()
        self.listener = Listener(
            url,
            on_event=self.events.put,
            on_error=self.errors.put,
            backoff=AT_ONCE,
            **options,
        )

    async def until(self, type: str) -> Event:
        while (event := await self.events.get()).type != type:
            pass
        return event


def test_a_turn_has_its_line_once(hearing: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(hearing) as served:
            following = Following(served.address)
            listener = following.listener
            assert listener.take_line() is None
            for piece in pieces(PCM, 640):
                listener.hear(piece, 16_000)
            await following.until("emotion.final")
            line = listener.line()
            assert line is not None
            assert re.fullmatch(LINE, line)
            assert listener.take_line() == line
            assert listener.take_line() is None
            await listener.close()
            await listener.close()

    asyncio.run(scenario())


def test_audio_of_another_format_is_another_session(hearing: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(hearing) as served:
            following = Following(served.address)
            for rate_hz, channels in ((16_000, 1), (48_000, 2)):
                following.listener.hear(PCM, rate_hz, channels)
                created = await following.until("session.created")
                assert isinstance(created, SessionCreated)
                assert created.config["sample_rate_hz"] == rate_hz
                assert created.config["channels"] == channels
                if rate_hz == 16_000:
                    await following.until("emotion.final")
            await following.listener.close()

    asyncio.run(scenario())


def test_a_server_that_is_not_there_yet_is_tried_again(hearing: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(hearing) as first:
            address, port = first.address, int(first.address.split(":")[2].split("/")[0])
        following = Following(address)
        following.listener.hear(PCM, 16_000)
        for _ in range(3):
            assert "cannot connect" in str(await following.errors.get())
        async with serving(hearing, port=port):
            await following.until("emotion.final")
            await following.listener.close()

    asyncio.run(scenario())


def test_with_a_wrong_token_there_is_one_attempt(hearing: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(hearing, token="0123456789abcdef") as served:
            following = Following(served.address, token="wrong")
            following.listener.hear(PCM, 16_000)
            assert "unauthorized" in str(await following.errors.get())
            task = following.listener._task
            assert task is not None
            await task
            following.listener.hear(PCM, 16_000)
            assert following.listener.take_line() is None
            await following.listener.close()

    asyncio.run(scenario())
