"""Time lines drawn as strings: one character a frame, '#' speech, '.' silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from realtime_ser.core.segmenter import (
    Segmenter,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
)
from realtime_ser.types import (
    FRAME_SAMPLES,
    Affect,
    Analysis,
    AnalysisJob,
    AudioChunk,
    Emotion,
    Evidence,
    Judgement,
    Samples,
    Transcript,
    Transcription,
)

LOUD, QUIET = 8000, 10
EVIDENCE = {"#": Evidence.SURE, "+": Evidence.LIKELY, ".": Evidence.NONE}


def audio(line: str) -> Samples:
    """Samples that `LoudnessDetector` hears as `line`; every frame differs from the others."""
    frames = [
        np.full(FRAME_SAMPLES, (LOUD if mark == "#" else QUIET) + index % 7, np.int16)
        for index, mark in enumerate(line)
    ]
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def chunks(samples: Samples, sizes: Iterable[int]) -> list[AudioChunk]:
    """Cut `samples` into pieces of `sizes`, the rest in one piece."""
    cut: list[AudioChunk] = []
    start = 0
    for size in sizes:
        cut.append(AudioChunk(start, samples[start : start + size]))
        start = min(start + size, len(samples))
    if start < len(samples):
        cut.append(AudioChunk(start, samples[start:]))
    return cut


class LoudnessDetector:
    """Speech is what is loud: the smallest real detector."""

    def judge(self, frames: Sequence[Samples | None]) -> list[Judgement]:
        return [self._judged(frame) for frame in frames]

    def _judged(self, frame: Samples | None) -> Judgement:
        is_loud = frame is not None and np.abs(frame.astype(np.int32)).mean() > (LOUD + QUIET) / 2
        evidence = Evidence.SURE if is_loud else Evidence.NONE
        return Judgement(outside=evidence, inside=evidence)


def analysis_of(job: AnalysisJob) -> Analysis:
    """An answer that depends on every sample of the question, so that wrong audio shows."""
    samples = job.utterance.samples.astype(np.int64)
    weighted = int((samples * np.arange(1, len(samples) + 1)).sum())
    share = (weighted % 1009 + 1) / 1011
    return Analysis(
        job_id=job.id,
        transcript=None,
        emotion=Emotion(("calm", "tense"), (share, 1 - share)),
        affect=Affect(share, 1 - share, 0.5),
        confidence=max(share, 1 - share),
        abstained=share == 0.5,
        modalities=("audio",),
    )


def transcription_of(job: AnalysisJob) -> Transcription:
    """Words that tell how much was heard."""
    return Transcription(job.id, Transcript(str(len(job.utterance.samples)), "en", -0.1, 0.0))


def segment(segmenter: Segmenter, line: str) -> str:
    """Run `line` and draw what happened under it: S start, P pause, R resume, E end, - nothing."""
    marks = {SpeechStarted: "S", SpeechPaused: "P", SpeechResumed: "R", SpeechEnded: "E"}
    drawn = []
    for index, mark in enumerate(line):
        start = index * FRAME_SAMPLES
        energy = LOUD if mark == "#" else QUIET
        actions = segmenter.push(start, start + FRAME_SAMPLES, EVIDENCE[mark], energy)
        drawn.append("".join(marks[type(action)] for action in actions) or "-")
    return "".join(drawn)
