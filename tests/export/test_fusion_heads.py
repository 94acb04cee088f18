"""Fusion heads: formulas, what a missing text may do, training, and the exported graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("scipy", reason="scipy is not installed")
pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

import onnxruntime  # noqa: E402

from realtime_ser_export.bundles.fusion_head import describe_head, export_head  # noqa: E402
from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.fusion import arousal  # noqa: E402
from realtime_ser_export.fusion.answers import Answers, Layout  # noqa: E402
from realtime_ser_export.fusion.figures import measure  # noqa: E402
from realtime_ser_export.fusion.fit import Side, train_head  # noqa: E402
from realtime_ser_export.fusion.heads import Fusion, build  # noqa: E402
from realtime_ser_export.fusion.pairs import CHOOSE, FIT, TEST, Pairing, Sentences  # noqa: E402
from realtime_ser_export.fusion.settings import STRATEGIES, FusionSettings  # noqa: E402
from realtime_ser_export.fusion.stage import OUTPUTS, load_head, save_head  # noqa: E402
from realtime_ser_export.training.corpora import LABELS, Clip  # noqa: E402

Floats = NDArray[np.float32]

AUDIO, TEXT = Layout(6, 7, 0), Layout(5, 7, 3)
CENTROIDS = [[0.1 * i, 0.5, 1 - 0.1 * i] for i in range(7)]
HANDS_THROUGH = ("gated", "mean", "max")


def fusion(strategy: str, **options: Any) -> Fusion:
    torch.manual_seed(3)
    settings = {"arousal_strength": 0.1, "text_affect": 0.5, **options}
    made = Fusion(build(strategy, AUDIO, TEXT, hidden=4), AUDIO, TEXT, CENTROIDS, **settings)
    for index, name in enumerate(("", "audio_", "text_", "fused_", "alone_")):
        getattr(made, f"{name}temperature").fill_(0.7 + 0.2 * index)
    made.temperature.copy_(made.audio_temperature)
    if strategy in HANDS_THROUGH:
        made.alone_temperature.fill_(1.0)
    made.text_mean.normal_()
    made.audio_deviation.uniform_(0.5, 2)
    made.intensity.normal_()
    return made.eval()


def rows(n: int = 6) -> tuple[Any, Any, Any]:
    """Wide embeddings, and every second row without a text."""
    torch.manual_seed(1)
    text = torch.randn(n, TEXT.width)
    text[:, -3:] = torch.rand(n, 3)
    return torch.randn(n, AUDIO.width) * 2, text, torch.arange(n) % 2.0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_graph_says_what_the_head_says(strategy: str, tmp_path: Path) -> None:
    head, given = fusion(strategy), rows()
    export_head(head, AUDIO.width, TEXT.width, tmp_path / "model.onnx", OUTPUTS)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    described = describe_head(LABELS, AUDIO.width, TEXT.width, 0, affect=True)
    assert [value.name for value in session.get_outputs()] == [
        spec["name"] for spec in described["outputs"]
    ]
    feeds = {
        spec["name"]: value.numpy() for spec, value in zip(described["inputs"], given, strict=True)
    }
    with torch.no_grad():
        expected = head(*given)
    for got, want in zip(session.run(None, feeds), expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_missing_text_has_no_influence(strategy: str) -> None:
    head = fusion(strategy)
    audio, text, present = rows()
    with torch.no_grad():
        first, point = head(audio, text, present)
        second, other = head(audio, -5 * text + 1, present)
    missing = present == 0
    torch.testing.assert_close(first[missing], second[missing], rtol=0, atol=1e-6)
    torch.testing.assert_close(point[missing], other[missing], rtol=0, atol=1e-6)
    assert (first[~missing] - second[~missing]).abs().max() > 1e-3


@pytest.mark.parametrize("strategy", HANDS_THROUGH)
def test_without_text_the_voice_s_own_answer_stands(strategy: str) -> None:
    head = fusion(strategy)
    audio, text, _ = rows()
    with torch.no_grad():
        logits, _ = head(audio, text, torch.zeros(len(audio)))
    own = audio[:, AUDIO.embedding :]
    torch.testing.assert_close(logits.softmax(1), own.softmax(1), rtol=0, atol=1e-5)


def softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def test_the_gate_weighs_the_log_probabilities_of_the_words() -> None:
    """Fresh weights: the evidence is log p(words), the gate stands at sigmoid(1)."""
    head = fusion("gated")
    audio, text, _ = rows()
    with torch.no_grad():
        logits, _ = head(audio, text, torch.ones(len(audio)))
    voice = audio[:, 6:].numpy() / head.audio_temperature.item()
    words = np.log(softmax(text[:, 5:12].numpy() / head.text_temperature.item()))
    gate = 1 / (1 + np.exp(-1))
    expected = (voice + gate * words) / head.fused_temperature.item() * head.temperature.item()
    np.testing.assert_allclose(softmax(logits.numpy()), softmax(expected), atol=1e-5)


def test_the_mean_of_the_probabilities() -> None:
    head = fusion("mean")
    head.fused_temperature.fill_(1.0)
    audio, text, _ = rows()
    with torch.no_grad():
        logits, _ = head(audio, text, torch.ones(len(audio)))
    voice = softmax(audio[:, 6:].numpy() / head.audio_temperature.item())
    words = softmax(text[:, 5:12].numpy() / head.text_temperature.item())
    got = softmax(logits.numpy() / head.temperature.item())
    np.testing.assert_allclose(got, (voice + words) / 2, atol=1e-5)


def test_affect_is_the_labels_points_then_intensity_then_words() -> None:
    head = fusion("mean")
    audio, text, present = rows()
    with torch.no_grad():
        logits, affect = head(audio, text, present)
    points = softmax(logits.numpy() / head.temperature.item()) @ np.array(CENTROIDS)
    heard = audio.numpy() @ head.intensity[:-1].numpy() + head.intensity[-1].item()
    points[:, 1] += 0.1 * np.clip(heard, -2, 2)
    weight = 0.5 * present.numpy()[:, None]
    expected = np.clip((1 - weight) * points + weight * text[:, -3:].numpy(), 0, 1)
    np.testing.assert_allclose(affect.numpy(), expected, atol=1e-5)


def test_a_text_encoder_without_affect_leaves_it_to_the_voice() -> None:
    layout = Layout(5, 7, 0)
    made = Fusion(
        build("mean", AUDIO, layout),
        AUDIO,
        layout,
        CENTROIDS,
        arousal_strength=0.0,
        text_affect=1.0,
    ).eval()
    audio, text, _ = rows()
    with torch.no_grad():
        logits, affect = made(audio, text[:, :12], torch.ones(len(audio)))
    expected = logits.softmax(1) @ torch.tensor(CENTROIDS)
    torch.testing.assert_close(affect, expected, rtol=0, atol=1e-5)


def test_a_head_is_kept_and_read(tmp_path: Path) -> None:
    head, given = fusion("gated"), rows()
    save_head(head, "gated", FusionSettings(hidden=4, arousal_strength=0.1), tmp_path / "head.pt")
    read = load_head(tmp_path / "head.pt")
    with torch.no_grad():
        for kept, own in zip(read(*given), head(*given), strict=True):
            torch.testing.assert_close(kept, own, rtol=0, atol=0)
    with pytest.raises(ExportError, match=r"holds no head\.pt; train .fusion. first"):
        load_head(tmp_path / "nowhere" / "head.pt")


def made_up(n: int, seed: int, side: str) -> Side:
    """Voices and words that each tell the emotion half of the time, independently."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 7
    clips = [
        Clip(
            file=f"{seed}/{i}",
            corpus="c",
            split="",
            speaker="s",
            label=int(label),
            votes=None,
            text=f"spoken {i % 4}",
            intensity=("normal", "strong")[i // 7 % 2],
        )
        for i, label in enumerate(labels)
    ]
    words = np.concatenate([np.full(4, -1), np.arange(600) % 7])
    sides = np.array([FIT, "", FIT, "", *([side] * 600)])
    sentences = Sentences(tuple(map(str, range(604))), words, sides, ("made up",))
    sentences = Sentences(
        (*[f"spoken {i}" for i in range(4)], *sentences.texts[4:]), words, sides, ("made up",)
    )

    # One encoder for all sides: what it makes of an answer must not change between them.
    projection = np.random.default_rng(0).normal(0, 1, (7, 6))

    def answers(truth: NDArray[np.int64], width: int, affect: int) -> Answers:
        logits = rng.normal(0, 1, (len(truth), 7))
        logits[np.arange(len(truth)), truth] += 1.5 * (truth >= 0)
        logits[truth < 0] = [0, 0, 0, 0, 3, 0, 0]  # spoken sentences read as neutral
        embedding = logits @ projection[:, :width]
        embedding[:, 0] = np.where(truth < 0, 3, 0)
        return Answers(
            logits.astype(np.float32),
            embedding.astype(np.float32),
            rng.random((len(truth), affect)).astype(np.float32),
        )

    pairing = Pairing(clips, sentences, side, LABELS.index("neutral"))
    return Side(pairing, answers(labels, 6, 0), answers(words, 5, 3))


SETTINGS = FusionSettings(steps=400, batch_size=128, evaluate_every=40, hidden=8)


def trained(strategy: str, seed: int = 1) -> Fusion:
    torch.set_num_threads(1)
    return train_head(
        strategy,
        made_up(350, 1, FIT),
        made_up(210, 2, CHOOSE),
        SETTINGS,
        CENTROIDS,
        temperature=0.8,
        seed=seed,
    )


def test_a_trained_gate_gains_from_words_that_say_something() -> None:
    found = measure(trained("gated"), made_up(490, 3, TEST), 0)
    assert found["matched"]["fused"] > found["matched"]["audio"] + 0.1
    assert found["matched"]["fused"] > found["matched"]["text"] + 0.1
    assert found["real"]["fused"] >= found["real"]["audio"] - 0.05
    assert found["missing"]["fused"] == found["missing"]["audio"]
    assert found["missing"]["text"] is None
    assert found["missing"]["gate"] == 0
    assert found["real"]["gate"] < found["matched"]["gate"]
    assert found["contradicting"]["fused"] > found["contradicting"]["text"] + 0.1
    assert found["real, sentences not learnt"]["count"] < found["real"]["count"]
    assert found["matched"]["gain_low"] < found["matched"]["gain_high"]


def test_training_is_the_same_for_the_same_seed() -> None:
    first, second, other = trained("gated"), trained("gated"), trained("gated", seed=2)
    given = rows()
    with torch.no_grad():
        answers = [head(*given)[0] for head in (first, second, other)]
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=0)
    assert (answers[0] - answers[2]).abs().max() > 0


