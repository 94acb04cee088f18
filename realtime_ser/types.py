"""The values that pass between the parts: frozen, slotted, counted in samples at 16 kHz.

Seconds and milliseconds appear only on the wire and in the settings, with the unit in the name.
"Speech" is voice activity; "affect" is valence, arousal and dominance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 480
"""One frame of the speech detector: 30 ms."""

Samples = NDArray[np.int16]
"""Mono PCM at 16 kHz, shape [samples]."""


def samples_from_ms(milliseconds: float) -> int:
    """Milliseconds to samples at 16 kHz, to the nearest sample."""
    return round(milliseconds * SAMPLE_RATE_HZ / 1000)


def ms_from_samples(samples: int) -> float:
    """Samples at 16 kHz to milliseconds."""
    return samples * 1000 / SAMPLE_RATE_HZ


class Evidence(IntEnum):
    """How much a frame speaks for speech; anything but NONE is speech.

    LIKELY opens an utterance and keeps it going. Whether it was one at all is up to SURE: coughs,
    laughs and the babble of a crowd are likely for half a second, hardly sure.
    """

    NONE = 0
    LIKELY = 1
    SURE = 2


class Judgement(NamedTuple):
    """What a speech detector takes a frame for.

    Attributes:
        outside: where no utterance is open.
        inside: where one is, and less is needed to go on.
    """

    outside: Evidence
    inside: Evidence


class ClosedBy(StrEnum):
    """Why an utterance ended."""

    SILENCE = "silence"
    MAX_LENGTH = "max_length"
    GAP = "gap"
    EOF = "eof"


class JobKind(StrEnum):
    """What an analysis is for; see the design's three kinds of work."""

    PARTIAL = "partial"
    PARTIAL_TRANSCRIPT = "partial_transcript"
    """Words alone, no estimate; of all of the utterance so far."""
    SPECULATIVE = "speculative"
    FINAL = "final"


class Stage(StrEnum):
    """A part of the compute that the latency ledger names."""

    ASR = "asr"
    AUDIO_ENCODER = "audio_encoder"
    TEXT_ENCODER = "text_encoder"
    FUSION = "fusion"


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of samples, `start` being the index of the first one in its stream."""

    start: int
    samples: Samples

    @property
    def end(self) -> int:
        """Index after the last sample."""
        return self.start + len(self.samples)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech with its pre-roll and its short tail of silence.

    Attributes:
        id: 0, 1, 2, ... in the order of the stream.
        start, end: sample indices in the stream, end exclusive.
        samples: int16 [end - start]; of a partial estimate, at most the last `partial_window_s`.
        speech_samples: how many of them the speech detector called speech.
        closed_by: None while it is still open.
    """

    id: int
    start: int
    end: int
    samples: Samples
    speech_samples: int
    closed_by: ClosedBy | None = None


@dataclass(frozen=True, slots=True)
class AnalysisJob:
    """A question to the models.

    Attributes:
        id: unique within its session; the answer names it.
        revision: counts the partials of one kind and one utterance from 0.
    """

    id: int
    utterance: Utterance
    revision: int
    kind: JobKind


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; `start` and `end` are samples from the start of its utterance."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said.

    Attributes:
        language: ISO 639-1 code, as Whisper names it.
        avg_logprob: mean log probability of the tokens, in nats.
        no_speech_prob: Whisper's probability that there was no speech.
        words: empty unless word times were asked for.
    """

    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Emotion:
    """A distribution over labels; the probabilities sum to 1."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def top(self) -> str:
        """The likeliest label; the first of equals."""
        return self.labels[self.probabilities.index(max(self.probabilities))]

    def as_dict(self) -> dict[str, float]:
        """Label to probability, in the order of the bundle."""
        return dict(zip(self.labels, self.probabilities, strict=True))


@dataclass(frozen=True, slots=True)
class Affect:
    """Valence, arousal and dominance, each 0..1 with 0.5 the midpoint."""

    valence: float
    arousal: float
    dominance: float


@dataclass(frozen=True, slots=True)
class StageTiming:
    """When one stage ran, in seconds of the worker's monotonic clock."""

    stage: Stage
    started_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """The models' answer to one job.

    Attributes:
        transcript: None without ASR, for partials, and when a gate dropped the text.
        confidence: calibrated probability of the top label, 0..1.
        abstained: True when `confidence` is below the bundle's threshold.
        modalities: what the estimate rests on: ("audio",) or ("audio", "text").
        timings: the stages in the order in which they ran.
    """

    job_id: int
    transcript: Transcript | None
    emotion: Emotion
    affect: Affect
    confidence: float
    abstained: bool
    modalities: tuple[str, ...]
    timings: tuple[StageTiming, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcription:
    """The answer to a job that asks for words alone.

    Attributes:
        transcript: None without ASR, and when a gate dropped the text.
        timings: as in `Analysis`; ASR at most.
    """

    job_id: int
    transcript: Transcript | None
    timings: tuple[StageTiming, ...] = ()


Answer = Analysis | Transcription


@dataclass(frozen=True, slots=True)
class RollingEstimate:
    """The state of the conversation.

    Attributes:
        as_of: sample up to which speech has been counted.
        effective_seconds: how much speech the estimate rests on, after decay.
    """

    as_of: int
    emotion: Emotion
    affect: Affect
    effective_seconds: float
