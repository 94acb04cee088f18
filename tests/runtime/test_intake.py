"""One thread that listens for many streams."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from timelines import LoudnessDetector, analysis_of, audio

from realtime_ser.config import Settings
from realtime_ser.core.events import Event
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.batching import AnalysisWorker
from realtime_ser.runtime.intake import Frames, Intake, Judge, judge_each
from realtime_ser.runtime.live import LiveStream
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Stream, StreamDescription
from realtime_ser.types import Analysis, AnalysisJob, Judgement

DESCRIPTION = StreamDescription(bundle={}, providers=(), asr="off")
TALK = "." * 20 + "#" * 40 + "." * 30


class GatedJudge:
    """Judges once the gate is open; remembers how many frames of each stream came together."""

    def __init__(self) -> None:
        self.gate, self.asked_once = threading.Event(), threading.Event()
        self.rounds: list[list[int]] = []
        self.error: Exception | None = None

    def __call__(self, asked: Sequence[tuple[Any, Frames]]) -> list[list[Judgement]]:
        self.rounds.append([len(frames) for _, frames in asked])
        self.asked_once.set()
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return judge_each(asked)


class GatedAnalyzer:
    """Answers once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        assert self.gate.wait(60)
        return [analysis_of(job) for job in jobs]


def run(
    scenario: Callable[[list[LiveStream], list[Stream]], Awaitable[None]],
    judge: Judge,
    analyzer: GatedAnalyzer,
    streams: int = 1,
) -> list[list[Event]]:
    """Open some streams on one intake; returns what each was told."""
    told: list[list[Event]] = [[] for _ in range(streams)]

    async def act() -> None:
        with AnalysisWorker(analyzer) as worker, Intake(judge) as intake:
            opened, live = [], []
            for events in told:
                clock = ArrivalClock()
                stream = Stream("x", Settings(), lambda _: LoudnessDetector(), DESCRIPTION, clock)
                opened.append(stream)
                live.append(LiveStream(stream, clock, worker, intake, events.extend))
            try:
                async with asyncio.timeout(60):
                    await scenario(live, opened)
            finally:
                analyzer.gate.set()
                if isinstance(judge, GatedJudge):
                    judge.gate.set()

    asyncio.run(act())
    return told


def finals(events: list[Event]) -> int:
    return [event.type for event in events].count("emotion.final")


def test_what_waits_is_judged_together_and_as_much_of_it_as_makes_a_piece() -> None:
    judge, analyzer = GatedJudge(), GatedAnalyzer()
    analyzer.gate.set()

    async def scenario(live: list[LiveStream], _: list[Stream]) -> None:
        live[0].push(AudioBlock(audio("#"), 16000))
        assert await asyncio.to_thread(judge.asked_once.wait, 60)
        for _ in range(20):
            for stream in live:
                stream.push(AudioBlock(audio("#"), 16000))
        judge.gate.set()
        await asyncio.gather(*[stream.finish("eof") for stream in live])

    told = run(scenario, judge, analyzer, streams=3)
    # a piece is a quarter of a second: nine frames of 30 ms
    assert judge.rounds[:2] == [[1], [9, 9, 9]]
    assert [sum(counts) for counts in zip(*judge.rounds[1:4], strict=True)] == [20, 20, 20]
    assert [finals(events) for events in told] == [1, 1, 1]


def test_rounds_for_many_streams_leave_time_for_others_to_come() -> None:
    judged_s: list[float] = []

    def judge(asked: Sequence[tuple[Any, Frames]]) -> list[list[Judgement]]:
        judged_s.append(time.monotonic())
        return judge_each(asked)

    async def scenario(live: list[LiveStream], _: list[Stream]) -> None:
        # each waits for its turn, so that no two are in one round
        for number in range(20):
            await live[number % 2].feed(AudioBlock(audio("."), 16000))

    started_s = time.monotonic()
    run(scenario, judge, GatedAnalyzer(), streams=2)
    assert len(judged_s) == 20
    # Bounds from below, from a moment before the first: a busy machine only makes it more. Between
    # two rounds it may look less, where the first of them was held up on its way to the judge.
    assert all(at_s - started_s >= 0.0099 * rounds for rounds, at_s in enumerate(judged_s))


def test_a_stream_with_too_many_utterances_waiting_is_left_alone_until_one_is_told() -> None:
    judge, analyzer = GatedJudge(), GatedAnalyzer()
    judge.gate.set()

    async def scenario(live: list[LiveStream], streams: list[Stream]) -> None:
        live[0].push(AudioBlock(audio(TALK * 20), 16000))
        # the other one's whole talk passes in the meantime
        await live[1].feed(AudioBlock(audio(TALK * 5), 16000))
        while streams[0].session.waiting_finals < 8:
            await asyncio.sleep(0)
        await live[1].feed(AudioBlock(audio("." * 20), 16000))
        assert streams[0].session.waiting_finals == 8
        analyzer.gate.set()
        await asyncio.gather(*[stream.finish("eof") for stream in live])

    told = run(scenario, judge, analyzer, streams=2)
    assert [finals(events) for events in told] == [20, 5]


def test_a_fault_of_the_detector_is_told_to_whoever_feeds_and_to_whoever_ends() -> None:
    judge, analyzer = GatedJudge(), GatedAnalyzer()
    judge.gate.set()
    analyzer.gate.set()
    judge.error = ValueError("no network")

    async def scenario(live: list[LiveStream], _: list[Stream]) -> None:
        with pytest.raises(ValueError, match="no network"):
            await live[0].feed(AudioBlock(audio(TALK), 16000))
        with pytest.raises(ValueError, match="no network"):
            await live[0].finish("eof")
        # the thread goes on for the others
        judge.error = None
        await live[1].feed(AudioBlock(audio(TALK), 16000))
        await live[1].finish("eof")

    told = run(scenario, judge, analyzer, streams=2)
    assert [finals(events) for events in told] == [0, 1]


def test_a_closed_intake_takes_nothing_more() -> None:
    with Intake() as intake:
        pass
    assert not intake._thread.is_alive()
