"""Jobs in, analyses out: the models of one bundle, and a transcriber if there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.buckets import STEP_SAMPLES, token_sizes
from realtime_ser.models.bundle import Bundle
from realtime_ser.models.bundle_description import AffectRule, Part
from realtime_ser.models.experts import ExpertOutput
from realtime_ser.models.fusion import (
    FusionHead,
    TextAnswers,
    centroid_affect,
    mean_answer,
    posterior,
)
from realtime_ser.models.graph import Graph
from realtime_ser.models.ort import Provider, thread_count
from realtime_ser.models.ort_bound import bound_device
from realtime_ser.models.text import TextExpert
from realtime_ser.types import (
    SAMPLE_RATE_HZ,
    Affect,
    Analysis,
    AnalysisJob,
    Emotion,
    JobKind,
    Samples,
    Stage,
    StageTiming,
    Transcript,
    Transcription,
)

Result = TypeVar("Result")


class Transcriber(Protocol):
    """Turns speech into text."""

    def transcribe(self, samples: Samples) -> Transcript | None:
        """What is said in int16 [samples] at 16 kHz; None when nothing believable is.

        Raises:
            InferenceError: the model failed.
        """
        ...

    def warm_up(self) -> None:
        """Run once, so that the first utterance does not pay for the set-up of the device."""
        ...


class BundleAnalyzer:
    """Answers jobs with the models of a bundle; for its threads see the port `Analyzer`.

    Args:
        bundle: a verified bundle.
        provider: where its graphs run, see `choose_provider`. Finding out costs a run on the GPU,
            and others need to know too, so it is not done here.
        threads: CPU threads that are busy at most; 0 means all cores.
        transcriber: None for no transcripts.
        bound: whether inputs and outputs stay on the device, in shapes that repeat, with CUDA
            graphs where they can be had, see `ort_bound`; None for on CUDA.

    Attributes:
        bundle: the bundle that answers.
        provider: as given.

    Raises:
        BundleFormatError: a graph or tokenizer does not fit the bundle's description.
        InferenceError: the provider does not take a graph.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        *,
        threads: int = 0,
        transcriber: Transcriber | None = None,
        bound: bool | None = None,
    ) -> None:
        self.bundle = bundle
        self.provider = provider
        self._threads = thread_count(threads)
        self._transcriber = transcriber
        description = bundle.description
        self._labels = description.labels
        self._device = bound_device(provider, bound)
        self._graphs: dict[str, Graph] = {}
        self.audio = tuple(
            AudioExpert(
                part,
                self._graph(part),
                self._labels,
                pad_multiple_samples=STEP_SAMPLES if self._device else 1,
            )
            for part in description.audio
        )
        self.text = tuple(
            TextExpert(
                part,
                self._graph(part),
                bundle.file(part.tokenizer),
                self._labels,
                sizes_tokens=token_sizes(part.max_tokens) if self._device else (),
            )
            for part in description.text
        )
        self.fusion: FusionHead | None = None
        if description.fusion:
            # A head is a few small matrices: more threads would cost more than they bring.
            graph = self._graph(description.fusion, threads=1)
            self.fusion = FusionHead(description.fusion, graph, self._labels)

    @property
    def transcribes(self) -> bool:
        """Whether all but partials are transcribed."""
        return self._transcriber is not None

    @property
    def execution(self) -> dict[str, str]:
        """How each part runs, in a few words, by its name."""
        return {name: graph.execution for name, graph in self._graphs.items()}

    @property
    def refusals(self) -> dict[str, str]:
        """Why parts run without CUDA graphs although they could have them, by their names."""
        return {name: graph.refusal for name, graph in self._graphs.items() if graph.refusal}

    def _graph(self, part: Part, threads: int | None = None) -> Graph:
        graph = Graph(
            self.bundle.file(part.file),
            part.inputs,
            part.outputs,
            self.provider,
            threads or self._threads,
            self._device,
        )
        self._graphs[part.name] = graph
        return graph

    def _do(self, work: Callable[[], Result]) -> Result:
        """`work` on the graphs, undisturbed where they are bound."""
        return self._device.do(work) if self._device else work()

    def warm_up(self, longest_seconds: float) -> None:
        """Meet every size of input that comes up with utterances of up to `longest_seconds`.

        The first run of a graph allocates, and on a GPU each new shape costs extra.

        Raises:
            InferenceError: a model failed.
        """
        longest = max(1, round(longest_seconds * SAMPLE_RATE_HZ))
        # Noise, because a model may rightly have nothing to say about digital silence.
        noise = np.random.default_rng(0).integers(-1000, 1000, longest).astype(np.int16)
        self._do(lambda: self._warm_up_graphs(noise))
        # Last, for nothing else may use the device while graphs are captured.
        if self._transcriber:
            self._transcriber.warm_up()

    def _warm_up_graphs(self, noise: Samples) -> None:
        for expert in self.audio:
            expert.warm_up(noise)
        for reader in self.text:
            reader.warm_up()
        if self.fusion is None:
            return
        for rows in self._device.rows if self._device else (1,):
            audio = tuple(expert.hear([noise[:STEP_SAMPLES]] * rows) for expert in self.audio)
            self.fusion.prepare(audio, TextAnswers((), ()))
            if self.text:
                texts = tuple(reader.read(["warm up"] * rows) for reader in self.text)
                self.fusion.prepare(audio, TextAnswers(tuple(range(rows)), texts))

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        """Answer `jobs`, all of them partials or none, in their order.

        Partial jobs are answered from audio alone. In the timings of a batch, ASR is each job's
        own; the other stages ran once for all and are the same in each.

        Raises:
            InferenceError: a model failed; none of the jobs is answered.
        """
        if not jobs:
            return []
        ledger = _Ledger()
        transcripts: list[Transcript | None] = [None] * len(jobs)
        asr_timings: list[tuple[StageTiming, ...]] = [()] * len(jobs)
        if self._transcriber:
            for row, job in enumerate(jobs):
                if job.kind is not JobKind.PARTIAL:
                    with (own := _Ledger()).stage(Stage.ASR):
                        transcripts[row] = self._transcriber.transcribe(job.utterance.samples)
                    asr_timings[row] = own.timings
        waveforms = [job.utterance.samples for job in jobs]
        estimate = self._do(lambda: self._estimate(waveforms, transcripts, ledger))
        return [
            self._answer(
                job,
                transcripts[row],
                estimate,
                row,
                asr_timings[row] + ledger.timings,
            )
            for row, job in enumerate(jobs)
        ]

    def _estimate(
        self,
        waveforms: Sequence[Samples],
        transcripts: Sequence[Transcript | None],
        ledger: _Ledger,
    ) -> _Estimate:
        with ledger.stage(Stage.AUDIO_ENCODER):
            audio = tuple(expert.hear(waveforms) for expert in self.audio)
        text = self._read(transcripts, ledger)
        probabilities, affect = self._combine(audio, text, ledger)
        return _Estimate(probabilities, affect, text.rows if self._counts_text(text) else ())

    def transcribe(self, jobs: Sequence[AnalysisJob]) -> list[Transcription]:
        """The words of `jobs`, in their order, and no estimates.

        Raises:
            InferenceError: the transcriber failed; none of the jobs is answered.
        """
        if self._transcriber is None:
            return [Transcription(job.id, None) for job in jobs]
        transcriptions: list[Transcription] = []
        for job in jobs:
            with (ledger := _Ledger()).stage(Stage.ASR):
                transcript = self._transcriber.transcribe(job.utterance.samples)
            transcriptions.append(Transcription(job.id, transcript, ledger.timings))
        return transcriptions

    def _read(self, transcripts: Sequence[Transcript | None], ledger: _Ledger) -> TextAnswers:
        texts = [transcript.text.strip() if transcript else "" for transcript in transcripts]
        rows = tuple(row for row, text in enumerate(texts) if text)
        if not rows or not self.text:
            return TextAnswers((), ())
        with ledger.stage(Stage.TEXT_ENCODER):
            present = [texts[row] for row in rows]
            return TextAnswers(rows, tuple(expert.read(present) for expert in self.text))

    def _counts_text(self, text: TextAnswers) -> bool:
        if self.fusion:
            return self.fusion.uses_text
        return any(output.logits is not None for output in text.outputs)

    def _combine(
        self, audio: Sequence[ExpertOutput], text: TextAnswers, ledger: _Ledger
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities [batch, labels] and affect [batch, 3] from all that is known."""
        description = self.bundle.description
        calibration = description.calibration
        fused: ExpertOutput | None = None
        if self.fusion:
            with ledger.stage(Stage.FUSION):
                fused = self.fusion.fuse(audio, text)
        if fused and fused.logits is not None:
            probabilities = posterior(fused.logits, calibration)
        else:
            probabilities = mean_answer(
                [posterior(o.logits, calibration) for o in audio if o.logits is not None],
                [posterior(o.logits, calibration) for o in text.outputs if o.logits is not None],
                text.rows,
            )
        if fused and fused.affect is not None:
            affect = fused.affect
        elif isinstance(description.affect, AffectRule):
            affect = centroid_affect(probabilities, description.affect, self._labels)
        else:
            affect = mean_answer(
                [o.affect for o in audio if o.affect is not None],
                [o.affect for o in text.outputs if o.affect is not None],
                text.rows,
            )
        return probabilities, affect

    def _answer(
        self,
        job: AnalysisJob,
        transcript: Transcript | None,
        estimate: _Estimate,
        row: int,
        timings: tuple[StageTiming, ...],
    ) -> Analysis:
        probabilities = estimate.probabilities[row]
        confidence = float(probabilities.max())
        valence, arousal, dominance = estimate.affect[row].tolist()
        return Analysis(
            job_id=job.id,
            transcript=transcript,
            emotion=Emotion(self._labels, tuple(probabilities.tolist())),
            affect=Affect(valence, arousal, dominance),
            confidence=confidence,
            abstained=confidence < self.bundle.description.calibration.abstain_below,
            modalities=("audio", "text") if row in estimate.text_rows else ("audio",),
            timings=timings,
        )


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What the graphs say of a batch.

    Attributes:
        probabilities: [batch, labels].
        affect: [batch, 3].
        text_rows: the rows that rest on text, too.
    """

    probabilities: NDArray[np.float64]
    affect: NDArray[np.float64]
    text_rows: tuple[int, ...]


class _Ledger:
    """Collects when each stage ran."""

    def __init__(self) -> None:
        self.timings: tuple[StageTiming, ...] = ()

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings += (StageTiming(stage, started, time.perf_counter()),)
