"""The brain of one stream. Inference is I/O: audio and answers in, events and jobs out.

    session.receive_audio(chunk)
    for job in session.jobs_to_run():
        session.receive_analysis(analyze(job))
    for event in session.events_received(): ...

Answers may come in any order and at any time; what is said of whole utterances does not depend on
it. Finals leave in the order of their utterances, and so does the rolling state. Only partials
are perishable: one that arrives late, after a newer one or after its utterance, is not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from realtime_ser.config import Settings
from realtime_ser.core.events import Event, RollingUpdate, UtteranceStart
from realtime_ser.core.framing import Frame, Framer, Gap, SpeechDetector
from realtime_ser.core.partials import PartialSeries, TranscriptionBudget
from realtime_ser.core.rolling import RollingState
from realtime_ser.core.segmenter import (
    Action,
    Segmenter,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    State,
)
from realtime_ser.core.telling import Failure, end_told, final_told, partial_told, words_told
from realtime_ser.core.timeline import Timeline
from realtime_ser.errors import LocalProtocolError
from realtime_ser.types import (
    SAMPLE_RATE_HZ,
    Analysis,
    AnalysisJob,
    Answer,
    AudioChunk,
    ClosedBy,
    JobKind,
    Judgement,
    Transcription,
    Utterance,
    samples_from_ms,
)


@dataclass(slots=True)
class _OpenUtterance:
    """The utterance that is being spoken."""

    id: int
    start: int
    next_partial_at: int
    estimates: PartialSeries = field(default_factory=PartialSeries)
    words: PartialSeries = field(default_factory=PartialSeries)
    speculative: AnalysisJob | None = None
    speculative_answer: Analysis | Failure | None = None


@dataclass(slots=True)
class _ClosedUtterance:
    """An utterance that waits for its final analysis, or for those before it."""

    utterance: Utterance
    speech_end: int
    endpoint: int
    answer: Analysis | Failure | None = None


class Session:
    """One stream of audio.

    Args:
        settings: see `Settings`; only those of segmentation and of estimates are read.
        detector: fresh, and of this stream alone from here on.

    Attributes:
        detector: as given; who calls `cut` and `receive_frames` asks it in between.
    """

    def __init__(self, settings: Settings, detector: SpeechDetector) -> None:
        self._settings = settings
        self.detector = detector
        self._framer = Framer()
        self._timeline = Timeline()
        self._segmenter = Segmenter(settings)
        self._rolling = RollingState(settings.rolling_half_life_s)
        self._budget = TranscriptionBudget(settings)
        self._events: list[Event] = []
        self._jobs: list[AnalysisJob] = []
        self._unanswered: dict[int, AnalysisJob] = {}
        self._finals: dict[int, _ClosedUtterance] = {}
        """By job: whose final it will be."""
        self._open: _OpenUtterance | None = None
        self._closed: deque[_ClosedUtterance] = deque()
        self._next_job_id = 0
        self._eof = False
        self.utterances = 0
        """How many utterances have been announced."""
        self.speech_samples = 0
        """Speech in the utterances that have ended."""
        self.judged = 0
        """Index after the last frame that was judged: `position`, less what is no frame yet."""

    # what the driver brings

    def receive_audio(self, chunk: AudioChunk) -> None:
        """Take the next audio, of any length; a jump ahead in `start` is a gap.

        Raises:
            LocalProtocolError: after `receive_eof`.
        """
        frames = self.cut(chunk)
        self.receive_frames(frames, self.detector.judge([frame.samples for frame in frames]))

    def cut(self, chunk: AudioChunk) -> list[Frame | Gap]:
        """The first of the two steps of `receive_audio`: the frames that are whole with `chunk`.

        They may be judged ahead of their time, and with those of other streams.

        Raises:
            LocalProtocolError: after `receive_eof`.
        """
        if self._eof:
            raise LocalProtocolError("audio after the end; open a new session for it")
        return list(self._framer.push(chunk))

    def receive_frames(
        self, frames: Iterable[Frame | Gap], judgements: Iterable[Judgement]
    ) -> None:
        """The second: take what `cut` gave, in its order, with what the detector says of it."""
        for frame, judgement in zip(frames, judgements, strict=True):
            if isinstance(frame, Gap):
                self._close(ClosedBy.GAP, frame.end)
            else:
                self._take_frame(frame, judgement)

    def receive_eof(self) -> None:
        """Note that no more audio comes. A second call changes nothing."""
        if self._eof:
            return
        self._eof = True
        frames = list(self._framer.flush())
        self.receive_frames(frames, self.detector.judge([frame.samples for frame in frames]))
        self._close(ClosedBy.EOF, self._framer.position)

    def receive_analysis(self, answer: Answer) -> None:
        """Take the answer to a job.

        Raises:
            LocalProtocolError: no such job waits for an answer.
        """
        self._answer(answer.job_id, answer)
        self._budget.note(answer.timings)

    def receive_failure(self, job_id: int, code: str, message: str = "") -> None:
        """Note that a job cannot be answered; see `receive_analysis` for errors.

        A failed partial is forgotten, a failed speculative job is asked again as a final one, and
        a failed final becomes an `error` and an empty `emotion.final`.
        """
        self._answer(job_id, Failure(code, message))

    # what the driver takes

    def jobs_to_run(self) -> list[AnalysisJob]:
        """The jobs that came up since the last call; each must be answered once."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def events_received(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def is_wanted(self, job_id: int) -> bool:
        """Whether the answer can still matter; a driver may fail an unwanted job unrun."""
        job = self._unanswered.get(job_id)
        if job is None:
            return False
        if self.is_due(job_id):
            return True
        current = self._open
        if current is None or current.id != job.utterance.id:
            return False
        if job.kind is JobKind.PARTIAL:
            return current.estimates.is_newest(job.revision)
        if job.kind is JobKind.PARTIAL_TRANSCRIPT:
            # in a pause the words are on their way with the final
            is_spoken = self._segmenter.state is State.ACTIVE
            return is_spoken and current.words.is_newest(job.revision)
        return current.speculative is job

    def is_due(self, job_id: int) -> bool:
        """Whether a final waits for the answer, be it of a job that was asked ahead."""
        return job_id in self._finals

    @property
    def finished(self) -> bool:
        """Whether everything has been said: the audio ended and every utterance was told."""
        return self._eof and not self._closed and not self._events

    @property
    def waiting_finals(self) -> int:
        """Utterances that ended and wait for their analysis, or for those before them."""
        return len(self._closed)

    @property
    def position(self) -> int:
        """Index after the last sample received."""
        return self._framer.position

    @property
    def lost_samples(self) -> int:
        """Samples at 16 kHz that never arrived."""
        return self._framer.lost_samples

    # frames

    def _take_frame(self, frame: Frame, judgement: Judgement) -> None:
        self.judged = frame.end
        self._timeline.append(frame.start, frame.samples[: frame.end - frame.start])
        evidence = judgement.inside if self._segmenter.in_utterance else judgement.outside
        samples = frame.samples.astype(np.float32)
        energy = float(samples @ samples)
        for action in self._segmenter.push(frame.start, frame.end, evidence, energy):
            self._act(action)
        self._ask_partials(frame.end)
        self._timeline.forget_before(self._segmenter.first_needed_sample(frame.end))

    def _close(self, closed_by: ClosedBy, resume_at: int) -> None:
        for action in self._segmenter.close(closed_by, resume_at):
            self._act(action)
        self._timeline.forget_before(resume_at)

    def _act(self, action: Action) -> None:
        match action:
            case SpeechStarted(start, onset):
                self._announce(start, onset)
            case SpeechPaused(start, end, speech_samples):
                if self._settings.speculation:
                    self._speculate(start, end, speech_samples)
            case SpeechResumed():
                self._discard_speculation()
            case SpeechEnded():
                self._end(action)

    def _announce(self, start: int, onset: int) -> None:
        first_partial_at = onset + samples_from_ms(self._settings.partial_first_ms)
        self._open = _OpenUtterance(self.utterances, start, first_partial_at)
        self.utterances += 1
        self._events.append(
            UtteranceStart(audio_end=self.judged, utterance_id=self._open.id, audio_start=start)
        )

    def _ask_partials(self, now: int) -> None:
        current = self._open
        if (
            current is None
            or self._segmenter.state is not State.ACTIVE
            or now < current.next_partial_at
        ):
            return
        settings = self._settings
        current.next_partial_at = now + samples_from_ms(settings.partial_interval_ms)
        if settings.partials:
            start = max(current.start, now - round(settings.partial_window_s * SAMPLE_RATE_HZ))
            self._ask_partial(JobKind.PARTIAL, start, now, current.estimates)
        if settings.partial_transcripts and self._budget.suffices:
            # from its start on: a sentence that begins in its middle is a guess
            self._ask_partial(JobKind.PARTIAL_TRANSCRIPT, current.start, now, current.words)
        elif settings.partial_transcripts:
            self._events += self._budget.complaints(now)

    def _ask_partial(self, kind: JobKind, start: int, end: int, series: PartialSeries) -> None:
        speech_samples = self._segmenter.speech_samples
        utterance = self._utterance(self._current().id, start, end, speech_samples)
        self._ask(kind, utterance, series.next_revision())

    def _speculate(self, start: int, end: int, speech_samples: int) -> None:
        current = self._current()
        utterance = self._utterance(current.id, start, end, speech_samples)
        revision = current.words.next_revision()  # of its words, which are told in the pause
        current.speculative = self._ask(JobKind.SPECULATIVE, utterance, revision)
        current.speculative_answer = None

    def _discard_speculation(self) -> None:
        current = self._current()
        current.speculative = None
        current.speculative_answer = None

    def _end(self, ended: SpeechEnded) -> None:
        current = self._current()
        self._open = None
        self.speech_samples += ended.speech_samples
        utterance = self._utterance(
            current.id, ended.start, ended.end, ended.speech_samples, ended.closed_by
        )
        closed = _ClosedUtterance(utterance, ended.speech_end, endpoint=self.judged)
        self._closed.append(closed)
        ahead = current.speculative
        if ahead is None or ahead.utterance.end != ended.end:
            # none was asked, or the cut at the maximum length fell elsewhere
            self._ask_final(closed)
        elif ahead.id in self._unanswered:
            self._finals[ahead.id] = closed
        else:
            self._settle(closed, current.speculative_answer, ahead.kind)

    # jobs and answers

    def _ask(self, kind: JobKind, utterance: Utterance, revision: int = 0) -> AnalysisJob:
        job = AnalysisJob(self._next_job_id, utterance, revision, kind)
        self._next_job_id += 1
        self._jobs.append(job)
        self._unanswered[job.id] = job
        return job

    def _ask_final(self, closed: _ClosedUtterance) -> None:
        job = self._ask(JobKind.FINAL, closed.utterance)
        self._finals[job.id] = closed

    def _answer(self, job_id: int, answer: Answer | Failure) -> None:
        job = self._unanswered.pop(job_id, None)
        if job is None:
            raise LocalProtocolError(
                f"job {job_id} does not wait for an answer; answer each job of jobs_to_run() once"
            )
        closed = self._finals.pop(job_id, None)
        current = self._open
        if closed is not None:
            assert not isinstance(answer, Transcription)  # a final is more than its words
            self._settle(closed, answer, job.kind)
        elif current is None or current.id != job.utterance.id:
            return
        elif isinstance(answer, Transcription):
            self._tell_words(job, answer)
        elif current.speculative is job:
            current.speculative_answer = answer
            if self._settings.partial_transcripts and isinstance(answer, Analysis):
                self._tell_words(job, answer)
        elif job.kind is JobKind.PARTIAL and isinstance(answer, Analysis):
            self._tell_partial(current, job, answer)

    def _settle(
        self, closed: _ClosedUtterance, answer: Analysis | Failure | None, kind: JobKind
    ) -> None:
        """The final analysis of `closed` is here, or has failed."""
        if kind is JobKind.SPECULATIVE and not isinstance(answer, Analysis):
            self._ask_final(closed)
            return
        closed.answer = answer
        while self._closed and self._closed[0].answer is not None:
            self._tell_final(self._closed.popleft())

    # events

    def _tell_partial(self, current: _OpenUtterance, job: AnalysisJob, answer: Analysis) -> None:
        if current.estimates.tell(job.revision):
            self._events.append(partial_told(job, answer))

    def _tell_words(self, job: AnalysisJob, answer: Analysis | Transcription) -> None:
        is_news = self._current().words.tell(job.revision)
        if is_news and answer.transcript is not None:
            self._events.append(words_told(job, answer.transcript))

    def _tell_final(self, closed: _ClosedUtterance) -> None:
        assert closed.answer is not None  # or it would not be its turn
        answer = closed.answer
        self._events += final_told(closed.utterance, closed.speech_end, closed.endpoint, answer)
        if isinstance(answer, Analysis) and not answer.abstained:
            utterance = closed.utterance
            speech_s = utterance.speech_samples / SAMPLE_RATE_HZ
            estimate = self._rolling.update(answer.emotion, answer.affect, speech_s, utterance.end)
            self._events.append(RollingUpdate(audio_end=utterance.end, estimate=estimate))
        self._events.append(end_told(closed.utterance))

    # helpers

    def _current(self) -> _OpenUtterance:
        assert self._open is not None  # the segmenter announces before anything else
        return self._open

    def _utterance(
        self,
        utterance_id: int,
        start: int,
        end: int,
        speech_samples: int,
        closed_by: ClosedBy | None = None,
    ) -> Utterance:
        samples = self._timeline.copy(start, end)
        return Utterance(utterance_id, start, end, samples, speech_samples, closed_by)
