"""Every strategy of fusion, trained as the papers do, answers in `realtime-ser` as in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")
pytest.importorskip("transformers")
pytest.importorskip("optimum.exporters.onnx", reason="optimum-onnx is not installed")

import torch
from served_file import serve_sample

from realtime_ser_export.fusion.answers import Answers, hear, read
from realtime_ser_export.fusion.heads import Fusion
from realtime_ser_export.fusion.settings import STRATEGIES
from realtime_ser_export.huggingface.audio_export import export_audio
from realtime_ser_export.huggingface.text_export import export_text
from realtime_ser_export.papers.fit import FitSettings
from realtime_ser_export.papers.join import join
from realtime_ser_export.papers.serve import write_bundle
from realtime_ser_export.training.subjects import BundleSubject

LABELS = ("angry", "happy", "neutral", "sad")
TEXTS = ("no", "yes of course", "it is eleven o'clock", "say the word")


@pytest.fixture(scope="module")
def encoders(
    random_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Encoder folders of a tiny HuBERT and a tiny BERT with heads of random weights."""
    out = tmp_path_factory.mktemp("encoders")
    sound = random_folder("hubert", head="classification", labels=LABELS)
    words = random_folder("bert", head="classification", labels=LABELS)
    export_audio(str(sound), out / "audio")
    export_text(str(words), out / "text")
    return out / "audio", out / "text"


def asked(
    encoders: tuple[Path, Path], waves: list[np.ndarray], texts: list[str], cache: Path
) -> tuple[Answers, Answers]:
    """What the encoders say, through their own graphs."""
    lengths = np.array([len(wave) for wave in waves])
    names = [str(n) for n in range(len(waves))]
    heard = hear(encoders[0], lambda rows: [waves[i] for i in rows], lengths, names, LABELS,
                 cache)  # fmt: skip
    return heard, read(encoders[1], texts, LABELS, cache)


def in_torch(fusion: Fusion, heard: Answers, said: Answers, *, present: float) -> np.ndarray:
    """Probabilities of the head that was trained, float32 [n, 4]; a missing text is zeros."""
    wide = [torch.from_numpy(heard.wide()), torch.from_numpy(said.wide() * np.float32(present))]
    with torch.no_grad():
        logits, _ = fusion(*wide, torch.full((len(wide[0]),), present))
    return (logits / fusion.temperature).softmax(1).numpy()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_served_as_trained(
    strategy: str,
    encoders: tuple[Path, Path],
    whisper_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    # Whole numbers of 16 bits, as a bundle is asked.
    waves = [rng.integers(-3000, 3000, 8000 + 1000 * n).astype(np.float32) / 32768
             for n in range(12)]  # fmt: skip
    texts = [TEXTS[n % 4] for n in range(12)]
    heard, said = asked(encoders, waves, texts, tmp_path)
    labels = np.arange(12) % 4
    every = np.arange(12)
    fusion, scores = join(strategy, heard, said, labels, every, every, FitSettings(2, 4, 1e-2),
                          tmp_path / "fit", names=LABELS)  # fmt: skip
    write_bundle(tmp_path / "bundle", *encoders, fusion, LABELS, strategy)
    subject = BundleSubject(tmp_path / "bundle")
    answers = subject.answer(waves, texts).scores
    trained = np.exp(scores - scores.max(1, keepdims=True))
    trained /= trained.sum(1, keepdims=True)
    served = np.exp(answers / fusion.temperature.item())[:, subject.labels]
    # `BundleSubject` orders by its own labels, which these four are in the same order.
    np.testing.assert_allclose(served / served.sum(1, keepdims=True), trained, atol=1e-4)

    for asr in (str(whisper_folder), "off"):
        file = serve_sample(tmp_path / "bundle", asr, capsys)
        assert file.modalities == (["audio"] if asr == "off" else ["audio", "text"])
        alone = asked(encoders, [file.wave], [file.text or "-"], tmp_path / asr[-3:])
        (expected,) = in_torch(fusion, *alone, present=float(bool(file.text)))
        answered = [file.probabilities[label] for label in LABELS]
        np.testing.assert_allclose(answered, expected, atol=1e-4)
