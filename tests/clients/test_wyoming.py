"""The Wyoming service, as Home Assistant meets it: the real package, real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from serving import sample, serving

from realtime_ser.recognizer import Recognizer

with warnings.catch_warnings():
    # wyoming prefers audioop as long as Python has it, and has its own for Python 3.13
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    pytest.importorskip("wyoming.audio", reason="the package wyoming is not installed")

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler, AsyncTcpServer

from realtime_ser_client.wyoming import CONTEXT_KEY, Options, handler_factory

LINE = r"\[speaker: \w+, 0\.\d\d; arousal (low|medium|high); 1\.6 s heard\]"
PCM = sample().astype("<i2").tobytes()


@pytest.fixture(scope="module")
def hearing(whisper_folder: Path) -> Iterator[Recognizer]:
    """A recognizer that is sure of itself, and transcribes everything as "hello there"."""
    with Recognizer(asr=str(whisper_folder), threads=1) as recognizer:
        yield recognizer


@contextlib.asynccontextmanager
async def wyoming_server(factory: Any) -> AsyncIterator[str]:
    """The address of a Wyoming server on a free port."""
    server = AsyncTcpServer("127.0.0.1", 0)
    await server.start(factory)
    assert isinstance(server._server, asyncio.Server)
    try:
        yield "tcp://{}:{}".format(*server._server.sockets[0].getsockname())
    finally:
        await server.stop()


async def say(uri: str, audio: bytes, width: int = 2) -> Event:
    """The answer to one command."""
    host, port = uri.removeprefix("tcp://").split(":")
    audio_format = {"rate": 16_000, "width": width, "channels": 1}
    async with AsyncTcpClient(host, int(port)) as client:
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(**audio_format).event())
        for start in range(0, len(audio), 2048):
            chunk = AudioChunk(audio=audio[start : start + 2048], **audio_format)
            await client.write_event(chunk.event())
        await client.write_event(AudioStop().event())
        answer = await client.read_event()
        assert answer is not None
        return answer


class OtherService(AsyncEventHandler):
    """A speech-to-text service that counts what it hears."""

    def __init__(self, heard: list[bytes], *streams: Any) -> None:
        super().__init__(*streams)
        self.heard = heard

    async def handle_event(self, event: Event) -> bool:
        if Describe.is_type(event.type):
            shared: dict[str, Any] = {
                "name": "other",
                "attribution": Attribution("", ""),
                "installed": True,
                "description": "",
                "version": "1",
            }
            model = AsrModel(languages=["de", "en"], **shared)
            await self.write_event(Info(asr=[AsrProgram(models=[model], **shared)]).event())
        elif AudioChunk.is_type(event.type):
            self.heard.append(AudioChunk.from_event(event).audio)
        elif AudioStop.is_type(event.type):
            await self.write_event(Transcript("turn on the light").event())
        return True


def run(
    recognizer: Recognizer,
    work: Callable[[str], Any],
    with_line: bool = True,
    asr: str | None = None,
) -> Any:
    async def scenario() -> Any:
        async with serving(recognizer) as served:
            options = Options(served.address, asr, with_line)
            async with wyoming_server(handler_factory(options)) as uri:
                return await work(uri)

    return asyncio.run(scenario())


@pytest.mark.parametrize("with_line", [True, False])
def test_the_transcript_says_how_the_speaker_sounds(hearing: Recognizer, with_line: bool) -> None:
    answer = run(hearing, lambda uri: say(uri, PCM), with_line)
    transcript = Transcript.from_event(answer)
    assert transcript.context is not None
    line = transcript.context[CONTEXT_KEY]
    assert re.fullmatch(LINE, line)
    assert transcript.text == ("hello there" + f" {line}" * with_line)


@pytest.mark.parametrize("audio", [PCM, bytes(32_000)], ids=["unsure", "silence"])
def test_where_the_recognizer_abstains_there_is_no_line(
    recognizer: Recognizer, audio: bytes
) -> None:
    heard: list[bytes] = []

    async def scenario() -> Event:
        async with (
            serving(recognizer) as served,
            wyoming_server(partial(OtherService, heard)) as other,
            wyoming_server(handler_factory(Options(served.address, other))) as uri,
        ):
            return await say(uri, audio)

    transcript = Transcript.from_event(asyncio.run(scenario()))
    assert (transcript.text, transcript.context) == ("turn on the light", None)
    assert b"".join(heard) == audio


def test_another_service_transcribes(hearing: Recognizer) -> None:
    heard: list[bytes] = []

    async def scenario() -> Event:
        async with (
            serving(hearing) as served,
            wyoming_server(partial(OtherService, heard)) as other,
            wyoming_server(handler_factory(Options(served.address, other))) as uri,
        ):
            return await say(uri, PCM)

    transcript = Transcript.from_event(asyncio.run(scenario()))
    assert transcript.text.startswith("turn on the light [speaker: ")
    assert b"".join(heard) == PCM


def test_without_our_server_commands_still_work() -> None:
    async def scenario() -> Event:
        async with (
            wyoming_server(partial(OtherService, [])) as other,
            wyoming_server(handler_factory(Options("ws://127.0.0.1:1", other))) as uri,
        ):
            return await say(uri, PCM)

    assert Transcript.from_event(asyncio.run(scenario())).text == "turn on the light"


@pytest.mark.parametrize("asr", [None, "tcp://127.0.0.1:1"])
def test_where_nobody_transcribes_that_is_said(asr: str | None) -> None:
    async def scenario() -> Event:
        async with wyoming_server(handler_factory(Options("ws://127.0.0.1:1", asr))) as uri:
            return await say(uri, PCM)

    answer = asyncio.run(scenario())
    assert Error.is_type(answer.type)
    assert "cannot connect" in Error.from_event(answer).text or "is it up" in answer.data["text"]


def test_wider_samples_are_converted(hearing: Recognizer) -> None:
    wide = (sample().astype("<i4") << 16).tobytes()
    narrow, converted = (
        Transcript.from_event(run(hearing, partial(say, audio=audio, width=width)))
        for audio, width in ((PCM, 2), (wide, 4))
    )
    assert narrow == converted


def test_a_connection_takes_command_after_command(hearing: Recognizer) -> None:
    async def work(uri: str) -> list[str]:
        host, port = uri.removeprefix("tcp://").split(":")
        texts = []
        async with AsyncTcpClient(host, int(port)) as client:
            # the first is broken off
            for audio in (PCM[:32_000], PCM, PCM):
                await client.write_event(AudioStart(16_000, 2, 1).event())
                await client.write_event(AudioChunk(16_000, 2, 1, audio).event())
                if audio is not PCM:
                    continue
                await client.write_event(AudioStop().event())
                answer = await client.read_event()
                assert answer is not None
                texts.append(Transcript.from_event(answer).text)
        return texts

    first, second = run(hearing, work)
    assert first == second
    assert first.startswith("hello there [speaker: ")


def test_it_describes_itself(hearing: Recognizer) -> None:
    async def languages(options: Options) -> list[str]:
        async with wyoming_server(handler_factory(options)) as uri:
            host, port = uri.removeprefix("tcp://").split(":")
            async with AsyncTcpClient(host, int(port)) as client:
                await client.write_event(Describe().event())
                answer = await client.read_event()
        assert answer is not None
        (program,) = Info.from_event(answer).asr
        assert program.name == "realtime-ser"
        return program.models[0].languages

    async def scenario() -> None:
        assert await languages(Options(languages=("bn",))) == ["bn"]
        async with wyoming_server(partial(OtherService, [])) as other:
            assert await languages(Options(asr=other)) == ["de", "en"]
        assert await languages(Options(asr="tcp://127.0.0.1:1")) == ["en"]

    asyncio.run(scenario())
