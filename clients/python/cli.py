"""`realtime-ser-client stream FILE|mic`: what a server hears in a recording or a microphone.

Exit codes: 0, 2 usage, 3 input, 5 server; 130 after Ctrl-C before the session began.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from realtime_ser_client import __version__
from realtime_ser_client.errors import ClientError
from realtime_ser_client.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    RollingUpdate,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    TranscriptFinal,
    TranscriptPartial,
    WarningEvent,
)
from realtime_ser_client.samples import BYTES_PER_SAMPLE
from realtime_ser_client.session import DEFAULT_URL, Session, connect
from realtime_ser_client.sources import (
    BLOCK_MS,
    Format,
    SourceError,
    from_blocks,
    from_microphone,
    open_raw,
    open_wav,
)

TOKEN_VARIABLE = "REALTIME_SER_TOKEN"

_LAST_WORDS_S = 1.0
_USAGE, _INPUT, _SERVER, _INTERRUPTED = 2, 3, 5, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_stream(options))
    except SourceError as error:
        return _fail(error, _INPUT)
    except ClientError as error:
        return _fail(error, _SERVER)
    except ValueError as error:
        return _fail(error, _USAGE)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(error: Exception, code: int) -> int:
    print(f"realtime-ser-client: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="realtime-ser-client",
        description="Speech emotion recognition by a realtime-ser server.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stream = commands.add_parser("stream", help="send a recording or a microphone, print events")
    stream.add_argument("source", metavar="FILE|mic", help="a WAV file, `mic`, or with --raw any")
    stream.add_argument("--url", default=DEFAULT_URL, help="of the server (%(default)s)")
    stream.add_argument(
        "--token",
        default=os.environ.get(TOKEN_VARIABLE),
        help=f"better in the environment, as {TOKEN_VARIABLE}",
    )
    stream.add_argument("--json", action="store_true", help="events as JSON Lines, as they came")
    stream.add_argument("--fast", action="store_true", help="not at the pace of real time")
    stream.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_setting,
        help="a setting of the session: --set hangover_ms=300",
    )
    raw = stream.add_argument_group("bare PCM, and microphones")
    raw.add_argument("--raw", action="store_true", help="the file is PCM; - is standard input")
    raw.add_argument("--encoding", choices=tuple(BYTES_PER_SAMPLE), default="s16le")
    raw.add_argument("--rate", type=int, default=16_000, help="samples a second (%(default)s)")
    raw.add_argument("--channels", type=int, default=1)
    raw.add_argument("--device", help="of the microphone: a number, or part of its name")
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


async def _stream(options: argparse.Namespace) -> int:
    audio, blocks = _open_source(options)
    async with connect(
        options.url,
        token=options.token,
        encoding=audio.encoding,
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.channels,
        settings=dict(options.set),
    ) as session:
        sending = asyncio.create_task(_send(session, blocks))
        with _ctrl_c_ends(sending):
            try:
                async for event in session:
                    _show(event, options.json)
                # our own end of the audio is over, too; after the server's end it may never be
                await asyncio.wait([sending], timeout=_LAST_WORDS_S)
            finally:
                sending.cancel()
                await asyncio.wait([sending])
        if not sending.cancelled() and isinstance(error := sending.exception(), SourceError):
            raise error
    return 0


def _open_source(options: argparse.Namespace) -> tuple[Format, AsyncIterator[bytes]]:
    pace_s = None if options.fast or options.source == "-" else BLOCK_MS / 1000
    if options.source == "mic":
        audio = Format("s16le", options.rate, 1)
        return audio, from_microphone(options.device, options.rate)
    if options.raw or options.source == "-":
        audio = Format(options.encoding, options.rate, options.channels)
        return audio, from_blocks(open_raw(options.source, audio), pace_s)
    audio, blocks = open_wav(Path(options.source))
    return audio, from_blocks(blocks, pace_s)


async def _send(session: Session, blocks: AsyncIterator[bytes]) -> None:
    """Everything, or what there is until Ctrl-C; then the end."""
    try:
        async for data in blocks:
            await session.send(data)
    except asyncio.CancelledError:
        pass
    finally:
        # the reader hears of what went wrong
        with contextlib.suppress(ClientError):
            await session.close()


@contextlib.contextmanager
def _ctrl_c_ends(sending: asyncio.Task[None]) -> Any:
    """The first Ctrl-C ends the audio, and what was said is still told; the second ends all."""
    loop = asyncio.get_running_loop()
    main_task = asyncio.current_task()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        if main_task is not None:
            loop.add_signal_handler(signal.SIGINT, main_task.cancel)
        sending.cancel()

    try:
        loop.add_signal_handler(signal.SIGINT, interrupted)
    except (NotImplementedError, RuntimeError):  # Windows, or a thread that is not the main one
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _show(event: Event, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event.raw, ensure_ascii=False), flush=True)
    elif (line := describe(event)) is not None:
        # what a server says must not steer the terminal
        print("".join(c if c.isprintable() else "?" for c in line), flush=True)


def describe(event: Event) -> str | None:
    """One line for people; None for what they need not see."""
    at = f"{event.audio_end_ms / 1000:7.2f} s  "
    match event:
        case SessionCreated():
            asr = f"transcripts: {event.asr}"
            return f"{event.bundle['name']} on {', '.join(event.providers)}; {asr}"
        case EmotionPartial():
            return f"{at}... {_estimate(event)}"
        case TranscriptPartial():
            return f"{at}... “{event.transcript.text}”"
        case TranscriptFinal():
            return f"{at}“{event.transcript.text}”"
        case EmotionFinal():
            return f"{at}{_estimate(event)}"
        case RollingUpdate(estimate=rolling):
            mood = _affect(rolling.affect.valence, rolling.affect.arousal)
            return f"{at}mood: {rolling.emotion.top}; {mood}"
        case WarningEvent() | ErrorEvent():
            return f"{at}{event.type}: {event.message}"
        case SessionResumed():
            return f"{at}the connection dropped, and is back"
        case SessionClosed():
            return (
                f"{event.utterances} utterances, {event.speech_seconds:.1f} s of speech in "
                f"{event.audio_seconds:.1f} s; {event.reason}"
            )
    return None


def _estimate(event: EmotionFinal | EmotionPartial) -> str:
    if event.emotion is None or event.affect is None:
        return "failed"
    label = "unsure" if event.abstained else f"{event.emotion.top} {event.confidence:.2f}"
    affect = _affect(event.affect.valence, event.affect.arousal)
    return f"{label}; {affect}; {event.speech_seconds:.1f} s heard"


def _affect(valence: float, arousal: float) -> str:
    return f"valence {valence:.2f}, arousal {arousal:.2f}"
