"""Jobs to analyses, on a bundle whose answers can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle as tiny
from numpy.typing import NDArray

from realtime_ser.errors import BundleFormatError, InferenceError
from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.ort import choose_provider
from realtime_ser.models.ort_bound import BoundSession
from realtime_ser.types import (
    Analysis,
    AnalysisJob,
    JobKind,
    Samples,
    Stage,
    Transcript,
    Utterance,
)

Write = Callable[..., Path]


class Script:
    """A transcriber that says what it was told, and counts."""

    def __init__(self, *texts: str | None) -> None:
        self.texts = list(texts)
        self.heard: list[int] = []
        self.warm = False

    def transcribe(self, samples: Samples) -> Transcript | None:
        text = self.texts[len(self.heard) % len(self.texts)]
        self.heard.append(len(samples))
        return None if text is None else Transcript(text, "en", -0.1, 0.01)

    def warm_up(self) -> None:
        self.warm = True


def sound(samples: int, loudness: float = 0.5, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed).uniform(-1, 1, samples) * loudness
    return (noise * 32767).astype(np.int16)


def job(samples: Samples, kind: JobKind = JobKind.FINAL, id: int = 0) -> AnalysisJob:
    return AnalysisJob(id, Utterance(id, 0, len(samples), samples, len(samples)), 0, kind)


def make(
    path: Path, transcriber: Script | None = None, *, bound: bool | None = None
) -> BundleAnalyzer:
    return BundleAnalyzer(
        load_bundle(path),
        choose_provider("cpu"),
        threads=1,
        transcriber=transcriber,
        bound=bound,
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64))
    return np.asarray(weights / weights.sum())


def probabilities(analysis: Analysis) -> NDArray[np.float64]:
    return np.array(analysis.emotion.probabilities)


def stages(analysis: Analysis) -> list[Stage]:
    return [timing.stage for timing in analysis.timings]


def test_the_graphs_order_of_labels_is_data(tiny_bundle: Write) -> None:
    samples = sound(8000)
    (analysis,) = make(tiny_bundle()).analyze([job(samples)])
    logits = tiny.in_bundle_order(tiny.audio_embedding(samples) @ tiny.AUDIO_MATRIX)
    assert analysis.emotion.labels == tiny.LABELS
    np.testing.assert_allclose(probabilities(analysis), softmax(logits / 2), atol=1e-6)


def test_affect_is_the_expected_centroid(tiny_bundle: Write) -> None:
    (analysis,) = make(tiny_bundle()).analyze([job(sound(8000))])
    points = np.array([tiny.CENTROIDS[label] for label in tiny.LABELS])
    valence, arousal, dominance = probabilities(analysis) @ points
    assert analysis.affect.valence == pytest.approx(valence)
    assert analysis.affect.arousal == pytest.approx(arousal)
    assert analysis.affect.dominance == pytest.approx(dominance)


def test_affect_of_a_graph_is_scaled_and_sorted(tiny_bundle: Write) -> None:
    samples = sound(8000)
    (analysis,) = make(tiny_bundle(affect_output=True)).analyze([job(samples)])
    raw = 4 + tiny.audio_embedding(samples) @ tiny.AFFECT_MATRIX
    scaled = dict(zip(tiny.GRAPH_AFFECT, (raw - 1) / 6, strict=True))
    assert analysis.affect.valence == pytest.approx(scaled["valence"], abs=1e-5)
    assert analysis.affect.arousal == pytest.approx(scaled["arousal"], abs=1e-5)
    assert analysis.affect.dominance == pytest.approx(scaled["dominance"], abs=1e-5)


def test_confidence_is_the_top_probability_and_decides_abstention(tiny_bundle: Write) -> None:
    silent, loud = make(tiny_bundle()).analyze(
        [job(np.zeros(4000, np.int16)), job(np.full(4000, 32767, np.int16))]
    )
    assert silent.confidence == pytest.approx(1 / 7)
    assert silent.abstained
    assert loud.confidence == max(loud.emotion.probabilities)
    assert loud.confidence > 0.3
    assert not loud.abstained


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("batching", ["masked", "exact_length"])
@pytest.mark.parametrize("parts", [{}, {"text": True}, {"text": True, "fusion": True}])
def test_a_batch_answers_like_single_jobs(
    tiny_bundle: Write, batching: str, parts: dict[str, bool], bound: bool
) -> None:
    path = tiny_bundle(batching=batching, **parts)
    texts = ("what a day", None, "lovely", "a lovely lovely day", None)
    jobs = [
        job(sound(length, seed=row), id=row)
        for row, length in enumerate((8000, 500, 8000, 31999, 500))
    ]
    batch = make(path, Script(*texts), bound=bound).analyze(jobs)
    singles = [
        make(path, Script(text)).analyze([one])[0] for text, one in zip(texts, jobs, strict=True)
    ]
    assert [analysis.job_id for analysis in batch] == [0, 1, 2, 3, 4]
    for together, alone in zip(batch, singles, strict=True):
        np.testing.assert_allclose(probabilities(together), probabilities(alone), atol=1e-6)
        assert together.modalities == alone.modalities
        assert together.transcript == alone.transcript


@pytest.mark.parametrize("batching", ["masked", "exact_length"])
def test_short_audio_is_followed_by_silence(tiny_bundle: Write, batching: str) -> None:
    samples = sound(100)
    analyzer = make(tiny_bundle(batching=batching))
    short, padded = analyzer.analyze([job(samples), job(np.pad(samples, (0, 300)))])
    assert short.emotion == padded.emotion


def test_audio_of_no_samples_is_silence(tiny_bundle: Write) -> None:
    (analysis,) = make(tiny_bundle()).analyze([job(np.zeros(0, np.int16))])
    assert analysis.confidence == pytest.approx(1 / 7)


def test_of_long_audio_the_end_is_heard(tiny_bundle: Write) -> None:
    samples = np.concatenate([sound(9000, 1.0), sound(32000, 0.2, seed=1)])
    long, end = make(tiny_bundle()).analyze([job(samples), job(samples[-32000:])])
    assert long.emotion == end.emotion


def test_padding_to_buckets_does_not_change_the_answer(tiny_bundle: Write) -> None:
    analyzer = make(tiny_bundle())
    (expert,) = analyzer.audio
    waveform = sound(5001).astype(np.float32) / 32768
    plain = expert.run([waveform])["logits"]
    expert._pad_multiple = 16000
    np.testing.assert_allclose(expert.run([waveform])["logits"], plain, atol=1e-6)


@pytest.mark.parametrize("batching", ["masked", "exact_length"])
def test_after_warm_up_no_size_is_new(tiny_bundle: Write, batching: str) -> None:
    """But for audio that must not be padded."""
    path = tiny_bundle(batching=batching, text=True, fusion=True)
    texts = ("lovely", None, "what a lovely day", "day " * 30)
    analyzer = make(path, Script(*texts), bound=True)
    analyzer.warm_up(2.5)
    plain = make(path, Script(*texts))
    random = np.random.default_rng(0)
    for count in range(1, 9):
        kind = JobKind.PARTIAL if count % 2 else JobKind.FINAL
        jobs = [
            job(sound(length, seed=id), kind, id)
            for id, length in enumerate(random.integers(0, 50_000, count).tolist())
        ]
        for fixed, free in zip(analyzer.analyze(jobs), plain.analyze(jobs), strict=True):
            np.testing.assert_allclose(probabilities(fixed), probabilities(free), atol=1e-6)
            assert fixed.modalities == free.modalities
    expected = {"audio": 0, "text": 0, "fusion": 0}
    unprepared = {name: graph.unprepared for name, graph in analyzer._graphs.items()}
    if batching == "exact_length":
        assert unprepared.pop("audio") > 0
        del expected["audio"]
    assert unprepared == expected


def test_the_head_reads_the_encoders_where_they_wrote(tiny_bundle: Write) -> None:
    analyzer = make(tiny_bundle(text=True, fusion=True), Script("lovely"), bound=True)
    analyzer.warm_up(2.0)
    runner = analyzer._graphs["fusion"]._runner
    assert isinstance(runner, BoundSession)
    places = [dict(key) for key in runner._prepared]
    # each size of batch without text and with it, and never a copy of what was heard
    assert [isinstance(place["audio_embedding"], int) for place in places] == [True] * 8
    assert [isinstance(place["text_embedding"], int) for place in places] == [False, True] * 4
    assert len({place["audio_embedding"] for place in places}) == 4


def test_bound_partials_and_finals_do_not_disturb_each_other(tiny_bundle: Write) -> None:
    path = tiny_bundle(text=True, fusion=True)
    analyzer, plain = make(path, Script("lovely"), bound=True), make(path, Script("lovely"))
    analyzer.warm_up(2.0)
    jobs = [
        job(sound(500 * (id + 1), seed=id), JobKind.PARTIAL if id % 2 else JobKind.FINAL, id)
        for id in range(40)
    ]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: analyzer.analyze([one])[0], jobs))
    for analysis, one in zip(found, jobs, strict=True):
        (alone,) = plain.analyze([one])
        np.testing.assert_allclose(probabilities(analysis), probabilities(alone), atol=1e-6)


def test_how_the_parts_run(tiny_bundle: Write) -> None:
    path = tiny_bundle(text=True, fusion=True)
    names = ("audio", "text", "fusion")
    assert make(path).execution == dict.fromkeys(names, "arrays in and out")
    fixed = make(path, bound=True)
    assert fixed.execution == dict.fromkeys(names, "bound")
    assert fixed.refusals == {}


def test_a_partial_is_audio_only(tiny_bundle: Write) -> None:
    script = Script("lovely")
    (analysis,) = make(tiny_bundle(text=True), script).analyze([job(sound(8000), JobKind.PARTIAL)])
    assert script.heard == []
    assert analysis.transcript is None
    assert analysis.modalities == ("audio",)
    assert stages(analysis) == [Stage.AUDIO_ENCODER]


@pytest.mark.parametrize("kind", [JobKind.SPECULATIVE, JobKind.FINAL])
def test_text_counts_as_much_as_audio_without_fusion(tiny_bundle: Write, kind: JobKind) -> None:
    samples = sound(8000)
    (analysis,) = make(tiny_bundle(text=True), Script(" what a day")).analyze([job(samples, kind)])
    audio = tiny.in_bundle_order(tiny.audio_embedding(samples) @ tiny.AUDIO_MATRIX)
    text = tiny.in_bundle_order(tiny.text_embedding("what a day") @ tiny.TEXT_MATRIX)
    expected = (softmax(audio / 2) + softmax(text / 2)) / 2
    np.testing.assert_allclose(probabilities(analysis), expected, atol=1e-6)
    assert analysis.modalities == ("audio", "text")
    assert stages(analysis) == [Stage.ASR, Stage.AUDIO_ENCODER, Stage.TEXT_ENCODER]


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_without_text_the_audio_decides(tiny_bundle: Write, text: str | None) -> None:
    path = tiny_bundle(text=True)
    (silent,) = make(path, Script(text)).analyze([job(sound(8000))])
    (off,) = make(path).analyze([job(sound(8000))])
    assert silent.modalities == off.modalities == ("audio",)
    assert silent.emotion == off.emotion
    assert stages(silent) == [Stage.ASR, Stage.AUDIO_ENCODER]
    assert stages(off) == [Stage.AUDIO_ENCODER]


def test_fusion_sees_the_text_and_its_mask(tiny_bundle: Write) -> None:
    samples = sound(8000)
    analyzer = make(tiny_bundle(text=True, fusion=True), Script("lovely", None))
    with_text, without = analyzer.analyze([job(samples), job(samples)])
    audio = tiny.audio_embedding(samples) @ tiny.FUSION_AUDIO
    text = tiny.text_embedding("lovely") @ tiny.FUSION_TEXT + tiny.FUSION_SHIFT[0]
    np.testing.assert_allclose(
        probabilities(with_text), softmax(tiny.in_bundle_order(audio + text) / 2), atol=1e-6
    )
    np.testing.assert_allclose(
        probabilities(without), softmax(tiny.in_bundle_order(audio) / 2), atol=1e-6
    )
    assert with_text.modalities == ("audio", "text")
    assert without.modalities == ("audio",)
    assert stages(with_text)[-1] is Stage.FUSION


def test_a_head_that_ignores_text_claims_no_text(tiny_bundle: Write) -> None:
    analyzer = make(tiny_bundle(fusion=True), Script("lovely"))
    (analysis,) = analyzer.analyze([job(sound(8000))])
    assert analysis.modalities == ("audio",)
    assert analysis.transcript is not None


def test_long_text_is_cut(tiny_bundle: Write) -> None:
    path = tiny_bundle(text=True)
    long = make(path, Script("lovely " * 8 + "what a day")).analyze([job(sound(8000))])
    cut = make(path, Script("lovely " * 8)).analyze([job(sound(8000))])
    assert long[0].emotion == cut[0].emotion


def add_expert(path: Path) -> None:
    """A second audio expert: the same graph with a different name, so the mean is unchanged."""
    description = json.loads((path / "bundle.json").read_text())
    second = {**description["parts"]["audio"][0], "name": "second"}
    description["parts"]["audio"].append(second)
    tiny.seal(path, description)


def test_several_experts_are_averaged(tiny_bundle: Write) -> None:
    path = tiny_bundle(text=True)
    add_expert(path)
    samples = sound(8000)
    (analysis,) = make(path, Script("lovely")).analyze([job(samples)])
    audio = tiny.in_bundle_order(tiny.audio_embedding(samples) @ tiny.AUDIO_MATRIX)
    text = tiny.in_bundle_order(tiny.text_embedding("lovely") @ tiny.TEXT_MATRIX)
    expected = (2 * softmax(audio / 2) + softmax(text / 2)) / 3
    np.testing.assert_allclose(probabilities(analysis), expected, atol=1e-6)


def test_probabilities_sum_to_one_at_any_loudness(tiny_bundle: Write) -> None:
    analyzer = make(tiny_bundle())
    analyses = analyzer.analyze([job(sound(3000, loudness)) for loudness in (0, 1e-3, 0.1, 1)])
    for analysis in analyses:
        assert sum(analysis.emotion.probabilities) == pytest.approx(1, abs=1e-12)


def test_no_jobs_no_answers(tiny_bundle: Write) -> None:
    assert make(tiny_bundle()).analyze([]) == []


def test_timings_are_in_order(tiny_bundle: Write) -> None:
    analyzer = make(tiny_bundle(text=True, fusion=True), Script("lovely"))
    (analysis,) = analyzer.analyze([job(sound(8000))])
    times = [t for timing in analysis.timings for t in (timing.started_s, timing.ended_s)]
    assert stages(analysis) == list(Stage)
    assert times == sorted(times)


def test_warm_up_runs_everything(tiny_bundle: Write) -> None:
    script = Script("lovely")
    make(tiny_bundle(text=True, fusion=True), script).warm_up(2.0)
    assert script.warm
    assert script.heard == []


def test_a_nan_from_the_graph_is_an_error(tiny_bundle: Write) -> None:
    from onnx import TensorProto, helper

    path = tiny_bundle()
    nodes = [
        helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sqrt", ["mean"], ["root"]),  # NaN for a negative mean.
        helper.make_node("MatMul", ["root", "matrix"], ["logits"]),
        helper.make_node("Concat", ["mean", "mean"], ["embedding"], axis=1),
        helper.make_node("Identity", ["lengths"], ["unused"]),
    ]
    tiny.save_graph(
        path / "audio" / "model.onnx",
        nodes,
        {
            "waveform": (TensorProto.FLOAT, ["batch", "samples"]),
            "lengths": (TensorProto.INT64, ["batch"]),
        },
        {"logits": ["batch", 7], "embedding": ["batch", 2]},
        {"matrix": tiny.AUDIO_MATRIX[:1]},
    )
    reseal(path)
    analyzer = make(path)
    analyzer.analyze([job(np.full(800, 100, np.int16))])
    with pytest.raises(InferenceError, match=r"output logits: holds NaN.*models verify"):
        analyzer.analyze([job(np.full(800, -100, np.int16))])


def reseal(path: Path) -> None:
    """Hash the files again, after a test has changed one."""
    description = json.loads((path / "bundle.json").read_text())
    description["files"] = tiny.file_records(path)
    tiny.seal(path, description)


def test_a_file_that_is_no_tokenizer(tiny_bundle: Write) -> None:
    path = tiny_bundle(text=True)
    (path / "text" / "tokenizer.json").write_text("{}")
    reseal(path)
    with pytest.raises(BundleFormatError, match=r"tokenizer\.json: is not a tokenizer.*re-export"):
        make(path)


def test_words_alone_are_the_transcribers(tiny_bundle: Write) -> None:
    script = Script("lovely", None)
    jobs = [job(sound(n), JobKind.PARTIAL_TRANSCRIPT, id=n) for n in (8000, 9000)]
    bundle = tiny_bundle()
    first, second = make(bundle, script).transcribe(jobs)
    assert (first.job_id, first.transcript) == (8000, Transcript("lovely", "en", -0.1, 0.01))
    assert (second.job_id, second.transcript) == (9000, None)
    assert script.heard == [8000, 9000]
    assert [timing.stage for timing in first.timings] == [Stage.ASR]
    (silent,) = make(bundle).transcribe(jobs[:1])
    assert (silent.transcript, silent.timings) == (None, ())
