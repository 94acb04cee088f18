"""The recognizer for Python programs: models loaded once, any number of streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from realtime_ser.config import SPECS, Settings, require_known
from realtime_ser.core.events import (
    EmotionFinal,
    Event,
    TranscriptFinal,
    UtteranceEnd,
)
from realtime_ser.errors import InferenceError, ModelUnavailableError
from realtime_ser.io.file import AudioFile
from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.ort import choose_provider
from realtime_ser.models.speech import create_speech_detector, judge_together
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.batching import AnalysisWorker
from realtime_ser.runtime.intake import Intake
from realtime_ser.runtime.live import run_live
from realtime_ser.runtime.offline import AudioClock, run_offline
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Clock, Notice, Stream, StreamDescription
from realtime_ser.types import SAMPLE_RATE_HZ, Affect, ClosedBy, Emotion, Transcript

if TYPE_CHECKING:
    from realtime_ser.models.transcriber import Transcriber


@dataclass(frozen=True, slots=True)
class UtteranceResult:
    """One utterance of a recording.

    Attributes:
        start_s, end_s: its place, in seconds.
        speech_s: how much of it was speech: the evidence.
        transcript: None without ASR, and when no believable text was heard.
        emotion, affect: None when the analysis failed.
        confidence: calibrated probability of the likeliest label.
        abstained: the confidence is too low for the label to be used.
        modalities: what the estimate rests on: ("audio",) or ("audio", "text").
    """

    start_s: float
    end_s: float
    speech_s: float
    closed_by: ClosedBy
    transcript: Transcript | None
    emotion: Emotion | None
    affect: Affect | None
    confidence: float
    abstained: bool
    modalities: tuple[str, ...]

    @property
    def text(self) -> str:
        """What was said; empty when nobody knows."""
        return self.transcript.text if self.transcript else ""

    @property
    def label(self) -> str | None:
        """The emotion; None when the recognizer abstains or failed."""
        return self.emotion.top if self.emotion and not self.abstained else None


class Recognizer:
    """Listens to audio and says which emotion is heard.

        recognizer = Recognizer(asr="off")
        for utterance in recognizer.recognize("call.wav"):
            print(utterance.start_s, utterance.label, utterance.confidence)

    Nothing is loaded before `load`, which the first stream calls. Streams may follow each other
    and, on one thread, interleave.

    Args:
        settings: all settings; the defaults when None.
        overrides: single settings by name, over `settings`.

    Raises:
        ConfigError: a setting is unknown, of the wrong type or out of range.
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        self.settings = with_overrides(settings or Settings(), overrides)
        self._analyzer: BundleAnalyzer | None = None
        self._description: StreamDescription | None = None
        self._threads = contextlib.ExitStack()
        self._worker: AnalysisWorker | None = None
        self._intake: Intake | None = None

    def __enter__(self) -> Self:
        self.load()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def load(self) -> None:
        """Load and warm up the models; a second call does nothing.

        Raises:
            BundleError: the bundle cannot be used.
            InferenceError: the device does not work.
            ModelUnavailableError: there is no transcription model and `asr_required` is set.
        """
        if self._analyzer is not None:
            return
        settings = self.settings
        bundle = load_bundle(settings.bundle)
        provider = choose_provider(settings.device)
        transcriber, asr, notices = self._load_transcriber(provider.device)
        analyzer = BundleAnalyzer(
            bundle, provider, threads=settings.threads, transcriber=transcriber
        )
        analyzer.warm_up(settings.max_utterance_s)
        notices += graph_notices(analyzer.refusals)
        # loads Silero, which all streams share: not when the first of them begins
        create_speech_detector(settings)
        described = bundle.description
        self._description = StreamDescription(
            bundle={
                "name": described.name,
                "version": described.version,
                "sha256": bundle.hash,
            },
            providers=(provider.name,),
            asr=asr,
            notices=notices,
        )
        self._analyzer = analyzer

    def close(self) -> None:
        """End the threads of live streams, if they were started."""
        self._threads.close()
        self._worker = self._intake = None

    def events(self, source: Iterable[AudioBlock], stream_id: str = "stream") -> Iterator[Event]:
        """Everything that is said of one source, as fast as the models go; see `core.events`.

        Raises:
            AudioError: the source failed, after all events before the fault.
        """
        analyzer, _ = self._loaded()
        stream = self.new_stream(stream_id, self.settings, AudioClock())
        return run_offline(source, stream, analyzer)

    def stream(
        self, chunks: Iterable[np.ndarray[Any, Any]], sample_rate_hz: int = SAMPLE_RATE_HZ
    ) -> Iterator[Event]:
        """Events over any iterable of chunks, each yielded as soon as its chunk allows.

        Args:
            chunks: arrays [samples] or [samples, channels] of any length, int16 or float in -1..1.
        """
        return self.events(AudioBlock(np.asarray(chunk), sample_rate_hz) for chunk in chunks)

    def recognize(self, path: Path | str) -> list[UtteranceResult]:
        """The utterances of a recording; anything that FFmpeg's libraries decode.

        Raises:
            AudioUnsupportedError: it cannot be read, or only in part; see `events` for what came
                before the fault.
        """
        return list(utterance_results(self.events(AudioFile(path), str(path))))

    async def live(
        self,
        source: AsyncIterable[AudioBlock],
        stream_id: str = "live",
        *,
        stop: asyncio.Event | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Everything that is said of a source that runs in real time, such as a microphone.

        The models run on a thread of their own, so that the event loop stays free. Once `stop` is
        set, the source is left, and what was said up to then is still analysed and told.

        Raises:
            AudioError: the source failed, after all events before the fault.
        """
        await asyncio.to_thread(self.load)
        clock = ArrivalClock()
        stream = self.new_stream(stream_id, self.settings, clock)
        events = run_live(source, stream, clock, self.worker, self.intake, stop or asyncio.Event())
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    def new_stream(self, stream_id: str, settings: Settings, clock: Clock) -> Stream:
        """A stream of its own, for a driver; `settings` may differ from the recognizer's in all
        that is not the models'."""
        _, description = self._loaded()
        return Stream(stream_id, settings, create_speech_detector, description, clock)

    @property
    def description(self) -> StreamDescription:
        """What listens: bundle, providers, transcription."""
        return self._loaded()[1]

    @property
    def worker(self) -> AnalysisWorker:
        """The threads that run the models for all live streams."""
        if self._worker is None:
            analyzer, _ = self._loaded()
            worker = AnalysisWorker(analyzer, transcribes=analyzer.transcribes)
            self._worker = self._threads.enter_context(worker)
        return self._worker

    @property
    def intake(self) -> Intake:
        """The thread that listens for all live streams: resampling and speech detection."""
        if self._intake is None:
            self._intake = self._threads.enter_context(Intake(judge_together))
        return self._intake

    def _loaded(self) -> tuple[BundleAnalyzer, StreamDescription]:
        self.load()
        assert self._analyzer is not None
        assert self._description is not None
        return self._analyzer, self._description

    def _load_transcriber(self, device: str) -> tuple[Transcriber | None, str, tuple[Notice, ...]]:
        """The transcriber, what to call it, and what the user must be told about it."""
        settings = self.settings
        if settings.asr == "off":
            return None, "off", ()
        from realtime_ser.models.transcriber import load_transcriber

        def load(on: str) -> Transcriber:
            return load_transcriber(
                settings.asr,
                language=settings.language,
                device="cuda" if on == "cuda" else "cpu",
                threads=settings.threads,
                least_window_s=settings.asr_window_s,
            )

        try:
            return load(device), settings.asr, ()
        except ModelUnavailableError as error:
            if settings.asr_required:
                raise
            return None, "off: unavailable", (Notice("asr_unavailable", str(error)),)
        except InferenceError as error:
            if settings.device == "cuda":
                raise
            # auto: the encoders have the GPU, transcription cannot have it and says so
            notice = Notice("asr_on_cpu", str(error))
            return load("cpu"), settings.asr, (notice,)


def graph_notices(refusals: Mapping[str, str]) -> tuple[Notice, ...]:
    """What to tell of parts that run without CUDA graphs; `refusals` has the reasons by part."""
    return tuple(
        Notice(
            "cuda_graphs_off",
            f"the {part} model runs on CUDA without CUDA graphs, slower than it could: {why}; "
            "`realtime-ser-export inspect` names operators that have no CUDA kernel",
        )
        for part, why in refusals.items()
    )


def with_overrides(settings: Settings, overrides: dict[str, Any]) -> Settings:
    """`settings` with some of them replaced.

    Raises:
        ConfigError: an unknown name, a wrong type or a value out of range.
    """
    for name in overrides:
        require_known(name, f"setting {name}", known=SPECS)
    return replace(settings, **overrides)


def utterance_results(events: Iterable[Event]) -> Iterator[UtteranceResult]:
    """Gather the events of each utterance, in their order."""
    transcripts: dict[int, Transcript] = {}
    finals: dict[int, EmotionFinal] = {}
    for event in events:
        match event:
            case TranscriptFinal():
                transcripts[event.utterance_id] = event.transcript
            case EmotionFinal():
                finals[event.utterance_id] = event
            case UtteranceEnd():
                final = finals.pop(event.utterance_id)
                yield UtteranceResult(
                    start_s=event.audio_start / SAMPLE_RATE_HZ,
                    end_s=event.audio_end / SAMPLE_RATE_HZ,
                    speech_s=final.speech_seconds,
                    closed_by=event.closed_by,
                    transcript=transcripts.pop(event.utterance_id, None),
                    emotion=final.emotion,
                    affect=final.affect,
                    confidence=final.confidence,
                    abstained=final.abstained,
                    modalities=final.modalities,
                )
