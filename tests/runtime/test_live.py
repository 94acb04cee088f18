"""A live stream as its server drives it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
from timelines import LoudnessDetector, analysis_of, audio

from realtime_ser.config import Settings
from realtime_ser.core.events import Event, SessionClosed
from realtime_ser.errors import AudioUnsupportedError, RemoteProtocolError
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.batching import AnalysisWorker
from realtime_ser.runtime.intake import Intake
from realtime_ser.runtime.live import LiveStream
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Notice, Stream, StreamDescription
from realtime_ser.types import Analysis, AnalysisJob, JobKind, Judgement, Samples

DESCRIPTION = StreamDescription(bundle={}, providers=(), asr="off")
TALK = "." * 20 + "#" * 40 + "." * 30


class SlowThenFast:
    """Holds its answers until the gate opens; remembers which threads it was asked on."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        assert self.gate.wait(60)
        return [analysis_of(job) for job in jobs]


class WatchfulDetector(LoudnessDetector):
    """Remembers on which threads it was asked."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def judge(self, frames: Sequence[Samples | None]) -> list[Judgement]:
        self.threads.add(threading.get_ident())
        return super().judge(frames)


def run(
    scenario: Callable[[LiveStream, list[Event], SlowThenFast], Awaitable[None]],
    detector: LoudnessDetector | None = None,
    **settings: float,
) -> list[Event]:
    told: list[Event] = []

    async def act() -> None:
        clock, analyzer = ArrivalClock(), SlowThenFast()
        stream = Stream(
            "test",
            Settings(**settings),
            lambda _: detector or LoudnessDetector(),
            DESCRIPTION,
            clock,
        )
        with AnalysisWorker(analyzer) as worker, Intake() as intake:
            live = LiveStream(stream, clock, worker, intake, told.extend)
            try:
                await scenario(live, told, analyzer)
            finally:
                analyzer.gate.set()

    asyncio.run(act())
    return told


def test_listening_is_not_done_on_the_event_loop() -> None:
    detector = WatchfulDetector()

    async def scenario(live: LiveStream, told: list[Event], analyzer: SlowThenFast) -> None:
        analyzer.gate.set()
        await live.feed(AudioBlock(audio(TALK), 16000))
        await live.finish("eof")

    told = run(scenario, detector)
    assert [event.type for event in told][-1] == "session.closed"
    assert detector.threads
    assert threading.get_ident() not in detector.threads


def test_the_end_comes_once_and_audio_after_it_is_dropped() -> None:
    async def scenario(live: LiveStream, told: list[Event], analyzer: SlowThenFast) -> None:
        analyzer.gate.set()
        await live.feed(AudioBlock(audio(TALK), 16000))
        error = RemoteProtocolError("too_silly", "stop it")
        await live.finish("eof", error, Notice("by_the_way", "listen"))
        await live.feed(AudioBlock(audio(TALK), 16000))

    told = run(scenario)
    assert [event.type for event in told[-4:]] == [
        "utterance.end",
        "warning",
        "error",
        "session.closed",
    ]
    closed = told[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.reason, closed.audio_seconds) == ("error", pytest.approx(len(TALK) * 0.03))
    assert [event.seq for event in told] == list(range(len(told)))


def test_being_late_is_said_once_until_it_is_over() -> None:
    async def scenario(live: LiveStream, told: list[Event], analyzer: SlowThenFast) -> None:
        await live.feed(AudioBlock(audio(TALK * 3), 16000))
        analyzer.gate.set()
        await live.finish("eof")

    # audio that comes at once, with the gate shut until all of it has, is told later than this ...
    told = run(scenario, lag_warning_ms=1.0)
    assert [event.type for event in told].count("emotion.final") == 3
    assert [event.type for event in told].count("warning") == 1
    assert [event.seq for event in told] == list(range(len(told)))
    # ... and none by a year
    assert "warning" not in [event.type for event in run(scenario, lag_warning_ms=1e9)]


def test_a_block_that_is_no_sound_is_refused_and_the_rest_is_told() -> None:
    async def scenario(live: LiveStream, told: list[Event], analyzer: SlowThenFast) -> None:
        analyzer.gate.set()
        await live.feed(AudioBlock(audio(TALK), 16000))
        with pytest.raises(AudioUnsupportedError, match="NaN"):
            await live.feed(AudioBlock(np.full(99, np.nan, np.float32), 16000))
        await live.finish("eof")

    assert [event.type for event in run(scenario)].count("emotion.final") == 1


def test_speculation_that_waits_becomes_a_final_when_its_utterance_ends() -> None:
    async def scenario(live: LiveStream, told: list[Event], analyzer: SlowThenFast) -> None:
        waiting = live._worker.waiting
        await live.feed(AudioBlock(audio("." * 20 + "#" * 20), 16000))
        while waiting(JobKind.PARTIAL):  # until it holds the worker
            await asyncio.sleep(0)
        await live.feed(AudioBlock(audio("." * 8), 16000))
        assert (waiting(JobKind.SPECULATIVE), waiting(JobKind.FINAL)) == (1, 0)
        await live.feed(AudioBlock(audio("." * 20), 16000))
        assert (waiting(JobKind.SPECULATIVE), waiting(JobKind.FINAL)) == (0, 1)
        analyzer.gate.set()
        await live.finish("eof")

    assert [event.type for event in run(scenario)].count("emotion.final") == 1


def test_an_abandoned_stream_waits_for_nobody() -> None:
    async def scenario(live: LiveStream, told: list[Event], analyzer: SlowThenFast) -> None:
        feeding = asyncio.create_task(live.feed(AudioBlock(audio(TALK * 20), 16000)))
        while not told:
            await asyncio.sleep(0.001)
        live.abandon()
        await feeding

    assert "emotion.final" not in [event.type for event in run(scenario)]
