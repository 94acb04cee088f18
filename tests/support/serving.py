"""A real server on loopback, and clients that say what a test wants said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from timelines import LoudnessDetector, analysis_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime_ser.config import ServerSettings, Settings
from realtime_ser.core.wire import event_to_wire
from realtime_ser.io.file import AudioFile
from realtime_ser.io.server import RecognitionServer
from realtime_ser.io.server_session import Engine
from realtime_ser.recognizer import Recognizer
from realtime_ser.runtime.batching import AnalysisWorker
from realtime_ser.runtime.intake import Intake
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Clock, Stream, StreamDescription
from realtime_ser.samples import sample_path
from realtime_ser.types import Analysis, AnalysisJob

CLOSE = '{"type": "session.close"}'
DEADLINE_S = 60
"""For what must happen; far above what it takes, so that only a fault reaches it."""


@dataclass
class Served:
    """Where a server listens."""

    server: RecognitionServer
    address: str
    page: str

    @property
    def open_sessions(self) -> int:
        """Sessions that go on."""
        return self.server.open_sessions


@contextlib.asynccontextmanager
async def serving(engine: Engine, **settings: Any) -> AsyncIterator[Served]:
    """A warm server on a free port of loopback."""
    settings = {"port": 0, "drain_timeout_s": float(DEADLINE_S), **settings}
    server = RecognitionServer(engine, ServerSettings(**settings))
    async with asyncio.timeout(DEADLINE_S), server.running() as listening:
        await server.warm_up()
        yield Served(server, server.address(listening), server.page_address(listening))


@dataclass
class Heard:
    """What a client got: events in their order, and how the connection was closed."""

    events: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None
    reason: str = ""

    def of(self, *types: str) -> list[dict[str, Any]]:
        """The events of some types."""
        return [event for event in self.events if event["type"] in types]

    def one(self, type: str) -> dict[str, Any]:
        """The only event of a type."""
        (event,) = self.of(type)
        return event


async def read(websocket: ClientConnection, until: str | None = None) -> dict[str, Any]:
    """The next event, or the next of type `until`."""
    while True:
        event: dict[str, Any] = json.loads(await websocket.recv())
        if until is None or event["type"] == until:
            return event


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until it is so; the server's own deadline ends it."""
    while not condition():
        await asyncio.sleep(0.001)


async def send_all(websocket: ClientConnection, messages: Iterable[str | bytes]) -> None:
    """Send until the connection is closed."""
    with contextlib.suppress(ConnectionClosed):
        for message in messages:
            await websocket.send(message)


async def talk(address: str, messages: Iterable[str | bytes], **options: Any) -> Heard:
    """Connect, send `messages` while reading, and read to the end."""
    heard = Heard()
    async with connect(address, **options) as websocket:
        sending = asyncio.create_task(send_all(websocket, messages))
        await read_all(websocket, heard)
        await sending
    return heard


async def read_all(websocket: ClientConnection, heard: Heard) -> None:
    """Everything until the connection is closed."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            heard.events.append(json.loads(await websocket.recv()))
    heard.code, heard.reason = websocket.close_code, websocket.close_reason or ""


def sample(name: str = "short") -> np.ndarray:
    """A sample recording, int16 [samples] at 16 kHz."""
    return np.concatenate([block.samples for block in AudioFile(sample_path(name))])[:, 0]


def pieces(data: bytes, size: int) -> list[bytes]:
    """`data` cut into messages of `size` bytes."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def reference(recognizer: Recognizer, samples: np.ndarray, rate_hz: int) -> list[dict[str, Any]]:
    """What `realtime-ser file` tells of the samples."""
    blocks = [AudioBlock(samples, rate_hz)]
    return [event_to_wire(event) for event in recognizer.events(blocks)]


def said(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be told whatever the driver: its clocks, numbers and partials aside."""
    kept = ("utterance.start", "transcript.final", "emotion.final", "rolling.update")
    clocks = ("seq", "lag_ms", "timings")
    return [
        {name: value for name, value in event.items() if name not in clocks}
        for event in events
        if event["type"] in (*kept, "utterance.end") and event["type"] != "utterance.start"
    ]


def assert_same(heard: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]]) -> None:
    """Both tell the same, up to the rounding of what was computed in one batch with others."""
    heard, expected = said(heard), said(expected)
    assert [_words(event) for event in heard] == [_words(event) for event in expected]
    for one, other in zip(heard, expected, strict=True):
        np.testing.assert_allclose(_numbers(one), _numbers(other), atol=2e-5)


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _words(item) for name, item in value.items()}
    return None if isinstance(value, float) else value


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in _numbers(item)]
    return [value] if isinstance(value, float) else []


class GatedEngine:
    """Serves without models: what is loud is speech, and answers wait for the gate."""

    def __init__(self, *, is_open: bool = True, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.description = StreamDescription(
            bundle={"name": "gated", "version": "0", "sha256": "00"}, providers=("none",), asr="off"
        )
        self.gate = threading.Event()
        self.started = threading.Event()
        if is_open:
            self.gate.set()
        self._threads = contextlib.ExitStack()
        self.worker = self._threads.enter_context(AnalysisWorker(self))
        self.intake = self._threads.enter_context(Intake())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.gate.set()
        self._threads.close()

    def load(self) -> None:
        """There is nothing to load."""

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        """Answer once the gate is open."""
        self.started.set()
        assert self.gate.wait(DEADLINE_S)
        return [analysis_of(job) for job in jobs]

    def new_stream(self, stream_id: str, settings: Settings, clock: Clock) -> Stream:
        """A stream that hears loudness."""
        return Stream(stream_id, settings, lambda _: LoudnessDetector(), self.description, clock)
