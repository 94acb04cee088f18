"""What a live view knows: events and levels, folded. No clock, no terminal.

Renderers read it; `summary_lines` says at the end what happened.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    Ledger,
    RollingUpdate,
    SessionClosed,
    SessionCreated,
    TranscriptFinal,
    TranscriptPartial,
    UtteranceEnd,
    UtteranceStart,
    WarningEvent,
)
from realtime_ser.io.level import FLOOR_DBFS, level_dbfs
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.types import SAMPLE_RATE_HZ, Affect, ClosedBy, Emotion, RollingEstimate

LEDGER_PARTS: dict[str, tuple[str, ...]] = {
    "hangover": ("hangover",),
    "queue": ("queue",),
    "asr": ("asr",),
    "encoders": ("audio_encoder", "text_encoder", "fusion"),
    "emit": ("emit",),
}
"""The parts of the critical path as they are shown, and the ledger's names that each sums."""

_TRAIL = 16
_UTTERANCES = 200
_LEDGERS = 1000
_PEAK_FALL_DB_PER_S = 12.0


@dataclass(frozen=True, slots=True)
class UtteranceLine:
    """What is known of one utterance.

    Attributes:
        start_s: on the time line of its stream.
        text: None as long as, or because, there is no transcript.
        words_so_far: of an utterance that is not over; None when nobody transcribes them.
        emotion, affect: None before the first estimate, and when the analysis failed.
        confidence: of the top label, 0..1.
        speech_seconds: the evidence that the estimate rests on.
        modalities: of the final; empty before.
        final: True when it will not change any more.
    """

    id: int
    start_s: float
    text: str | None = None
    words_so_far: str | None = None
    emotion: Emotion | None = None
    affect: Affect | None = None
    confidence: float = 0.0
    abstained: bool = False
    speech_seconds: float = 0.0
    modalities: tuple[str, ...] = ()
    final: bool = False

    @property
    def failed(self) -> bool:
        """Whether the models gave no answer."""
        return self.final and self.emotion is None


@dataclass(slots=True)
class ViewState:
    """The state of a live view; feed it with `take` and `hear`.

    Attributes:
        session: the stream that is shown; None before the first.
        speaking: whether an utterance is open.
        position_s: audio told about so far.
        level_dbfs, peak_dbfs: RMS of the latest block, and a maximum that falls slowly.
        utterances: the latest ones, oldest first.
        trail: points of the affect plane, newest last.
        ledgers: of the latest finals that someone waited for, oldest first: those that silence
            ended.
        messages: warnings and errors by code, in order of their first appearance.
        fatal_code: of the error that ended a stream, if one did.
        closed: how the stream ended; None while it runs.
        lag_ms: of the latest event.
        finals, read: how many there were, and how many of them had words to go by.
        speech_seconds: by label, over all streams; abstentions under "unsure".
    """

    session: SessionCreated | None = None
    speaking: bool = False
    position_s: float = 0.0
    level_dbfs: float = FLOOR_DBFS
    peak_dbfs: float = FLOOR_DBFS
    utterances: deque[UtteranceLine] = field(default_factory=lambda: deque(maxlen=_UTTERANCES))
    rolling: RollingEstimate | None = None
    trail: deque[Affect] = field(default_factory=lambda: deque(maxlen=_TRAIL))
    ledgers: deque[Ledger] = field(default_factory=lambda: deque(maxlen=_LEDGERS))
    messages: dict[str, str] = field(default_factory=dict)
    fatal_code: str | None = None
    closed: SessionClosed | None = None
    lag_ms: float | None = None
    finals: int = 0
    read: int = 0
    failures: int = 0
    losses: int = 0
    lost_seconds: float = 0.0
    speech_seconds: dict[str, float] = field(default_factory=dict)

    def hear(self, block: AudioBlock) -> None:
        """Take the level of a block of input, and what was lost before it."""
        seconds = len(block.samples) / block.sample_rate_hz
        self.level_dbfs = level_dbfs(block.samples)
        self.peak_dbfs = max(self.level_dbfs, self.peak_dbfs - _PEAK_FALL_DB_PER_S * seconds)
        if block.lost_samples:
            self.losses += 1
            self.lost_seconds += block.lost_samples / block.sample_rate_hz

    def take(self, event: Event) -> None:
        """Fold an event in."""
        self.position_s = event.audio_end / SAMPLE_RATE_HZ
        self.lag_ms = event.lag_ms if event.lag_ms is not None else self.lag_ms
        match event:
            case SessionCreated():
                self._begin(event)
            case UtteranceStart():
                self.speaking = True
                line = UtteranceLine(event.utterance_id, event.audio_start / SAMPLE_RATE_HZ)
                self.utterances.append(line)
            case EmotionPartial():
                self._amend(
                    event.utterance_id,
                    emotion=event.emotion,
                    affect=event.affect,
                    confidence=event.confidence,
                    abstained=event.abstained,
                    speech_seconds=event.speech_seconds,
                )
                self.trail.append(event.affect)
            case TranscriptPartial():
                self._amend(event.utterance_id, words_so_far=event.transcript.text)
            case TranscriptFinal():
                self._amend(event.utterance_id, text=event.transcript.text)
            case EmotionFinal():
                self._conclude(event)
            case RollingUpdate():
                self.rolling = event.estimate
            case UtteranceEnd():
                self.speaking = False
            case WarningEvent():
                self.messages[event.code] = event.message
            case ErrorEvent():
                self.messages[event.code] = event.message
                self.fatal_code = event.code if event.fatal else self.fatal_code
            case SessionClosed():
                self.speaking = False
                self.closed = event

    @property
    def current(self) -> UtteranceLine | None:
        """The latest utterance of which there is an estimate."""
        return next((line for line in reversed(self.utterances) if line.emotion), None)

    def _begin(self, event: SessionCreated) -> None:
        self.session = event
        self.speaking = False
        self.closed = None
        self.rolling = None
        self.utterances.clear()
        self.trail.clear()

    def _conclude(self, event: EmotionFinal) -> None:
        self.speaking = False
        self._amend(
            event.utterance_id,
            emotion=event.emotion,
            affect=event.affect,
            confidence=event.confidence,
            abstained=event.abstained,
            speech_seconds=event.speech_seconds,
            modalities=event.modalities,
            final=True,
        )
        self.finals += 1
        self.read += "text" in event.modalities
        if event.affect:
            self.trail.append(event.affect)
        if event.timings and event.closed_by is ClosedBy.SILENCE:
            self.ledgers.append(event.timings)
        if event.emotion is None:
            self.failures += 1
        else:
            label = "unsure" if event.abstained else event.emotion.top
            heard_s = self.speech_seconds.get(label, 0.0) + event.speech_seconds
            self.speech_seconds[label] = heard_s

    def _amend(self, utterance_id: int, **known: Any) -> None:
        for index in range(len(self.utterances) - 1, -1, -1):
            if self.utterances[index].id == utterance_id:
                self.utterances[index] = replace(self.utterances[index], **known)
                return


