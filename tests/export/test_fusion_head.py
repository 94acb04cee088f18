"""Fusion heads: the exported graph against the formula in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("safetensors", reason="safetensors is not installed")

import onnxruntime  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from realtime_ser_export.bundles.fusion_head import (  # noqa: E402
    ConcatenationHead,
    MaximumHead,
    build_head,
    describe_head,
    export_head,
    load_head,
    shapes_of,
)
from realtime_ser_export.bundles.recipe import read_recipe  # noqa: E402
from realtime_ser_export.errors import ExportError  # noqa: E402

Floats = NDArray[np.float64]
LABELS = ("angry", "happy", "neutral", "sad")


def served(head: Any, audio: int, text: int, path: Path, feeds: Mapping[str, Floats]) -> Floats:
    export_head(head, audio, text, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    described = describe_head(LABELS, audio, text, 0)
    assert [value.name for value in session.get_inputs()] == [
        spec["name"] for spec in described["inputs"]
    ]
    assert [value.shape for value in session.get_inputs()] == [
        spec["shape"] for spec in described["inputs"]
    ]
    (logits,) = session.run(["logits"], {k: v.astype(np.float32) for k, v in feeds.items()})
    return np.asarray(logits, np.float64)


def inputs(audio: int, text: int, rows: int = 5) -> dict[str, Floats]:
    """Embeddings; every second row has no text, and then, unlike when served, text all the same."""
    rng = np.random.default_rng(1)
    present = np.arange(rows) % 2.0
    return {
        "audio_embedding": rng.standard_normal((rows, audio)),
        "text_embedding": rng.standard_normal((rows, text)),
        "text_present": present,
    }


def weights(head: Any) -> dict[str, Floats]:
    return {name: value.double().numpy() for name, value in head.state_dict().items()}


def linear(x: Floats, of: Mapping[str, Floats], name: str) -> Floats:
    return x @ of[f"{name}.weight"].T + of[f"{name}.bias"]


def relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def test_one_layer_over_both_embeddings(tmp_path: Path) -> None:
    """HuBERT + BERT: dropout, concatenation, a linear classifier."""
    head = ConcatenationHead(6, 3, 4, dropout=0.5)
    feeds = inputs(6, 3)
    got = served(head, 6, 3, tmp_path / "head.onnx", feeds)
    present = feeds["text_present"][:, None]
    joined = [feeds["audio_embedding"], feeds["text_embedding"] * present, present]
    expected = linear(np.concatenate(joined, axis=1), weights(head), "layers.1")
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_projections_and_a_hidden_layer(tmp_path: Path) -> None:
    """CogniCIC: each modality to 256, side by side, 256, ReLU, n."""
    head = ConcatenationHead(6, 3, 4, project=8, hidden=(7,), activation="relu", dropout=0.5)
    feeds, of = inputs(6, 3), weights(head)
    got = served(head, 6, 3, tmp_path / "head.onnx", feeds)
    present = feeds["text_present"][:, None]
    audio = linear(feeds["audio_embedding"], of, "audio_projection")
    text = linear(feeds["text_embedding"], of, "text_projection") * present
    hidden = relu(linear(np.concatenate([audio, text, present], axis=1), of, "layers.0"))
    np.testing.assert_allclose(got, linear(hidden, of, "layers.3"), atol=1e-5)


def test_without_a_text_part(tmp_path: Path) -> None:
    head = ConcatenationHead(6, 0, 4, hidden=(5,), activation="none")
    feeds = {"audio_embedding": inputs(6, 1)["audio_embedding"]}
    got = served(head, 6, 0, tmp_path / "head.onnx", feeds)
    of = weights(head)
    expected = linear(linear(feeds["audio_embedding"], of, "layers.0"), of, "layers.3")
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("project", [0, 8])
def test_a_missing_text_has_no_influence(tmp_path: Path, project: int) -> None:
    head = ConcatenationHead(6, 3, 4, project=project)
    feeds = inputs(6, 3)
    first = served(head, 6, 3, tmp_path / "a.onnx", feeds)
    second = served(
        head, 6, 3, tmp_path / "b.onnx", {**feeds, "text_embedding": -9 * feeds["text_embedding"]}
    )
    missing = feeds["text_present"] == 0
    np.testing.assert_array_equal(first[missing], second[missing])
    assert np.abs(first[~missing] - second[~missing]).min() > 0


def softmax(x: Floats) -> Floats:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("experts", [1, 2])
def test_the_maximum_of_the_probabilities(tmp_path: Path, experts: int) -> None:
    """What the runtime makes of the head's logits is the maxima over their sum."""
    audio = 4 * experts
    feeds = inputs(audio, 4, rows=6)
    feeds["text_embedding"] *= 20  # One that is all but sure: its other labels are at e-20.
    got = softmax(served(MaximumHead(4), audio, 4, tmp_path / "head.onnx", feeds))
    heard = softmax(feeds["audio_embedding"].reshape(6, experts, 4)).max(axis=1)
    read = softmax(feeds["text_embedding"])
    most = np.where(feeds["text_present"][:, None] == 1, np.maximum(heard, read), heard)
    np.testing.assert_allclose(got, most / most.sum(axis=1, keepdims=True), atol=1e-6)


def test_the_maximum_has_nothing_to_learn() -> None:
    assert not MaximumHead(4).state_dict()


def test_the_recipes_of_the_papers_have_the_sizes_of_the_papers() -> None:
    def shapes(name: str, audio: int, text: int) -> str:
        recipe = read_recipe(name)
        return shapes_of(build_head(recipe.fusion, audio, text, len(recipe.labels)))

    # n labels: the logits of both and the mask to 2 n, and to n.
    assert shapes("spanish-unispeech-sat-distilbert", 3, 3) == (
        "layers.0.bias [6], layers.0.weight [6, 7], layers.3.bias [3], layers.3.weight [3, 6]"
    )
    assert shapes("english-hubert-bert", 768, 768) == "layers.1.bias [7], layers.1.weight [7, 1537]"
    assert shapes("spanish-beto-mfcc", 128, 768) == (
        "audio_projection.bias [256], audio_projection.weight [256, 128], layers.0.bias [256], "
        "layers.0.weight [256, 513], layers.3.bias [6], layers.3.weight [6, 256], "
        "text_projection.bias [256], text_projection.weight [256, 768]"
    )


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, other = ConcatenationHead(6, 3, 4), ConcatenationHead(6, 3, 4)
    save_file(trained.state_dict(), tmp_path / "head.safetensors")
    load_head(other, tmp_path / "head.safetensors")
    feeds = inputs(6, 3)
    np.testing.assert_array_equal(
        served(trained, 6, 3, tmp_path / "a.onnx", feeds),
        served(other, 6, 3, tmp_path / "b.onnx", feeds),
    )


def test_weights_that_do_not_fit_name_what_does(tmp_path: Path) -> None:
    save_file(ConcatenationHead(6, 3, 5).state_dict(), tmp_path / "head.safetensors")
    needed = r"the head needs layers\.1\.bias \[4\], layers\.1\.weight \[4, 10\]"
    with pytest.raises(ExportError, match=needed):
        load_head(ConcatenationHead(6, 3, 4), tmp_path / "head.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"no tensors at all"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=r"cannot be read.*layers\.1\.weight \[4, 10\]"):
        load_head(ConcatenationHead(6, 3, 4), path)
