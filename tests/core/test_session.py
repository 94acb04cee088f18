from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from timelines import LoudnessDetector, analysis_of, audio, chunks, transcription_of

from realtime_ser.config import Settings
from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    RollingUpdate,
    TranscriptPartial,
    UtteranceEnd,
    UtteranceStart,
    WarningEvent,
)
from realtime_ser.core.session import Session
from realtime_ser.errors import LocalProtocolError
from realtime_ser.types import (
    FRAME_SAMPLES,
    AnalysisJob,
    AudioChunk,
    ClosedBy,
    JobKind,
    Stage,
    StageTiming,
    Transcript,
)

F = FRAME_SAMPLES
SMALL = Settings(
    min_speech_ms=120,
    speculate_after_ms=60,
    hangover_ms=150,
    max_utterance_s=2.01,
    soft_split_s=1.02,
    pre_roll_ms=60,
    partial_first_ms=150,
    partial_interval_ms=90,
    partial_window_s=0.3,
)
NO_SPECULATION = replace(SMALL, speculation=False)
WORDS = replace(SMALL, partial_transcripts=True)

lines = st.lists(st.tuples(st.sampled_from("#."), st.integers(1, 14)), min_size=1, max_size=24).map(
    lambda runs: "".join(mark * count for mark, count in runs)
)


@dataclass
class Run:
    events: list[Event]
    jobs: list[AnalysisJob]

    def finals(self) -> list[Event]:
        """Everything that must not depend on chunking or on the order of answers."""
        perishable = EmotionPartial | TranscriptPartial | UtteranceStart
        # which job answered differs with the order; what it says may not
        return [
            replace(event, job_id=None) if isinstance(event, EmotionFinal) else event
            for event in self.events
            if not isinstance(event, perishable)
        ]

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def run(
    line: str,
    config: Settings = SMALL,
    sizes: list[int] | None = None,
    shuffle: random.Random | None = None,
    fail: frozenset[JobKind] = frozenset(),
) -> Run:
    """Drive a session to its end; with `shuffle`, answers come late and in any order."""
    session = Session(config, LoudnessDetector())
    result = Run([], [])
    waiting: list[AnalysisJob] = []

    def work(*, all_of_it: bool) -> None:
        while True:
            new = session.jobs_to_run()
            result.jobs.extend(new)
            waiting.extend(new)
            count = len(waiting) if all_of_it else shuffle.randint(0, len(waiting))
            if shuffle:
                shuffle.shuffle(waiting)
            for _ in range(count):
                job = waiting.pop(0)
                if job.kind in fail:
                    session.receive_failure(job.id, "broken", "as the test wants")
                elif job.kind is JobKind.PARTIAL_TRANSCRIPT:
                    session.receive_analysis(transcription_of(job))
                else:
                    session.receive_analysis(analysis_of(job))
            result.events.extend(session.events_received())
            if not all_of_it or not (waiting or session._jobs):
                return

    for chunk in chunks(audio(line), sizes or []):
        session.receive_audio(chunk)
        work(all_of_it=shuffle is None)
    session.receive_eof()
    work(all_of_it=True)
    assert session.finished
    return result


@settings(max_examples=150)
@given(lines, st.lists(st.integers(0, 4000), max_size=30), st.randoms(use_true_random=False))
@example("#" * 80 + "." * 30, [1] * 200, random.Random(0))
def test_chunking_and_the_order_of_answers_change_no_final(
    line: str, sizes: list[int], shuffle: random.Random
) -> None:
    expected = run(line, sizes=[F] * len(line)).finals()
    assert run(line, sizes=sizes, shuffle=shuffle).finals() == expected
    assert run(line).finals() == expected
    assert run(line, WORDS, sizes=sizes, shuffle=shuffle).finals() == expected


@given(lines, st.randoms(use_true_random=False))
def test_speculation_changes_no_answer(line: str, shuffle: random.Random) -> None:
    expected = run(line, NO_SPECULATION).finals()
    assert run(line, SMALL).finals() == expected
    failing = frozenset({JobKind.SPECULATIVE})
    assert (
        run(line, SMALL, shuffle=shuffle, sizes=[F] * len(line), fail=failing).finals() == expected
    )


