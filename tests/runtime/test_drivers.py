from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timelines import LoudnessDetector, analysis_of, audio

from realtime_ser.config import Settings
from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    SessionClosed,
    UtteranceEnd,
    UtteranceStart,
)
from realtime_ser.errors import AudioDeviceError, InferenceError
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.batching import AnalysisWorker
from realtime_ser.runtime.intake import Intake
from realtime_ser.runtime.live import run_live
from realtime_ser.runtime.offline import AudioClock, run_offline
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Notice, Stream, StreamDescription, error_code
from realtime_ser.types import (
    Analysis,
    AnalysisJob,
    JobKind,
    Stage,
    StageTiming,
)

LINE = "...." + "#" * 40 + "." * 20 + "#" * 30 + "." * 8 + "#" * 10 + "." * 30 + "#" * 20
DESCRIPTION = StreamDescription(
    bundle={}, providers=("CPU",), asr="off", notices=(Notice("note", "well"),)
)
SETTINGS = Settings()


class CountingAnalyzer:
    """Takes 100 ms of its own clock for each job."""

    def __init__(self) -> None:
        self.clock_s = 5000.0
        self.jobs: list[AnalysisJob] = []

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        answers = []
        for job in jobs:
            self.jobs.append(job)
            timing = StageTiming(Stage.AUDIO_ENCODER, self.clock_s, self.clock_s + 0.1)
            self.clock_s += 0.1
            answers.append(replace(analysis_of(job), timings=(timing,)))
        return answers


class FailingAnalyzer:
    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        raise InferenceError("no luck")


def blocks(line: str = LINE, size: int = 320, rate_hz: int = 16000) -> list[AudioBlock]:
    samples = audio(line)
    return [AudioBlock(samples[i : i + size], rate_hz) for i in range(0, len(samples), size)]


def offline(source: Iterable[AudioBlock], analyzer: object = None) -> Iterator[Event]:
    stream = Stream("test", SETTINGS, lambda _: LoudnessDetector(), DESCRIPTION, AudioClock())
    return run_offline(source, stream, analyzer or CountingAnalyzer())  # type: ignore[arg-type]


async def feed(source: Iterable[AudioBlock]) -> AsyncIterator[AudioBlock]:
    for block in source:
        await asyncio.sleep(0)
        yield block


def live(
    source: AsyncIterator[AudioBlock],
    analyzer: object = None,
    told: list[Event] | None = None,
    stop_after: int | None = None,
) -> list[Event]:
    """Run to the end and return every event; also those before an error, through `told`."""
    told = [] if told is None else told

    async def run() -> None:
        clock, stop = ArrivalClock(), asyncio.Event()
        stream = Stream("test", SETTINGS, lambda _: LoudnessDetector(), DESCRIPTION, clock)
        with (
            AnalysisWorker(analyzer or CountingAnalyzer()) as worker,  # type: ignore[arg-type]
            Intake() as intake,
        ):
            async for event in run_live(source, stream, clock, worker, intake, stop):
                told.append(event)
                if stop_after is not None and len(told) == stop_after:
                    stop.set()

    asyncio.run(run())
    return told


def lasting(events: Iterable[Event]) -> list[Event]:
    """What a driver must tell whatever its clock, its numbers and clocks aside."""
    kept = []
    for event in events:
        if isinstance(event, EmotionFinal):
            event = replace(event, timings=None, job_id=None)
        if not isinstance(event, EmotionPartial | UtteranceStart):
            kept.append(replace(event, seq=0, lag_ms=None))
    return kept


def without_jobs(events: list[Event]) -> list[Event]:
    return [replace(e, job_id=None) if hasattr(e, "job_id") else e for e in events]


def test_a_stream_opens_with_what_listens_and_closes_with_its_totals() -> None:
    events = list(offline(blocks()))
    assert [event.type for event in events[:2]] == ["session.created", "warning"]
    assert [event.seq for event in events] == list(range(len(events)))
    closed = events[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.reason, closed.utterances) == ("eof", 3)
    assert closed.audio_seconds == pytest.approx(len(LINE) * 0.03)


@pytest.mark.parametrize("size", [1, 479, 7777, 10**6])
def test_the_inline_driver_says_the_same_whatever_the_blocks(size: int) -> None:
    assert list(offline(blocks(size=size))) == list(offline(blocks()))


def test_ten_minutes_in_one_chunk_say_what_small_blocks_say() -> None:
    line = (LINE * 140)[:20_000]
    at_once = lasting(offline(blocks(line, size=10**7)))
    assert len([event for event in at_once if isinstance(event, EmotionFinal)]) > 200
    assert at_once == lasting(offline(blocks(line)))


@settings(max_examples=15, deadline=None)
@given(st.integers(50, 9000))
def test_the_live_driver_says_what_the_inline_driver_says(size: int) -> None:
    told = lasting(live(feed(blocks(size=size))))
    assert without_jobs(told) == without_jobs(lasting(offline(blocks())))


def test_the_inline_ledger_speaks_as_if_the_audio_had_come_in_real_time() -> None:
    finals = [e for e in offline(blocks()) if isinstance(e, EmotionFinal)]
    first = finals[0]
    # 17 frames are the hangover of 500 ms; 100 ms of work hide in what is left of it after 150
    assert first.timings is not None
    assert first.timings.critical["hangover"] == pytest.approx(510)
    assert first.timings.end_of_speech_to_emit == pytest.approx(510)
    assert first.timings.compute == pytest.approx({"audio_encoder": 100})
    # at the end of the audio nothing was computed ahead, and partials may still be running
    last = finals[-1]
    assert last.timings is not None
    assert last.timings.critical["audio_encoder"] == pytest.approx(100)
    for final in finals:
        assert final.timings is not None
        assert sum(final.timings.critical.values()) == pytest.approx(
            final.timings.end_of_speech_to_emit
        )