def test_a_head_without_the_answers_learns_them_from_what_is_heard_and_read() -> None:
    found = measure(trained("concat_linear"), made_up(490, 3, TEST), 0)
    assert found["matched"]["fused"] > 2 / 7


@pytest.mark.parametrize("strategy", ["mean", "max", "logits_mlp"])
def test_the_papers_strategies_learn_from_the_same_pairs(strategy: str) -> None:
    found = measure(trained(strategy), made_up(490, 3, TEST), 0)
    assert found["matched"]["fused"] > found["matched"]["audio"]


def test_intensity_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    clips = [
        Clip(
            file=str(i),
            corpus="c",
            split="",
            speaker="s",
            label=i % 3,
            votes=None,
            intensity=("low", "medium", "high", "")[i % 4],
        )
        for i in range(400)
    ]
    degree = np.nan_to_num(arousal.degrees(clips))
    wide = rng.normal(0, 1, (400, 5))
    wide[:, 2] += 2 * degree + 5 * (np.arange(400) % 3)  # an emotion of its own level
    found = arousal.fit(wide, clips, wide[:100], clips[:100])
    assert found is not None
    assert arousal.within_groups(found(wide), clips) > 0.7
    assert found(wide)[~np.isnan(arousal.degrees(clips))].mean() == pytest.approx(0, abs=1e-6)
    assert arousal.within_groups(-found(wide), clips) < -0.7


def test_no_intensity_no_regression() -> None:
    clips = [Clip("a", "c", "", "s", 0, None)] * 5
    wide = np.ones((5, 2))
    assert arousal.fit(wide, clips, wide, clips) is None
    assert np.isnan(arousal.within_groups(wide[:, 0], clips))
