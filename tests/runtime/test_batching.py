from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

import numpy as np
from timelines import analysis_of, transcription_of

from realtime_ser.errors import InferenceError
from realtime_ser.runtime.batching import AnalysisWorker, Outcome
from realtime_ser.types import Analysis, AnalysisJob, JobKind, Transcription, Utterance


def job(number: int, kind: JobKind, length: int = 480) -> AnalysisJob:
    samples = np.full(length, number, np.int16)
    return AnalysisJob(number, Utterance(number, 0, length, samples, length), 0, kind)


class GatedAnalyzer:
    """Answers when the test opens the gate, and keeps a record of what ran together."""

    def __init__(self, bad: int = -1) -> None:
        self.gate = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[int]] = []
        self._bad = bad

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        self.batches.append([job.id for job in jobs])
        self.started.set()
        assert self.gate.wait(30)
        if any(job.id == self._bad for job in jobs):
            raise InferenceError("a bad one")
        return [analysis_of(job) for job in jobs]

    def transcribe(self, jobs: Sequence[AnalysisJob]) -> list[Transcription]:
        self.batches.append([job.id for job in jobs])
        return [transcription_of(job) for job in jobs]


def test_finals_first_then_speculation_then_partials_and_one_kind_at_a_time() -> None:
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer, max_batch=2) as worker:
        worker.submit(job(0, JobKind.PARTIAL), done.put)
        assert analyzer.started.wait(30)
        for number, kind in enumerate(
            [JobKind.PARTIAL, JobKind.SPECULATIVE, *[JobKind.FINAL] * 3, JobKind.PARTIAL], start=1
        ):
            worker.submit(job(number, kind), done.put)
        analyzer.gate.set()
        answered = [done.get(timeout=30) for _ in range(7)]
    assert analyzer.batches == [[0], [3, 4], [5], [2], [1, 6]]
    assert [a.job_id for a in answered if isinstance(a, Analysis)] == [0, 3, 4, 5, 2, 1, 6]


def test_words_so_far_come_last_and_one_at_a_time() -> None:
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer) as worker:
        worker.submit(job(0, JobKind.FINAL), done.put)
        assert analyzer.started.wait(30)
        words = JobKind.PARTIAL_TRANSCRIPT
        for number, kind in enumerate([words, words, JobKind.PARTIAL, JobKind.FINAL], start=1):
            worker.submit(job(number, kind), done.put, stream=number)
        assert worker.waiting(words) == 2
        analyzer.gate.set()
        answered = [done.get(timeout=30) for _ in range(5)]
    assert analyzer.batches == [[0], [4], [3], [1], [2]]
    assert [isinstance(answer, Transcription) for answer in answered] == [False] * 3 + [True] * 2


def test_what_waits_can_be_taken_back_and_what_runs_cannot() -> None:
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer) as worker:
        running = worker.submit(job(0, JobKind.FINAL), done.put)
        assert analyzer.started.wait(30)
        waiting = worker.submit(job(1, JobKind.PARTIAL), done.put)
        assert worker.take_back(waiting)
        assert not worker.take_back(waiting)
        assert not worker.take_back(running)
        analyzer.gate.set()
        assert done.get(timeout=30).job_id == 0
    assert analyzer.batches == [[0]]


def test_under_load_speculation_waits_until_it_is_due_and_then_takes_its_turn_as_a_final() -> None:
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer, transcribes=True) as worker:
        running = worker.submit(job(0, JobKind.SPECULATIVE), done.put, stream="a")
        assert analyzer.started.wait(30)
        unsure = worker.submit(job(1, JobKind.SPECULATIVE), done.put, stream="b")
        due = worker.submit(job(2, JobKind.SPECULATIVE), done.put, stream="c")
        dropped = worker.submit(job(3, JobKind.SPECULATIVE), done.put, stream="d")
        assert worker.final_wait_s() == 0
        for ticket in (running, due, dropped):
            worker.promote(ticket)
        # what is due makes new clients wait, as any final does
        assert worker.waiting(JobKind.FINAL) == 2
        assert worker.final_wait_s() > 0
        worker.submit(job(4, JobKind.FINAL), done.put, stream="e")
        assert worker.take_back(dropped)
        analyzer.gate.set()
        for _ in range(4):
            done.get(timeout=30)
        worker.promote(unsure)
    assert analyzer.batches == [[0], [2], [4], [1]]


