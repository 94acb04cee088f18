"""Heads: custom ones against hand-computed cases, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("transformers", reason="transformers is not installed")

from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.huggingface.audio import load_audio  # noqa: E402
from realtime_ser_export.huggingface.audio_heads import DenseHead  # noqa: E402

RandomFolder = Callable[..., Path]

# Pooled states (0.5, -1) go through dense ((1, 0), (0, 2)) + (0, 0.5) to (0.5, -1.5), then tanh,
# then out_proj: arousal = first + 0.5, dominance = second, valence = their sum.
WEIGHTS = {
    "classifier.dense.weight": torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
    "classifier.dense.bias": torch.tensor([0.0, 0.5]),
    "classifier.out_proj.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
    "classifier.out_proj.bias": torch.tensor([0.5, 0.0, 0.0]),
}
FIRST, SECOND = math.tanh(0.5), math.tanh(-1.5)


@pytest.fixture
def changed(tmp_path: Path, random_folder: RandomFolder) -> Callable[..., Path]:
    """A copy of a random model with other fields in config.json and other weights."""
    from safetensors.torch import load_file, save_file

    def change(
        family: str,
        options: dict[str, Any],
        fields: dict[str, Any] | None = None,
        weights: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        extractor: dict[str, Any] | None = None,
    ) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(random_folder(family, **options), folder)
        for name, more in (("config.json", fields), ("preprocessor_config.json", extractor)):
            path = folder / name
            path.write_text(json.dumps(json.loads(path.read_text()) | (more or {})))
        path = folder / "model.safetensors"
        save_file(weights(load_file(path)), path)
        return folder

    return change


def test_the_dense_head_by_hand() -> None:
    got = DenseHead(WEIGHTS, 3)(torch.tensor([[0.5, -1.0]]))[0]
    np.testing.assert_allclose(got, [FIRST + 0.5, SECOND, FIRST + SECOND], atol=1e-6)


def test_the_last_layer_may_be_called_output() -> None:
    renamed = {key.replace("out_proj", "output"): value for key, value in WEIGHTS.items()}
    got = DenseHead(renamed, 3)(torch.tensor([[0.5, -1.0]]))[0]
    np.testing.assert_allclose(got, [FIRST + 0.5, SECOND, FIRST + SECOND], atol=1e-6)


def test_arousal_dominance_valence_by_hand(changed: Callable[..., Path]) -> None:
    """audeering's layout, its head made to see two numbers that are known: 0.5 and -1.

    The encoder cannot be computed by hand, but its last normalisation can be told to give the
    same two numbers whatever it is given.
    """

    def known(weights: dict[str, Any]) -> dict[str, Any]:
        last = "wav2vec2.encoder.layers.1.final_layer_norm."
        state = torch.zeros(32)
        state[:2] = torch.tensor([0.5, -1.0])
        weights |= {f"{last}weight": torch.zeros(32), f"{last}bias": state}
        for name, value in WEIGHTS.items():
            whole = torch.zeros_like(weights[name])
            whole[tuple(slice(size) for size in value.shape)] = value
            weights[name] = whole
        return weights

    folder = changed("wav2vec2", {"head": "regression"}, weights=known)
    model = load_audio(folder, "regression", affect_range=(0, 1))
    affect = model.part["outputs"][0]
    assert affect["role"] == "affect" and affect["range"] == [0, 1]
    assert affect["labels"] == ["arousal", "dominance", "valence"]
    waveform = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 9_000))).float()
    with torch.no_grad():
        got = model.module(waveform, torch.tensor([9_000]))[0][0]
    np.testing.assert_allclose(got, [FIRST + 0.5, SECOND, FIRST + SECOND], atol=1e-6)


def test_a_custom_head_is_found_by_its_weights(changed: Callable[..., Path]) -> None:
    """Such a model may call itself ...ForSequenceClassification; transformers would guess."""
    folder = changed(
        "wav2vec2",
        {"head": "regression", "labels": ("calm", "angry", "sad")},
        {"architectures": ["Wav2Vec2ForSequenceClassification"], "problem_type": None},
    )
    model = load_audio(folder, "classification")
    assert model.part["outputs"][0]["labels"] == ["calm", "angry", "sad"]
    waveform = np.random.default_rng(0).normal(0, 0.1, 9_000).astype(np.float32)
    with torch.no_grad():
        got = model.module(torch.from_numpy(waveform[None]), torch.tensor([9_000]))[0][0]
    np.testing.assert_allclose(got, model.reference(waveform)["logits"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "asked", "message"),
    [
        ({}, {"head": "classification"}, "has no head; use --head none"),
        ({"head": "classification"}, {"head": "regression"}, "head for classification"),
        ({"head": "classification"}, {"labels": ("a", "b")}, "has 4 outputs"),
        ({"head": "classification"}, {"head": "best"}, "there is no head 'best'"),
        ({"head": "regression"}, {}, "--range LOW HIGH"),
        ({"head": "regression"}, {"affect_range": (1, 0)}, "--range must rise"),
        ({"head": "regression"}, {"head": "classification"}, "head for regression"),
        (
            {"head": "regression", "labels": ("arousal", "valence")},
            {"affect_range": (0, 1)},
            "only all of valence, arousal, dominance can be served",
        ),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    options: dict[str, Any], asked: dict[str, Any], message: str, random_folder: RandomFolder
) -> None:
    with pytest.raises(ExportError, match=message):
        load_audio(random_folder("wav2vec2", **options), **asked)


def test_unnamed_labels_are_refused(changed: Callable[..., Path]) -> None:
    unnamed = {"id2label": {str(index): f"LABEL_{index}" for index in range(4)}}
    folder = changed("hubert", {"head": "classification"}, unnamed)
    with pytest.raises(ExportError, match="--name-labels"):
        load_audio(folder)
    names = ("angry", "happy", "sad", "calm")
    assert load_audio(folder, labels=names).part["outputs"][0]["labels"] == list(names)


def test_a_head_without_weights_is_refused(changed: Callable[..., Path]) -> None:
    """transformers would draw them at random, with a warning."""

    def without(weights: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in weights.items() if not key.startswith("projector")}

    folder = changed("hubert", {"head": "classification"}, weights=without)
    with pytest.raises(ExportError, match=r"lack projector\.bias, projector\.weight"):
        load_audio(folder)


@pytest.mark.parametrize(
    ("options", "fields", "extractor", "message"),
    [
        ({}, {"model_type": "bert"}, {}, "is no speech encoder that can be exported; known: wav"),
        ({}, {"add_adapter": True}, {}, "adapter"),
        ({}, {"num_hidden_layers": 3}, {}, "its weights lack"),
        ({}, {"hidden_size": 64}, {}, "do not fit config.json"),
        ({}, {}, {"feature_extractor_type": "Ear"}, "transformers cannot read"),
        ({}, {}, {"sampling_rate": 8_000}, "hears 8000 Hz"),
        ({"head": "regression"}, {"pooling_mode": "max"}, {}, "pools by 'max'"),
        (
            {"head": "regression"},
            {"id2label": {"0": "happy", "1": "sad"}, "problem_type": None},
            {},
            "head has 3 outputs and config.json names 2",
        ),
    ],
)
def test_what_would_not_be_the_model_is_refused(
    options: dict[str, Any],
    fields: dict[str, Any],
    extractor: dict[str, Any],
    message: str,
    changed: Callable[..., Path],
) -> None:
    folder = changed("wav2vec2", options, fields, extractor=extractor)
    with pytest.raises(ExportError, match=message):
        load_audio(folder, affect_range=(0, 1))


@pytest.mark.parametrize(
    ("family", "options", "extractor"),
    [
        ("whisper", {"max_source_positions": 100}, {"chunk_length": 30}),
        ("audio-spectrogram-transformer", {"max_length": 300}, {"max_length": 200}),
        ("audio-spectrogram-transformer", {"max_length": 300}, {"num_mel_bins": 64}),
    ],
)
def test_parts_of_two_models_are_refused(
    family: str, options: dict[str, Any], extractor: dict[str, Any], changed: Callable[..., Path]
) -> None:
    with pytest.raises(ExportError, match="not of the same model"):
        load_audio(changed(family, options, extractor=extractor))
