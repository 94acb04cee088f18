"""The bundles that ship with the package."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.bundle import Bundle, load_bundle, packaged_bundles
from realtime_ser.models.fusion import posterior
from realtime_ser.models.golden import verify_golden
from realtime_ser.models.ort import choose_provider
from realtime_ser.types import Analysis, AnalysisJob, JobKind, Samples, Transcript, Utterance

LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")


@pytest.fixture(scope="module", params=("default", "permissive"))
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


@pytest.fixture(scope="module")
def analyzer(bundle: Bundle) -> BundleAnalyzer:
    return BundleAnalyzer(bundle, choose_provider("cpu"), threads=1)


def test_it_is_what_the_issue_asks_for(bundle: Bundle) -> None:
    assert packaged_bundles() == ("default", "permissive")
    assert bundle.description.labels == LABELS
    assert sum(record.bytes for record in bundle.description.files.values()) <= 12_000_000
    assert all(metric.protocol for metric in bundle.description.metrics)


def test_it_still_computes_what_was_exported(bundle: Bundle) -> None:
    assert verify_golden(bundle, threads=1).passed


def job(samples: NDArray[np.float64]) -> AnalysisJob:
    pcm = (samples * 32767).astype(np.int16)
    return AnalysisJob(0, Utterance(0, 0, len(pcm), pcm, len(pcm)), 0, JobKind.FINAL)


NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, 300_000)
SECOND = np.arange(16_000) / 16_000


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros(0), id="nothing"),
        pytest.param(np.zeros(64_000), id="digital silence"),
        pytest.param(NOISE[:1], id="one sample"),
        pytest.param(NOISE[:100], id="6 ms"),
        pytest.param(np.pad(NOISE[:4000], (0, 60_000)), id="a burst in silence"),
        pytest.param(np.full(16_000, 0.5), id="constant"),
        pytest.param(np.sign(np.sin(2 * np.pi * 200 * SECOND)), id="clipped"),
        pytest.param(NOISE / 5000, id="the lowest bit"),
        pytest.param(NOISE, id="longer than the maximum"),
    ],
)
def test_any_sound_gets_an_answer(analyzer: BundleAnalyzer, samples: NDArray[np.float64]) -> None:
    (analysis,) = analyzer.analyze([job(samples)])
    assert sum(analysis.emotion.probabilities) == pytest.approx(1, abs=1e-6)
    affect = analysis.affect
    assert all(0 <= value <= 1 for value in (affect.valence, affect.arousal, affect.dominance))


class Reader:
    """A transcriber that hears the same words in everything."""

    def __init__(self, text: str) -> None:
        self._text = text

    def transcribe(self, samples: Samples) -> Transcript | None:
        return Transcript(self._text, "en", -0.1, 0.0) if self._text else None

    def warm_up(self) -> None:
        pass


def read(bundle: Bundle, text: str) -> Analysis:
    """What it answers to a second of noise with these words."""
    analyzer = BundleAnalyzer(bundle, choose_provider("cpu"), threads=1, transcriber=Reader(text))
    (analysis,) = analyzer.analyze([job(NOISE[:16_000])])
    return analysis


def test_words_move_the_answer(bundle: Bundle) -> None:
    happy = read(bundle, "I am so happy, this is wonderful, thank you so much!")
    sad = read(bundle, "I miss her so much, I feel so sad and lonely, I cried all night")
    assert happy.modalities == sad.modalities == ("audio", "text")
    places = [LABELS.index(label) for label in ("happy", "sad")]
    more_happy, more_sad = (
        [np.log(analysis.emotion.probabilities[place]) for place in places]
        for analysis in (happy, sad)
    )
    assert more_happy[0] > more_sad[0] + 0.5
    assert more_sad[1] > more_happy[1] + 0.5
    assert happy.affect.valence > sad.affect.valence


def test_without_words_the_voice_s_own_answer_stands(
    bundle: Bundle, analyzer: BundleAnalyzer
) -> None:
    """Not one that a head made of it: the voice's logits at the temperature fitted on it alone."""
    analysis = read(bundle, "")
    assert analysis.modalities == ("audio",)
    (expert,) = analyzer.audio
    logits = expert.hear([(NOISE[:16_000] * 32767).astype(np.int16)]).logits
    assert logits is not None
    alone = posterior(logits, bundle.description.calibration)[0]
    np.testing.assert_allclose(analysis.emotion.probabilities, alone, atol=1e-5)


def test_a_batch_of_mixed_lengths_answers_like_single_jobs(analyzer: BundleAnalyzer) -> None:
    jobs = [job(NOISE[:length]) for length in (3000, 16_000, 70_001, 16_001)]
    together = analyzer.analyze(jobs)
    for one, batched in zip(jobs, together, strict=True):
        (alone,) = analyzer.analyze([one])
        np.testing.assert_allclose(
            batched.emotion.probabilities, alone.emotion.probabilities, atol=1e-4
        )


def test_bound_and_padded_it_answers_the_same(bundle: Bundle, analyzer: BundleAnalyzer) -> None:
    """As it is served on a GPU: whole seconds, full buckets, outputs that stay in place."""
    fixed = BundleAnalyzer(bundle, choose_provider("cpu"), threads=1, bound=True)
    jobs = [job(NOISE[:length]) for length in (3000, 16_000, 70_001, 16_001, 200_000)]
    for batch in (jobs[:1], jobs[:3], jobs):
        for one, other in zip(fixed.analyze(batch), analyzer.analyze(batch), strict=True):
            np.testing.assert_allclose(
                one.emotion.probabilities, other.emotion.probabilities, atol=1e-4
            )
    texts = ["what a lovely day", "no", "I do not know what to say to that, I really do not"]
    for reader, other_reader in zip(fixed.text, analyzer.text, strict=True):
        found = reader.run(texts)
        for name, expected in other_reader.run(texts).items():
            np.testing.assert_allclose(found[name], expected, atol=1e-4)