def part_ms(ledger: Ledger, part: str) -> float:
    """One of `LEDGER_PARTS` of the critical path, or "total", in milliseconds."""
    if part == "total":
        return ledger.end_of_speech_to_emit
    return sum(ledger.critical.get(name, 0.0) for name in LEDGER_PARTS[part])


def compute_ms(ledger: Ledger, part: str) -> float:
    """What one of `LEDGER_PARTS` cost, hidden or not, in milliseconds."""
    return sum(ledger.compute.get(name, 0.0) for name in LEDGER_PARTS[part])


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile of `values`, which must not be empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def printable(text: str) -> str:
    """`text` on one line without control characters: a file name must not steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def summary_lines(state: ViewState, *, messages: bool = True) -> list[str]:
    """What happened, for the end of a session: a few lines of plain text.

    Args:
        messages: repeat warnings and errors, which a live view takes off the screen with it; but
            for the one that ended the stream, which the command reports itself.
    """
    speech_s = sum(state.speech_seconds.values())
    lines = [f"{_count(state.finals, 'utterance')}, {speech_s:.1f} s of speech"]
    if state.read:
        lines[0] += f"; {state.read} by voice and words"
    if speech_s:
        largest_first = sorted(state.speech_seconds.items(), key=lambda item: -item[1])
        shares = ", ".join(
            f"{printable(label)} {100 * seconds / speech_s:.0f} %"
            for label, seconds in largest_first
        )
        lines.append(f"by speech time: {shares}")
    if state.failures:
        lines.append(f"not analysed: {_count(state.failures, 'utterance')}")
    if state.ledgers:
        total = [part_ms(ledger, "total") for ledger in state.ledgers]
        hangover = [part_ms(ledger, "hangover") for ledger in state.ledgers]
        lines.append(
            f"end of speech to result: median {percentile(total, 50):.0f} ms, "
            f"95 % {percentile(total, 95):.0f} ms, hangover {percentile(hangover, 50):.0f} ms"
        )
    if state.losses:
        lines.append(f"audio lost: {_count(state.losses, 'time')}, {state.lost_seconds:.2f} s")
    if messages:
        lines += [
            f"{code}: {printable(message)}"
            for code, message in state.messages.items()
            if code != state.fatal_code
        ]
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
