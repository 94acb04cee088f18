"""One session as a driver sees it: blocks of audio in, numbered and timed events out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from realtime_ser.config import Settings
from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    SessionClosed,
    SessionCreated,
    SessionUpdated,
    WarningEvent,
)
from realtime_ser.core.framing import SpeechDetector
from realtime_ser.core.intake import AudioIntake
from realtime_ser.core.options import SessionConfig
from realtime_ser.core.session import Session
from realtime_ser.core.wire import PROTOCOL_VERSION
from realtime_ser.errors import (
    AudioUnsupportedError,
    InferenceError,
    RealtimeSERError,
    RemoteProtocolError,
)
from realtime_ser.runtime.ledger import ledger
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.types import SAMPLE_RATE_HZ, Answer, AudioChunk, StageTiming


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a stream should be told at its start or end, such as why there is no ASR."""

    code: str
    message: str

    def event(self, audio_end: int) -> WarningEvent:
        """It as a warning."""
        return WarningEvent(audio_end=audio_end, code=self.code, message=self.message)


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What `session.created` says of the models."""

    bundle: dict[str, str]
    providers: tuple[str, ...]
    asr: str
    notices: tuple[Notice, ...] = ()


class Clock(Protocol):
    """Places samples (16 kHz) in time; in seconds of the driver's clock."""

    def heard_at(self, sample: int) -> float:
        """When everything before `sample` had sounded."""
        ...

    def arrived_at(self, sample: int) -> float:
        """When everything before `sample` had been brought by the source, block by block."""
        ...


