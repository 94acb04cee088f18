"""The events that tell of an utterance and of the answers about it."""

from __future__ import annotations

from dataclasses import dataclass

from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    TranscriptFinal,
    TranscriptPartial,
    UtteranceEnd,
)
from realtime_ser.types import SAMPLE_RATE_HZ, Analysis, AnalysisJob, Transcript, Utterance


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that could not be answered; `code` is stable, `message` says what to do."""

    code: str
    message: str


def partial_told(job: AnalysisJob, analysis: Analysis) -> EmotionPartial:
    """An estimate of the utterance so far."""
    utterance = job.utterance
    return EmotionPartial(
        audio_end=utterance.end,
        utterance_id=utterance.id,
        audio_start=utterance.start,
        revision=job.revision,
        emotion=analysis.emotion,
        affect=analysis.affect,
        confidence=analysis.confidence,
        abstained=analysis.abstained,
        speech_seconds=utterance.speech_samples / SAMPLE_RATE_HZ,
        job_id=job.id,
    )


def words_told(job: AnalysisJob, transcript: Transcript) -> TranscriptPartial:
    """The words of the utterance so far."""
    utterance = job.utterance
    return TranscriptPartial(
        audio_end=utterance.end,
        utterance_id=utterance.id,
        audio_start=utterance.start,
        revision=job.revision,
        transcript=transcript,
        job_id=job.id,
    )


def final_told(
    utterance: Utterance, speech_end: int, endpoint: int, answer: Analysis | Failure
) -> list[Event]:
    """The error, if it failed, or the transcript, if there is one; then the one final."""
    assert utterance.closed_by is not None  # a closed utterance says why
    analysis = answer if isinstance(answer, Analysis) else None
    events: list[Event] = []
    if isinstance(answer, Failure):
        events.append(
            ErrorEvent(
                audio_end=utterance.end,
                utterance_id=utterance.id,
                code=answer.code,
                message=answer.message,
                fatal=False,
            )
        )
    elif answer.transcript is not None:
        events.append(
            TranscriptFinal(
                audio_end=utterance.end,
                utterance_id=utterance.id,
                audio_start=utterance.start,
                transcript=answer.transcript,
                job_id=answer.job_id,
            )
        )
    final = EmotionFinal(
        audio_end=utterance.end,
        utterance_id=utterance.id,
        audio_start=utterance.start,
        emotion=analysis.emotion if analysis else None,
        affect=analysis.affect if analysis else None,
        confidence=analysis.confidence if analysis else 0.0,
        abstained=analysis.abstained if analysis else True,
        modalities=analysis.modalities if analysis else (),
        speech_seconds=utterance.speech_samples / SAMPLE_RATE_HZ,
        closed_by=utterance.closed_by,
        speech_end=speech_end,
        endpoint=endpoint,
        job_id=analysis.job_id if analysis else None,
    )
    return [*events, final]


def end_told(utterance: Utterance) -> UtteranceEnd:
    """The last word about an utterance."""
    assert utterance.closed_by is not None  # a closed utterance says why
    return UtteranceEnd(
        audio_end=utterance.end,
        utterance_id=utterance.id,
        audio_start=utterance.start,
        closed_by=utterance.closed_by,
    )