@given(lines, st.randoms(use_true_random=False))
def test_every_utterance_is_told_in_order_and_once(line: str, shuffle: random.Random) -> None:
    told = run(
        line,
        sizes=[700] * (len(line) * F // 700),
        shuffle=shuffle,
        fail=frozenset({JobKind.PARTIAL}),
    )
    assert told.of(EmotionPartial) == []
    starts, ends = told.of(UtteranceStart), told.of(UtteranceEnd)
    identifiers = list(range(len(starts)))
    assert [start.utterance_id for start in starts] == identifiers
    assert [final.utterance_id for final in told.of(EmotionFinal)] == identifiers
    assert [end.utterance_id for end in ends] == identifiers
    assert [(s.audio_start) for s in starts] == [e.audio_start for e in ends]


def test_a_quiet_stream_says_nothing() -> None:
    assert run("." * 50).events == []
    assert run("").events == []


def test_partials_come_at_their_times_and_look_back_no_further_than_the_window() -> None:
    told = run(".." + "#" * 20 + "." * 6, sizes=[F] * 100)
    partials = [job for job in told.jobs if job.kind is JobKind.PARTIAL]
    # first after 5 frames of speech, then every 3
    assert [job.utterance.end for job in partials] == [F * n for n in (7, 10, 13, 16, 19, 22)]
    assert [job.utterance.start for job in partials] == [0, 0, 3 * F, 6 * F, 9 * F, 12 * F]
    assert [job.revision for job in partials] == [0, 1, 2, 3, 4, 5]
    assert partials[0].utterance.speech_samples == 5 * F
    assert len(told.of(EmotionPartial)) == 6


def test_no_partials_when_they_are_switched_off() -> None:
    jobs = run("#" * 40, replace(SMALL, partials=False)).jobs
    assert {job.kind for job in jobs} == {JobKind.FINAL}


def test_a_pause_speculates_and_speech_discards_it() -> None:
    told = run("#" * 8 + "...." + "#" * 4 + "." * 9, sizes=[F] * 100)
    ahead = [job for job in told.jobs if job.kind is JobKind.SPECULATIVE]
    assert [job.utterance.end for job in ahead] == [10 * F, 18 * F]
    assert not any(job.kind is JobKind.FINAL for job in told.jobs)
    (final,) = told.of(EmotionFinal)
    assert final.job_id == ahead[1].id
    assert (final.speech_end, final.endpoint) == (16 * F, 21 * F)


def test_what_was_asked_ahead_is_due_once_its_utterance_has_ended() -> None:
    session = Session(replace(SMALL, partials=False), LoudnessDetector())
    session.receive_audio(AudioChunk(0, audio("#" * 10 + "...")))
    (ahead,) = session.jobs_to_run()
    assert session.is_wanted(ahead.id)
    assert not session.is_due(ahead.id)
    session.receive_audio(AudioChunk(13 * F, audio("...")))
    assert session.jobs_to_run() == []
    assert session.is_due(ahead.id)
    session.receive_analysis(analysis_of(ahead))
    assert not session.is_due(ahead.id)


def test_late_and_overtaken_partials_are_not_told() -> None:
    session = Session(SMALL, LoudnessDetector())
    for chunk in chunks(audio("#" * 20), [F] * 20):
        session.receive_audio(chunk)
    first, second, *_, last = [j for j in session.jobs_to_run() if j.kind is JobKind.PARTIAL]
    assert not session.is_wanted(first.id)
    assert session.is_wanted(last.id)
    session.receive_analysis(analysis_of(last))
    session.receive_analysis(analysis_of(first))
    partials = [e for e in session.events_received() if isinstance(e, EmotionPartial)]
    assert [partial.revision for partial in partials] == [last.revision]
    session.receive_eof()
    session.receive_analysis(analysis_of(second))
    assert session.events_received() == []


def test_words_are_asked_for_from_the_start_of_the_utterance_on() -> None:
    told = run(".." + "#" * 20 + "." * 6, WORDS, sizes=[F] * 100)
    asked = [job for job in told.jobs if job.kind is JobKind.PARTIAL_TRANSCRIPT]
    assert [job.utterance.end for job in asked] == [F * n for n in (7, 10, 13, 16, 19, 22)]
    assert {job.utterance.start for job in asked} == {0}
    words = told.of(TranscriptPartial)
    assert [event.revision for event in words] == [0, 1, 2, 3, 4, 5]
    assert [event.transcript.text for event in words] == [
        f"{F * n}" for n in (7, 10, 13, 16, 19, 22)
    ]
    assert len(told.of(EmotionPartial)) == 6
    alone = run("#" * 20, replace(WORDS, partials=False)).jobs
    assert {job.kind for job in alone} == {JobKind.PARTIAL_TRANSCRIPT, JobKind.FINAL}


def test_late_and_overtaken_words_are_not_told() -> None:
    session = Session(replace(WORDS, partials=False), LoudnessDetector())
    session.receive_audio(AudioChunk(0, audio("#" * 20)))
    first, *_, last = session.jobs_to_run()
    assert not session.is_wanted(first.id)
    assert session.is_wanted(last.id)
    session.receive_audio(AudioChunk(20 * F, audio("..")))
    # a pause: the words are on their way with the final
    assert not session.is_wanted(last.id)
    session.receive_analysis(transcription_of(last))
    session.receive_analysis(transcription_of(first))
    words = [e for e in session.events_received() if isinstance(e, TranscriptPartial)]
    assert [event.revision for event in words] == [last.revision]


def test_words_of_a_pause_are_told_though_nobody_asked_for_them_alone() -> None:
    session = Session(replace(WORDS, partials=False), LoudnessDetector())
    session.receive_audio(AudioChunk(0, audio("#" * 12)))
    *_, words = session.jobs_to_run()
    session.receive_audio(AudioChunk(12 * F, audio("..")))
    [ahead] = session.jobs_to_run()
    assert ahead.kind is JobKind.SPECULATIVE
    text = Transcript(text="so far", language="en", avg_logprob=-0.1, no_speech_prob=0.0)
    session.receive_analysis(replace(analysis_of(ahead), transcript=text))
    session.receive_analysis(transcription_of(words))  # older: no news any more
    [told] = [event for event in session.events_received() if isinstance(event, TranscriptPartial)]
    assert (told.transcript, told.audio_end, told.job_id) == (text, 14 * F, ahead.id)
    assert told.revision > words.revision
    # talked over, and then said to the end
    session.receive_audio(AudioChunk(14 * F, audio("#" * 4 + "." * 6)))
    again = [e for e in session.events_received() if isinstance(e, TranscriptPartial)]
    assert again == []


def test_words_of_a_pause_are_not_told_unless_asked_for() -> None:
    session = Session(SMALL, LoudnessDetector())
    session.receive_audio(AudioChunk(0, audio("#" * 12 + "..")))
    text = Transcript(text="so far", language="en", avg_logprob=-0.1, no_speech_prob=0.0)
    for job in session.jobs_to_run():
        session.receive_analysis(replace(analysis_of(job), transcript=text))
    assert not [e for e in session.events_received() if isinstance(e, TranscriptPartial)]


def test_words_are_asked_for_only_where_no_final_has_to_wait_for_them() -> None:
    """Finals are due 90 ms after they are asked for: time for two transcriptions of 45 ms."""

    def asked(cost_ms: float) -> tuple[int, list[str]]:
        session = Session(replace(WORDS, partials=False), LoudnessDetector())
        timing = StageTiming(Stage.ASR, 5.0, 5.0 + cost_ms / 1000)
        count, warnings = 0, []
        for chunk in chunks(audio("#" * 30), [F] * 30):
            session.receive_audio(chunk)
            for job in session.jobs_to_run():
                count += 1
                session.receive_analysis(replace(transcription_of(job), timings=(timing,)))
            told = session.events_received()
            warnings += [event.message for event in told if isinstance(event, WarningEvent)]
        return count, warnings

    in_time, warnings = asked(44.0)
    assert in_time > 5
    assert warnings == []
    in_time, warnings = asked(46.0)
    assert in_time == 1
    assert len(warnings) == 1
    assert "takes 46 ms" in warnings[0]


def test_a_quick_final_brings_the_words_back() -> None:
    session = Session(replace(WORDS, partials=False), LoudnessDetector())
    cost_s = [1.0, 0.01]
    kinds = []
    for chunk in chunks(audio("#" * 12 + "." * 6 + "#" * 6), [F] * 24):
        session.receive_audio(chunk)
        for job in session.jobs_to_run():
            kinds.append(job.kind)
            timing = StageTiming(Stage.ASR, 0.0, cost_s[min(1, len(kinds) - 1)])
            words = job.kind is JobKind.PARTIAL_TRANSCRIPT
            answer = transcription_of(job) if words else analysis_of(job)
            session.receive_analysis(replace(answer, timings=(timing,)))
    words, final = JobKind.PARTIAL_TRANSCRIPT, JobKind.SPECULATIVE
    assert kinds == [words, final, words]


def test_a_failed_final_is_an_error_and_an_empty_final() -> None:
    told = run("#" * 10 + "." * 10 + "#" * 10, fail=frozenset({JobKind.SPECULATIVE, JobKind.FINAL}))
    kinds = [type(event).type for event in told.finals()]
    assert kinds == ["error", "emotion.final", "utterance.end"] * 2
    error = told.of(ErrorEvent)[0]
    assert (error.code, error.message, error.fatal) == ("broken", "as the test wants", False)
    assert told.of(EmotionFinal)[0].emotion is None


def test_a_gap_closes_and_the_stream_goes_on() -> None:
    session = Session(SMALL, LoudnessDetector())
    session.receive_audio(AudioChunk(0, audio("#" * 10)))
    session.receive_audio(AudioChunk(100 * F, audio("#" * 10)))
    session.receive_eof()
    for job in session.jobs_to_run():
        session.receive_analysis(analysis_of(job))
    ends = [e for e in session.events_received() if isinstance(e, UtteranceEnd)]
    assert [(e.audio_start, e.audio_end, e.closed_by) for e in ends] == [
        (0, 10 * F, ClosedBy.GAP),
        (100 * F, 110 * F, ClosedBy.EOF),
    ]
    assert session.lost_samples == 90 * F


def test_the_end_may_come_twice_but_audio_not_after_it() -> None:
    session = Session(SMALL, LoudnessDetector())
    session.receive_audio(AudioChunk(0, audio("#" * 10)))
    session.receive_eof()
    session.receive_eof()
    assert len([job for job in session.jobs_to_run() if job.kind is JobKind.FINAL]) == 1
    with pytest.raises(LocalProtocolError, match="after the end"):
        session.receive_audio(AudioChunk(10 * F, audio("#")))


def test_an_answer_that_nobody_waits_for_is_refused() -> None:
    session = Session(SMALL, LoudnessDetector())
    with pytest.raises(LocalProtocolError, match="job 3 does not wait"):
        session.receive_failure(3, "x")
    session.receive_audio(AudioChunk(0, audio("#" * 10)))
    job = session.jobs_to_run()[0]
    session.receive_analysis(analysis_of(job))
    with pytest.raises(LocalProtocolError):
        session.receive_analysis(analysis_of(job))


def test_the_rolling_state_follows_every_final_that_says_something() -> None:
    told = run(("#" * 10 + "." * 10) * 3, sizes=[F] * 100)
    finals, updates = told.of(EmotionFinal), told.of(RollingUpdate)
    assert [update.audio_end for update in updates] == [f.audio_end for f in finals]
    assert updates[0].estimate.emotion.probabilities == pytest.approx(
        finals[0].emotion.probabilities
    )


def test_an_odd_tail_of_samples_is_kept() -> None:
    samples = audio("#" * 10)[: 9 * F + 123]
    session = Session(SMALL, LoudnessDetector())
    session.receive_audio(AudioChunk(0, samples))
    session.receive_eof()
    (job,) = [job for job in session.jobs_to_run() if job.kind is JobKind.FINAL]
    assert job.utterance.end == len(job.utterance.samples) == 9 * F + 123