def test_inline_partials_lag_by_their_own_work() -> None:
    partials = [e for e in offline(blocks()) if isinstance(e, EmotionPartial)]
    assert partials
    assert all(partial.lag_ms == pytest.approx(100) for partial in partials)


def test_the_live_ledger_adds_up() -> None:
    finals = [e for e in live(feed(blocks())) if isinstance(e, EmotionFinal)]
    assert len(finals) == 3
    for final in finals:
        assert final.timings is not None
        assert sum(final.timings.critical.values()) == pytest.approx(
            final.timings.end_of_speech_to_emit
        )


@pytest.mark.parametrize("drive", [lambda s, a: list(offline(s, a)), lambda s, a: live(feed(s), a)])
def test_when_analysis_fails_every_utterance_still_ends(drive) -> None:  # type: ignore[no-untyped-def]
    events = drive(blocks(), FailingAnalyzer())
    errors = [e for e in events if isinstance(e, ErrorEvent)]
    assert [(e.code, e.message, e.fatal) for e in errors] == [
        ("inference_failed", "no luck", False)
    ] * 3
    assert sum(isinstance(e, UtteranceEnd) for e in events) == 3


def broken_after(count: int) -> Iterator[AudioBlock]:
    yield from blocks()[:count]
    raise AudioDeviceError("unplugged; plug it in again")


@pytest.mark.parametrize("kind", ["inline", "live"])
def test_a_broken_source_loses_nothing_that_was_heard(kind: str) -> None:
    told: list[Event] = []
    with pytest.raises(AudioDeviceError, match="unplugged"):
        if kind == "inline":
            for event in offline(broken_after(60)):
                told.append(event)  # noqa: PERF402 - what came before the error is the point
        else:
            live(feed(broken_after(60)), told=told)
    assert [e.type for e in told[-3:]] == ["utterance.end", "error", "session.closed"]
    error, closed = told[-2:]
    assert isinstance(error, ErrorEvent)
    assert (error.code, error.fatal) == ("audio_device", True)
    assert isinstance(closed, SessionClosed)
    assert (closed.reason, closed.utterances) == ("error", 1)


def test_samples_that_are_no_numbers_end_the_stream_with_an_error_and_its_finals() -> None:
    from realtime_ser.errors import AudioUnsupportedError

    poisoned = AudioBlock(np.full(320, np.nan, np.float32), 16000)
    told: list[Event] = []
    with pytest.raises(AudioUnsupportedError, match="NaN"):
        for event in offline([*blocks()[:60], poisoned, *blocks()[60:]]):
            told.append(event)  # noqa: PERF402
    assert any(isinstance(event, EmotionFinal) for event in told)
    assert told[-1].type == "session.closed"


def test_lost_samples_become_a_gap() -> None:
    source = [*blocks("#" * 30), replace(blocks("#" * 30)[0], lost_samples=16000)]
    closed = list(offline(source + blocks("#" * 30)))[-1]
    assert isinstance(closed, SessionClosed)
    assert closed.lost_samples == 16000
    assert closed.utterances == 2


def test_what_the_source_has_given_when_it_is_stopped_is_still_heard() -> None:
    given: list[AudioBlock] = []

    async def source() -> AsyncIterator[AudioBlock]:
        for block in blocks(LINE * 20):
            given.append(block)
            yield block  # at once: a block is always there when the stop is seen

    closed = live(source(), stop_after=6)[-1]
    assert isinstance(closed, SessionClosed)
    assert closed.reason == "interrupted"
    assert closed.audio_seconds == sum(len(block.samples) for block in given) / 16000


def test_stopping_ends_a_source_that_never_would() -> None:
    async def endless() -> AsyncIterator[AudioBlock]:
        for block in blocks("#" * 60):
            yield block
        await asyncio.Event().wait()

    told = live(endless(), stop_after=4)
    closed = told[-1]
    assert isinstance(closed, SessionClosed)
    assert closed.reason == "interrupted"
    assert [e.type for e in told].count("emotion.final") == 1


def test_stale_partials_are_taken_back_while_the_worker_is_busy() -> None:
    release = threading.Event()
    ran: list[AnalysisJob] = []

    class Slow:
        def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
            ran.extend(jobs)
            assert release.wait(30)
            return [analysis_of(job) for job in jobs]

    async def source() -> AsyncIterator[AudioBlock]:
        for block in blocks("#" * 200):
            await asyncio.sleep(0)
            yield block
        release.set()

    told = live(source(), Slow())
    # 200 frames ask for 11 partials; the first holds the worker, and all but the newest go stale
    assert sum(job.kind is JobKind.PARTIAL for job in ran) <= 2
    assert [e.type for e in told].count("emotion.final") == 1


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=40))
def test_the_arrival_clock_knows_when_each_sample_was_heard(sizes: list[int]) -> None:
    clock, received, now_s = ArrivalClock(), 0, 100.0
    for size in sizes:
        received += size
        now_s += size / 16000
        clock.note(received, now_s)
    for sample in range(0, received + 1, max(1, received // 50)):
        assert clock.heard_at(sample) == pytest.approx(100 + sample / 16000)
        waited_s = clock.arrived_at(sample) - clock.heard_at(sample)
        assert -1e-9 <= waited_s < max(sizes) / 16000 + 1e-9


def test_error_codes_are_the_names_of_the_errors() -> None:
    assert error_code(AudioDeviceError("x")) == "audio_device"
