"""What a session says: immutable, final, numbered.

An utterance is told in this order:

    utterance.start  (emotion.partial | transcript.partial)*  [error]  [transcript.final]
    emotion.final  [rolling.update]  utterance.end

Every utterance that starts gets exactly one `emotion.final`, also when its analysis failed (then
with `emotion=None`, after an `error`). Where analysis is slower than speech, the next utterance
may start before the last one's final; finals keep the order of their utterances. There is no
`rolling.update` after an utterance on which the models abstained or failed: it says nothing.

A stream begins with `session.created` and closes with `session.closed`, both from the driver,
which knows what the core does not: models and clocks. It numbers and times the events, too.

Of a stream that is served, `pong` and `session.resumed` speak of the connection, not of the stream.
They take no number, and repeat that of the last event that came, or had come, before them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from realtime_ser.types import Affect, ClosedBy, Emotion, RollingEstimate, Transcript

INTERNAL = {"internal": True}
"""Marks a field that links an event to its job, for the driver; it does not go on the wire."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the time of one final went, in milliseconds.

    Attributes:
        critical: what the user waited for after the last speech frame, each part only as far as
            it was not hidden behind another: hangover, queue, asr, audio_encoder, text_encoder,
            fusion, emit. They add up to `end_of_speech_to_emit`.
        compute: what each stage cost, hidden or not.
    """

    critical: dict[str, float]
    compute: dict[str, float]
    end_of_speech_to_emit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        seq: 0, 1, 2, ... in one stream; the driver numbers. What it leaves out on purpose (partials
            that a slow reader did not take) leaves a gap.
        audio_end: sample up to which the event speaks, exclusive.
        lag_ms: how far behind that sample the event was emitted; None when nobody measured.
    """

    type: ClassVar[str]
    seq: int = 0
    audio_end: int
    lag_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated(Event):
    """First of a stream: what will listen.

    Attributes:
        session_id: the file's name, or a random identifier.
        config: the effective settings; of a served stream also encoding, sample rate and so on.
        bundle: name, version and hash of the model bundle.
        providers: what really executes the models.
        asr: the transcription model, or why there is none.
        resume_token: what a dropped client comes back with; None where there is no coming back.
        resume_grace_s: how long it may take to do so.
        max_ahead_s: how far ahead of real time audio may come; None where it may at will.
    """

    type: ClassVar[str] = "session.created"
    session_id: str
    protocol_version: int
    config: dict[str, Any]
    bundle: dict[str, str]
    providers: tuple[str, ...]
    asr: str
    resume_token: str | None = None
    resume_grace_s: float | None = None
    max_ahead_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdated(Event):
    """The client's `session.update` is in force; `config` as in `session.created`."""

    type: ClassVar[str] = "session.updated"
    config: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(Event):
    """First on a new connection of a dropped client; what it has missed follows.

    Attributes:
        received_samples: how much audio has come, in samples of the client's own stream (each
            channel counts once); the client goes on from there.
    """

    type: ClassVar[str] = "session.resumed"
    session_id: str
    received_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceStart(Event):
    """Enough speech was heard to call it an utterance; `audio_start` includes the pre-roll."""

    type: ClassVar[str] = "utterance.start"
    utterance_id: int
    audio_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionPartial(Event):
    """An estimate while the person is still talking, from audio alone.

    `speech_seconds` is how much speech the utterance has held so far: the evidence.
    """

    type: ClassVar[str] = "emotion.partial"
    utterance_id: int
    audio_start: int
    revision: int
    emotion: Emotion
    affect: Affect
    confidence: float
    abstained: bool
    speech_seconds: float
    job_id: int | None = field(default=None, metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptPartial(Event):
    """The words so far, while the person is still talking; the next one may say otherwise."""

    type: ClassVar[str] = "transcript.partial"
    utterance_id: int
    audio_start: int
    revision: int
    transcript: Transcript
    job_id: int | None = field(default=None, metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptFinal(Event):
    """What was said; absent without ASR and when a gate dropped the text."""

    type: ClassVar[str] = "transcript.final"
    utterance_id: int
    audio_start: int
    transcript: Transcript
    job_id: int | None = field(default=None, metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionFinal(Event):
    """The estimate of a whole utterance; `emotion` and `affect` are None when it failed.

    Attributes:
        closed_by: why it ended. Only where that is silence did someone wait for a result: at the
            maximum length the speaker goes on.
        speech_end: sample at which the last speech frame ended.
        endpoint: sample at which the end was decided; the wait between the two is policy.
        speech_seconds: how much speech the utterance holds: the evidence.
    """

    type: ClassVar[str] = "emotion.final"
    utterance_id: int
    audio_start: int
    emotion: Emotion | None
    affect: Affect | None
    confidence: float
    abstained: bool
    modalities: tuple[str, ...]
    speech_seconds: float
    closed_by: ClosedBy
    speech_end: int
    endpoint: int
    timings: Ledger | None = None
    job_id: int | None = field(default=None, metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingUpdate(Event):
    """The state of the conversation after an utterance."""

    type: ClassVar[str] = "rolling.update"
    estimate: RollingEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceEnd(Event):
    """All is said about this utterance."""

    type: ClassVar[str] = "utterance.end"
    utterance_id: int
    audio_start: int
    closed_by: ClosedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent(Event):
    """Something the user should know; the stream goes on."""

    type: ClassVar[str] = "warning"
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(Event):
    """Something failed.

    Attributes:
        code: stable name of the fault.
        message: what happened and what to do next.
        fatal: whether the stream ends here.
        retry_after_s: when it is worth trying again; None when waiting does not help.
    """

    type: ClassVar[str] = "error"
    code: str
    message: str
    fatal: bool
    utterance_id: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Event):
    """The answer to a `ping`, with its `id`; everything sent before the ping has been taken."""

    type: ClassVar[str] = "pong"
    id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """Last of a stream, with its totals.

    `reason` is eof, error, interrupted, disconnected (the client went and did not come back) or
    server_shutdown.
    """

    type: ClassVar[str] = "session.closed"
    reason: str
    utterances: int
    audio_seconds: float
    speech_seconds: float
    lost_samples: int


EVENT_TYPES: tuple[type[Event], ...] = (
    SessionCreated,
    SessionUpdated,
    SessionResumed,
    UtteranceStart,
    EmotionPartial,
    TranscriptPartial,
    TranscriptFinal,
    EmotionFinal,
    RollingUpdate,
    UtteranceEnd,
    WarningEvent,
    ErrorEvent,
    Pong,
    SessionClosed,
)
