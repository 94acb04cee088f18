"""Events of a short conversation, as a session would tell it."""

from __future__ import annotations

import pytest

from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    Event,
    Ledger,
    RollingUpdate,
    SessionClosed,
    SessionCreated,
    TranscriptFinal,
    UtteranceEnd,
    UtteranceStart,
    WarningEvent,
)
from realtime_ser.types import Affect, ClosedBy, Emotion, RollingEstimate, Transcript

LABELS = ("angry", "happy", "neutral", "sad")


def emotion(label: str, probability: float) -> Emotion:
    rest = (1 - probability) / (len(LABELS) - 1)
    return Emotion(LABELS, tuple(probability if name == label else rest for name in LABELS))


def seconds(value: float) -> int:
    return round(value * 16_000)


def utterance(
    number: int, start_s: float, label: str | None, probability: float, text: str | None
) -> list[Event]:
    """Two seconds of speech; `label` None is a failed analysis, below 0.4 an abstention."""
    start, end = seconds(start_s), seconds(start_s + 2.5)
    at = {"utterance_id": number, "audio_start": start}
    affect = Affect(0.25 + 0.1 * number, 0.75, 0.5)
    estimate = {
        "emotion": emotion(label, probability) if label else None,
        "affect": affect if label else None,
        "confidence": probability if label else 0.0,
        "abstained": probability < 0.4,
    }
    events: list[Event] = [UtteranceStart(audio_end=start + 4800, **at)]
    if label:
        events.append(
            EmotionPartial(audio_end=start + 9600, revision=0, speech_seconds=0.6, **at, **estimate)
        )
    if text is not None:
        transcript = Transcript(text, "en", -0.2, 0.01)
        events.append(TranscriptFinal(audio_end=end, transcript=transcript, **at))
    critical = {"hangover": 500.0, "queue": 2.0, "audio_encoder": 3.0, "fusion": 1.0, "emit": 1.0}
    critical |= {"asr": 10.0 * number, "text_encoder": 0.0}
    events.append(
        EmotionFinal(
            audio_end=end,
            modalities=("audio",) if text is None else ("audio", "text"),
            speech_seconds=2.0,
            closed_by=ClosedBy.SILENCE,
            speech_end=end - 2400,
            endpoint=end + 5600,
            timings=Ledger(critical, {"asr": 300.0}, sum(critical.values())),
            **at,
            **estimate,
        )
    )
    if label:
        rolling = RollingEstimate(end, emotion(label, 0.5), affect, 2.0)
        events.append(RollingUpdate(audio_end=end, estimate=rolling))
    events.append(UtteranceEnd(audio_end=end, closed_by=ClosedBy.SILENCE, **at))
    return events


@pytest.fixture
def conversation() -> list[Event]:
    """Four utterances: happy, unsure, failed, sad without transcript; then the end."""
    created = SessionCreated(
        audio_end=0,
        session_id="talk.wav",
        protocol_version=1,
        config={},
        bundle={"name": "default", "version": "0.1.0", "sha256": "00"},
        providers=("CPUExecutionProvider",),
        asr="tiny",
    )
    return [
        created,
        *utterance(0, 1.0, "happy", 0.8, "we won\x1b[31m the game"),
        *utterance(1, 5.0, "angry", 0.3, "is that so"),
        *utterance(2, 9.0, None, 0.0, None),
        *utterance(3, 13.0, "sad", 0.6, None),
        WarningEvent(audio_end=seconds(16), code="slow", message="results are late"),
        SessionClosed(
            audio_end=seconds(17),
            reason="eof",
            utterances=4,
            audio_seconds=17.0,
            speech_seconds=8.0,
            lost_samples=0,
        ),
    ]