def test_one_bad_utterance_does_not_cost_the_others_theirs() -> None:
    analyzer, done = GatedAnalyzer(bad=2), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer) as worker:
        worker.submit(job(0, JobKind.PARTIAL), done.put)
        assert analyzer.started.wait(30)
        for number in (1, 2, 3):
            worker.submit(job(number, JobKind.FINAL), done.put)
        analyzer.gate.set()
        outcomes = [done.get(timeout=30) for _ in range(4)]
    assert [getattr(o, "job_id", str(o)) for o in outcomes] == [0, 1, "a bad one", 3]


def test_an_analyzer_that_breaks_its_promise_becomes_an_inference_error() -> None:
    class Broken:
        def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
            raise ZeroDivisionError("oops")

    done: queue.Queue[Outcome] = queue.Queue()
    with AnalysisWorker(Broken()) as worker:
        worker.submit(job(0, JobKind.FINAL), done.put)
        outcome = done.get(timeout=30)
    assert isinstance(outcome, InferenceError)
    assert "oops" in str(outcome)


def test_streams_take_turns_each_in_its_order() -> None:
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer, max_batch=2) as worker:
        worker.submit(job(0, JobKind.PARTIAL), done.put)
        assert analyzer.started.wait(30)
        for number, stream in enumerate("aaaabc", start=1):
            worker.submit(job(number, JobKind.FINAL), done.put, stream)
        analyzer.gate.set()
        for _ in range(7):
            done.get(timeout=30)
    assert analyzer.batches == [[0], [1, 5], [6, 2], [3, 4]]


def test_what_runs_together_is_of_much_the_same_length() -> None:
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer, max_batch=4) as worker:
        worker.submit(job(0, JobKind.PARTIAL), done.put)
        assert analyzer.started.wait(30)
        for number, length in enumerate([600, 5000, 1000, 8000, 700], start=1):
            worker.submit(job(number, JobKind.FINAL, length), done.put, stream=number)
        analyzer.gate.set()
        for _ in range(6):
            done.get(timeout=30)
    assert analyzer.batches == [[0], [1, 3, 5], [2, 4]]


def test_it_is_known_how_much_waits_and_what_ran() -> None:
    ran: list[tuple[JobKind, int]] = []
    analyzer, done = GatedAnalyzer(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer) as worker:
        worker.observer = lambda kind, analyses: ran.append((kind, len(analyses)))
        worker.submit(job(0, JobKind.PARTIAL), done.put)
        assert analyzer.started.wait(30)
        assert worker.final_wait_s() == 0.0
        worker.submit(job(1, JobKind.FINAL), done.put, "a")
        worker.submit(job(2, JobKind.FINAL), done.put, "b")
        assert (worker.waiting(JobKind.FINAL), worker.waiting(JobKind.PARTIAL)) == (2, 0)
        assert worker.final_wait_s() > 0.0
        analyzer.gate.set()
        for _ in range(3):
            done.get(timeout=30)
    assert ran == [(JobKind.PARTIAL, 1), (JobKind.FINAL, 2)]
    assert worker.final_wait_s() == 0.0


def test_where_finals_are_transcribed_partials_do_not_wait_behind_them() -> None:
    class Slow(GatedAnalyzer):
        def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
            if jobs[0].kind is JobKind.PARTIAL:
                return [analysis_of(job) for job in jobs]
            return super().analyze(jobs)

    analyzer, done = Slow(), queue.Queue[Outcome]()
    with AnalysisWorker(analyzer, transcribes=True) as worker:
        for number in range(3):
            worker.submit(job(number, JobKind.FINAL), done.put, stream=number)
        assert analyzer.started.wait(30)
        worker.submit(job(3, JobKind.PARTIAL), done.put)
        first = done.get(timeout=30)
        assert isinstance(first, Analysis)
        assert first.job_id == 3
        analyzer.gate.set()
        for _ in range(3):
            done.get(timeout=30)
    assert analyzer.batches == [[0], [1], [2]]
