"""Emotion for Home Assistant: a Wyoming speech-to-text service that says how the user sounded.

    python -m realtime_ser_client.wyoming --uri tcp://0.0.0.0:10400 --asr tcp://whisper:10300

Home Assistant has no place for emotions, but hands transcripts to its conversation agent. So this
is a speech-to-text service: what it returns is the transcript of another Wyoming service (`--asr`,
say wyoming-faster-whisper), or else of the realtime-ser server, and after it a line such as
`[speaker: angry, 0.71; arousal high; 3.2 s heard]`, left out when the recognizer abstained. The
line is in the transcript's `context` too, for programs; `--no-line` leaves it to that, since
sentences that Home Assistant matches by itself must end where they end. Tested with wyoming 1.10.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler, AsyncServer

from realtime_ser_client import __version__
from realtime_ser_client.cli import TOKEN_VARIABLE
from realtime_ser_client.errors import ClientError
from realtime_ser_client.events import TranscriptFinal
from realtime_ser_client.prompt import Turn
from realtime_ser_client.session import DEFAULT_URL, Session, connect

_LOGGER = logging.getLogger(__name__)

CONTEXT_KEY = "realtime_ser"


@dataclass(frozen=True, slots=True)
class Options:
    """How the service works.

    Attributes:
        url: of the realtime-ser server; `connect` are more arguments for it.
        asr: address of the Wyoming service that transcribes; None leaves it to the server.
        with_line: whether the line is put into the text.
        languages: what Home Assistant is told, where there is no `asr` to be asked.
    """

    url: str = DEFAULT_URL
    asr: str | None = None
    with_line: bool = True
    languages: tuple[str, ...] = ("en",)
    connect: dict[str, Any] = field(default_factory=dict)


class EmotionEventHandler(AsyncEventHandler):
    """One connection of Home Assistant: a command after the other."""

    def __init__(
        self, options: Options, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(reader, writer)
        self._options = options
        self._transcribe = Transcribe()
        self._command: _Command | None = None

    async def handle_event(self, event: Event) -> bool:
        """Answer an event; False ends the connection."""
        if Describe.is_type(event.type):
            await self.write_event((await _describe(self._options)).event())
        elif Transcribe.is_type(event.type):
            self._transcribe = Transcribe.from_event(event)
        elif AudioStart.is_type(event.type):
            await self.disconnect()
            self._command = _Command(self._options)
            await self._command.begin(self._transcribe, AudioStart.from_event(event))
        elif AudioChunk.is_type(event.type) and self._command is not None:
            await self._command.hear(AudioChunk.from_event(event))
        elif AudioStop.is_type(event.type) and self._command is not None:
            return await self._answer(self._command)
        return True

    async def disconnect(self) -> None:
        """Drop the command that was not finished."""
        if self._command is not None:
            command, self._command = self._command, None
            await command.abandon()

    async def _answer(self, command: _Command) -> bool:
        try:
            transcript = await command.finish()
        except (ClientError, OSError) as error:
            _LOGGER.error("no transcript: %s", error)
            await self.write_event(Error(text=str(error), code="no-transcript").event())
            return False
        finally:
            await self.disconnect()
        await self.write_event(transcript.event())
        return True


class _Command:
    """One command: its audio on the way to both services, and what they say about it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._converter = AudioChunkConverter(width=2)
        self._stack = contextlib.AsyncExitStack()
        self._session: Session | None = None
        self._failure: ClientError | None = None
        self._asr: AsyncClient | None = None

    async def begin(self, transcribe: Transcribe, start: AudioStart) -> None:
        try:
            self._session = await self._stack.enter_async_context(
                connect(
                    self._options.url,
                    sample_rate_hz=start.rate,
                    channels=start.channels,
                    **self._options.connect,
                )
            )
        except ClientError as error:
            self._failed(error)
        if self._options.asr is not None:
            client = AsyncClient.from_uri(self._options.asr)
            with contextlib.suppress(OSError):  # told in `finish`, where there is an answer
                self._asr = await self._stack.enter_async_context(client)
            await self._forward(transcribe.event())
            await self._forward(start.event())

    async def hear(self, chunk: AudioChunk) -> None:
        if self._session is not None:
            try:
                await self._session.send(self._converter.convert(chunk).audio)
            except ClientError as error:
                self._failed(error)
        await self._forward(chunk.event())

    async def finish(self) -> Transcript:
        """The transcript, with the line.

        Raises:
            ClientError, OSError: nobody has transcribed it.
        """
        turn, text = Turn(), ""
        if self._session is not None:
            try:
                await self._session.close()
            except ClientError as error:
                self._failed(error)
        if self._session is not None:
            events = self._session.received()
            for event in events:
                turn.add(event)
            said = [e.transcript.text.strip() for e in events if isinstance(e, TranscriptFinal)]
            text = " ".join(said)
        if self._options.asr is not None:
            text = await self._transcribed()
        elif self._failure is not None:
            raise self._failure
        line = turn.line()
        if line is not None and not text:
            _LOGGER.warning("speech was heard, and no words: who transcribes? see --asr")
        # without words there is nothing that the line could be about
        if line is not None and text and self._options.with_line:
            text = f"{text} {line}"
        return Transcript(text=text, context=None if line is None else {CONTEXT_KEY: line})

    async def abandon(self) -> None:
        if self._session is not None:
            await self._session.abort()
        with contextlib.suppress(ClientError, OSError):
            await self._stack.aclose()

    async def _forward(self, event: Event) -> None:
        if self._asr is not None:
            try:
                await self._asr.write_event(event)
            except OSError:
                self._asr = None

    async def _transcribed(self) -> str:
        if self._asr is None:
            raise ConnectionError(f"no speech-to-text service at {self._options.asr}; is it up?")
        await self._asr.write_event(AudioStop().event())
        while (event := await self._asr.read_event()) is not None:
            if Transcript.is_type(event.type):
                return Transcript.from_event(event).text
        raise ConnectionError(f"{self._options.asr} has closed the connection without a transcript")

    def _failed(self, error: ClientError) -> None:
        _LOGGER.warning("no emotion: %s", error)
        self._session, self._failure = None, error