class Stream:
    """Joins the intake and the session of one source, and stamps its events.

    Args:
        stream_id: the file's name, or any identifier.
        create_detector: makes the speech detector that the settings ask for.
        clock: the driver's.

    Attributes:
        settings: those in force.
        session: the session of this stream.
    """

    def __init__(
        self,
        stream_id: str,
        settings: Settings,
        create_detector: Callable[[Settings], SpeechDetector],
        description: StreamDescription,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.session = Session(settings, create_detector(settings))
        self._create_detector = create_detector
        self._id = stream_id
        self._description = description
        self._clock = clock
        self._intake: AudioIntake | None = None
        self._rate_hz = 0
        self._stages: dict[int, tuple[StageTiming, ...]] = {}
        self._next_seq = 0

    def cut(self, block: AudioBlock) -> Iterator[AudioChunk]:
        """The block on the stream's time line at 16 kHz; exhaust it before the next.

        Raises:
            AudioUnsupportedError: the audio cannot be taken; the stream can still be ended.
        """
        if self._intake is None:
            self._intake = AudioIntake(block.sample_rate_hz)
            self._rate_hz = block.sample_rate_hz
        elif block.sample_rate_hz != self._rate_hz:
            raise AudioUnsupportedError(
                f"the sample rate changed from {self._rate_hz} to {block.sample_rate_hz} Hz "
                "within the stream; open a new stream for it"
            )
        yield from self._intake.push_lost(block.lost_samples)
        yield from self._intake.push(block.samples)

    def remainder(self) -> Iterator[AudioChunk]:
        """What the resampler still holds, once, before `session.receive_eof`."""
        if self._intake:
            yield from self._intake.flush()

    @property
    def received_samples(self) -> float:
        """Audio brought by the source, in samples at 16 kHz, that of the resampler included."""
        return self._intake.received_samples if self._intake else 0.0

    def answer(self, answer: Answer, stages: tuple[StageTiming, ...]) -> None:
        """Hand an answer to the session; `stages` are its timings on the driver's clock."""
        self._stages[answer.job_id] = stages
        self.session.receive_analysis(answer)

    def fail(self, job_id: int, error: InferenceError) -> None:
        """Hand a failure to the session."""
        self.session.receive_failure(job_id, "inference_failed", str(error))

    def opening(
        self,
        config: SessionConfig | None = None,
        resume_token: str | None = None,
        resume_grace_s: float | None = None,
        max_ahead_s: float | None = None,
    ) -> list[Event]:
        """The first events of the stream; the arguments are for one that is served."""
        description = self._description
        created = SessionCreated(
            audio_end=0,
            session_id=self._id,
            protocol_version=PROTOCOL_VERSION,
            config=config.as_dict() if config else asdict(self.settings),
            bundle=description.bundle,
            providers=description.providers,
            asr=description.asr,
            resume_token=resume_token,
            resume_grace_s=resume_grace_s,
            max_ahead_s=max_ahead_s,
        )
        warnings = [notice.event(0) for notice in description.notices]
        return [self._number(event) for event in (created, *warnings)]

    def update(self, config: SessionConfig) -> Event:
        """Listen with other settings from the start on; only before the first audio."""
        assert self._intake is None  # the client's protocol sees to it
        self.settings = config.settings
        self.session = Session(self.settings, self._create_detector(self.settings))
        return self._number(SessionUpdated(audio_end=0, config=config.as_dict()))

    def stamped(self, events: Sequence[Event], now_s: float) -> list[Event]:
        """Number and time `events`, which leave at `now_s` of the driver's clock."""
        return [self._number(self._timed(event, now_s)) for event in events]

    def closing(
        self,
        reason: str,
        error: RealtimeSERError | None = None,
        notice: Notice | None = None,
    ) -> list[Event]:
        """The last events of the stream; `error` is what ended it, if it did not end by itself."""
        session = self.session
        closed = SessionClosed(
            audio_end=session.position,
            reason="error" if error else reason,
            utterances=session.utterances,
            audio_seconds=session.position / SAMPLE_RATE_HZ,
            speech_seconds=session.speech_samples / SAMPLE_RATE_HZ,
            lost_samples=session.lost_samples,
        )
        events: list[Event] = [closed]
        if error:
            code = error_code(error)
            failure = ErrorEvent(
                audio_end=session.position, code=code, message=str(error), fatal=True
            )
            events.insert(0, failure)
        if notice:
            events.insert(0, notice.event(session.position))
        return [self._number(event) for event in events]

    def finished_s(self, event: Event) -> float:
        """When the analysis behind `event` was done, on the driver's clock; 0 if it has none."""
        job_id: int | None = getattr(event, "job_id", None)
        stages = () if job_id is None else self._stages.get(job_id, ())
        return stages[-1].ended_s if stages else 0.0

    def _number(self, event: Event) -> Event:
        numbered = replace(event, seq=self._next_seq)
        self._next_seq += 1
        return numbered

    def _timed(self, event: Event, now_s: float) -> Event:
        # what was heard after the event left (a clock's hair) is no negative lag
        lag_ms = max(0.0, (now_s - self._clock.heard_at(event.audio_end)) * 1000)
        if isinstance(event, EmotionFinal):
            timings = ledger(
                speech_end_s=self._clock.heard_at(event.speech_end),
                endpoint_s=self._clock.arrived_at(event.endpoint),
                stages=self._forget(event.job_id),
                emitted_s=now_s,
            )
            return replace(event, lag_ms=lag_ms, timings=timings)
        if isinstance(event, EmotionPartial):
            self._forget(event.job_id)
        return replace(event, lag_ms=lag_ms)

    def _forget(self, job_id: int | None) -> tuple[StageTiming, ...]:
        """The stages of a job that has been told; older ones will never be told."""
        if job_id is None:
            return ()
        stages = self._stages.pop(job_id, ())
        for older in [other for other in self._stages if other < job_id]:
            del self._stages[older]
        return stages


def error_code(error: RealtimeSERError) -> str:
    """A stable name: the other side's own, or the class: AudioDeviceError -> audio_device."""
    if isinstance(error, RemoteProtocolError):
        return error.code
    name = type(error).__name__.removesuffix("Error")
    return "".join("_" * (i > 0) + c.lower() if c.isupper() else c for i, c in enumerate(name))
