"""What a server says, typed; see clients/PROTOCOL.md for what each event means.

Fields are named as on the wire, times in milliseconds of audio from the start of the stream. Every
event keeps the JSON object it came as in `raw`: what a newer server adds is there, and an event of
a type that is not known here is an `UnknownEvent`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from realtime_ser_client.errors import ServerError

ClosedBy = str
"""Why an utterance ended: silence, max_length, gap or eof."""


@dataclass(frozen=True, slots=True)
class Emotion:
    """A distribution over labels; `top` is the likeliest."""

    top: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Affect:
    """Valence, arousal and dominance, each 0..1 with 0.5 the midpoint."""

    valence: float
    arousal: float
    dominance: float


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; times count from the start of its utterance."""

    text: str
    start_ms: float
    end_ms: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said; `language` is an ISO 639-1 code."""

    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the time of one final went, in milliseconds.

    `critical` is what the user waited for, and adds up to `end_of_speech_to_emit`; `compute` is
    what each stage cost, hidden or not.
    """

    critical: Mapping[str, float]
    compute: Mapping[str, float]
    end_of_speech_to_emit: float


@dataclass(frozen=True, slots=True)
class RollingEstimate:
    """The state of the conversation; `effective_seconds` is the speech it rests on."""

    as_of_ms: float
    emotion: Emotion
    affect: Affect
    effective_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        type: its name on the wire.
        seq: 0, 1, 2, ... in one session; what a slow reader did not take in time leaves a gap.
        audio_end_ms: up to where in the audio it speaks.
        lag_ms: how far behind that the server emitted it.
        raw: the JSON object it came as.
    """

    type: str
    seq: int
    audio_end_ms: float
    lag_ms: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated(Event):
    """First of a session: what listens, and the settings in force."""

    type: Literal["session.created"] = "session.created"
    session_id: str
    protocol_version: int
    config: Mapping[str, Any]
    bundle: Mapping[str, str]
    providers: tuple[str, ...]
    asr: str
    resume_token: str | None = field(default=None, repr=False)
    resume_grace_s: float | None = None
    max_ahead_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdated(Event):
    """The settings in force after a `session.update`."""

    type: Literal["session.updated"] = "session.updated"
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(Event):
    """The connection had dropped, and is back."""

    type: Literal["session.resumed"] = "session.resumed"
    session_id: str
    received_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceStart(Event):
    """Somebody speaks."""

    type: Literal["utterance.start"] = "utterance.start"
    utterance_id: int
    audio_start_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionPartial(Event):
    """An estimate while the person is still talking; `speech_seconds` is the evidence."""

    type: Literal["emotion.partial"] = "emotion.partial"
    utterance_id: int
    audio_start_ms: float
    revision: int
    emotion: Emotion
    affect: Affect
    confidence: float
    abstained: bool
    speech_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptPartial(Event):
    """The words so far, where the session has `partial_transcripts`; the next may say otherwise."""

    type: Literal["transcript.partial"] = "transcript.partial"
    utterance_id: int
    audio_start_ms: float
    revision: int
    transcript: Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptFinal(Event):
    """What was said."""

    type: Literal["transcript.final"] = "transcript.final"
    utterance_id: int
    audio_start_ms: float
    transcript: Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionFinal(Event):
    """The estimate of a whole utterance, one for each; `emotion` is None when it failed."""

    type: Literal["emotion.final"] = "emotion.final"
    utterance_id: int
    audio_start_ms: float
    emotion: Emotion | None
    affect: Affect | None
    confidence: float
    abstained: bool
    modalities: tuple[str, ...]
    speech_seconds: float
    closed_by: ClosedBy
    speech_end_ms: float
    endpoint_ms: float
    timings: Ledger | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingUpdate(Event):
    """The state of the conversation after an utterance."""

    type: Literal["rolling.update"] = "rolling.update"
    estimate: RollingEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceEnd(Event):
    """All is said about this utterance."""

    type: Literal["utterance.end"] = "utterance.end"
    utterance_id: int
    audio_start_ms: float
    closed_by: ClosedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent(Event):
    """Something the user should know; the session goes on."""

    type: Literal["warning"] = "warning"
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(Event):
    """Something failed; the session goes on unless it is `fatal`."""

    type: Literal["error"] = "error"
    code: str
    message: str
    fatal: bool
    utterance_id: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Event):
    """The answer to a ping; all that was sent before the ping has been taken."""

    type: Literal["pong"] = "pong"
    id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """Last of a session, with its totals."""

    type: Literal["session.closed"] = "session.closed"
    reason: str
    utterances: int
    audio_seconds: float
    speech_seconds: float
    lost_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """An event that this client does not know; `raw` has what it says."""


EVENT_TYPES: Mapping[str, type[Event]] = {
    "session.created": SessionCreated,
    "session.updated": SessionUpdated,
    "session.resumed": SessionResumed,
    "utterance.start": UtteranceStart,
    "emotion.partial": EmotionPartial,
    "transcript.partial": TranscriptPartial,
    "transcript.final": TranscriptFinal,
    "emotion.final": EmotionFinal,
    "rolling.update": RollingUpdate,
    "utterance.end": UtteranceEnd,
    "warning": WarningEvent,
    "error": ErrorEvent,
    "pong": Pong,
    "session.closed": SessionClosed,
}


def parse_event(text: str | bytes) -> Event:
    """Read one message of the server.

    Raises:
        ServerError: it is no event (code `bad_event`): does something else listen there?
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad("a message that is not JSON") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        raise _bad("a message without a type")
    cls = EVENT_TYPES.get(raw["type"], UnknownEvent)
    # what is to come may have no number; -1 is before all that have one
    known = {"seq": -1, "audio_end_ms": 0.0} | raw if cls is UnknownEvent else raw
    try:
        event: Event = _decode(cls, known)
    except (TypeError, ValueError) as error:
        raise _bad(f"{raw['type'][:64]} with {error}") from None
    object.__setattr__(event, "raw", raw)
    return event


def _bad(what: str) -> ServerError:
    return ServerError(
        "bad_event", f"the server sent {what}; is it realtime-ser, with protocol version 1?"
    )


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls) if f.name != "raw"}


def _decode(hint: Any, value: Any) -> Any:
    """`value` as what `hint` says; what is absent is null, what is unknown is left out."""
    if isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r:.64} where an object is due")
        return hint(**{name: _field(h, name, value.get(name)) for name, h in _hints(hint).items()})
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        (present,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _decode(present, value)
    if origin is tuple and isinstance(value, list):
        return tuple(_decode(arguments[0], item) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {name: _decode(arguments[1], item) for name, item in value.items()}
    if hint is Any or origin is Literal:
        return value
    allowed: Any = (int, float) if hint is float else hint
    if origin or not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{value!r:.64} where {getattr(hint, '__name__', hint)} is due")
    return float(value) if hint is float else value


def _field(hint: Any, name: str, value: Any) -> Any:
    try:
        return _decode(hint, value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