async def _describe(options: Options) -> Info:
    attribution = Attribution(name="realtime-ser", url="")
    languages = sorted(await _asr_languages(options) or options.languages)
    shared: dict[str, Any] = {"attribution": attribution, "installed": True, "version": __version__}
    name, description = "realtime-ser", "Transcripts that say how the speaker sounds"
    model = AsrModel(name=name, description=description, languages=languages, **shared)
    return Info(asr=[AsrProgram(name=name, description=description, models=[model], **shared)])


async def _asr_languages(options: Options) -> set[str]:
    """What the other service understands; empty where there is none, or it does not say."""
    if options.asr is None:
        return set()
    try:
        async with AsyncClient.from_uri(options.asr) as client:
            await client.write_event(Describe().event())
            while (event := await client.read_event()) is not None:
                if Info.is_type(event.type):
                    models = [m for asr in Info.from_event(event).asr for m in asr.models]
                    return {language for model in models for language in model.languages}
    except OSError as error:
        _LOGGER.warning("no speech-to-text service at %s: %s", options.asr, error)
    return set()


def handler_factory(options: Options) -> partial[EmotionEventHandler]:
    """What `AsyncServer.run` takes."""
    return partial(EmotionEventHandler, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="realtime_ser_client.wyoming", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--uri", default="tcp://127.0.0.1:10400", help="where to listen")
    parser.add_argument("--url", default=DEFAULT_URL, help="of the realtime-ser server")
    parser.add_argument("--token", default=os.environ.get(TOKEN_VARIABLE))
    parser.add_argument("--asr", metavar="URI", help="Wyoming service that transcribes")
    parser.add_argument("--no-line", action="store_true", help="leave the text as it is")
    parser.add_argument("--language", action="append", help="without --asr; can be repeated")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    options = Options(
        chosen.url,
        chosen.asr,
        not chosen.no_line,
        tuple(chosen.language or ("en",)),
        {"token": chosen.token},
    )
    server = AsyncServer.from_uri(chosen.uri)
    _LOGGER.info("listening on %s", chosen.uri)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.run(handler_factory(options)))


if __name__ == "__main__":
    main()
