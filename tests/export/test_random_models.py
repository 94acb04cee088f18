"""Folders with random weights are real models, which transformers loads and which hear and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer

from realtime_ser_export.errors import ExportError
from realtime_ser_export.huggingface.random_models import FAMILIES, random_model
from realtime_ser_export.huggingface.source import (
    load_model,
    load_weights,
    read_config,
    source_record,
)

Folder = Callable[..., Path]

AUDIO = [name for name, family in FAMILIES.items() if family.modality == "audio"]
HEADED = [name for name, family in FAMILIES.items() if family.classifier]
TEXT = [name for name, family in FAMILIES.items() if family.modality == "text"]
PUBLISHED_PARAMETERS = {
    "wav2vec2": 94.4e6,
    "hubert": 94.4e6,
    "wavlm": 94.4e6,
    "unispeech-sat": 94.4e6,
    "data2vec-audio": 93.2e6,
    "whisper": 72.6e6,
    "moonshine": 27.1e6,
    "audio-spectrogram-transformer": 86.2e6,
    "distilbert": 66.4e6,
    "bert": 109.5e6,
    "roberta": 124.6e6,
    "xlm-roberta": 278.0e6,
    "minilm": 33.4e6,
}
"""Of the models on the hub, without heads; wav2vec2-conformer is published in size large only."""

# Of the published 128 mel bands of 512 points the lowest are empty, which transformers warns of.
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter")


def inputs_of(folder: Path, modality: str, seed: int) -> Any:
    if modality == "text":
        texts = ("I am so happy that you came!", "Nothing is left; estoy muy triste.")
        return AutoTokenizer.from_pretrained(folder)(texts[seed], return_tensors="pt")
    rng = np.random.default_rng(seed)
    waveform = np.convolve(rng.normal(0, 0.1, 16_000), np.ones(1 + 9 * seed), "same")
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    return extractor(waveform.astype(np.float32), sampling_rate=16_000, return_tensors="pt")


def difference(folder: Path, family: str, head: str) -> float:
    """Between the answers to two inputs, relative to their size."""
    known = FAMILIES[family]
    name = known.stem + (known.model if head == "none" else str(known.classifier))
    config = AutoConfig.from_pretrained(folder)
    network: Any = load_model(getattr(transformers, name), config, load_weights(folder), family)
    if head == "none" and family in ("whisper", "moonshine"):
        network = network.model.encoder
    answers = []
    for seed in (0, 1):
        inputs = dict(inputs_of(folder, known.modality, seed))
        if family == "distilbert":
            inputs.pop("token_type_ids", None)
        with torch.no_grad():
            answer = network(**inputs)
        answers.append(answer.last_hidden_state.mean(1) if head == "none" else answer.logits)
    first, second = answers
    return float((first - second).abs().max() / first.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_tell_inputs_apart(random_folder: Folder, family: str) -> None:
    folder = random_folder(family)
    needed = "preprocessor_config.json" if family in AUDIO else "tokenizer.json"
    assert {"config.json", "model.safetensors", "README.md", needed} <= {
        path.name for path in folder.iterdir()
    }
    assert difference(folder, family, "none") > 0.05


@pytest.mark.parametrize("family", HEADED)
def test_heads_tell_inputs_apart(random_folder: Folder, family: str) -> None:
    folder = random_folder(family, head="classification", labels=("b", "a", "c"))
    assert read_config(folder)["id2label"] == {"0": "b", "1": "a", "2": "c"}
    assert difference(folder, family, "classification") > 0.01


def test_what_has_no_head_says_so(tmp_path: Path) -> None:
    for head in ("classification", "regression"):
        with pytest.raises(ExportError, match="moonshine has no head"):
            random_model("moonshine", tmp_path / head, head=head)


@pytest.mark.parametrize("family", ["hubert", "whisper", "distilbert", "roberta"])
def test_regressions_answer_about_the_middle(random_folder: Folder, family: str) -> None:
    folder = random_folder(family, head="regression")
    assert read_config(folder)["problem_type"] == "regression"
    assert difference(folder, family, "regression") > 0.005


def test_the_dimensional_head_has_the_published_layout(random_folder: Folder) -> None:
    """The names in audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim."""
    folder = random_folder("wav2vec2", head="regression", feat_extract_norm="layer")
    config = read_config(folder)
    assert config["architectures"] == ["Wav2Vec2ForSpeechClassification"]
    assert config["id2label"] == {"0": "arousal", "1": "dominance", "2": "valence"}
    weights = load_weights(folder)
    heads = {name.split(".")[0] for name in weights}
    assert heads == {"wav2vec2", "classifier"}
    assert weights["classifier.dense.weight"].shape == (32, 32)
    assert weights["classifier.out_proj.weight"].shape == (3, 32)
    assert "wav2vec2.encoder.pos_conv_embed.conv.weight_g" in weights


@pytest.mark.parametrize("family", ["hubert", "bert"])
def test_the_seed_decides(random_folder: Folder, tmp_path: Path, family: str) -> None:
    state = torch.get_rng_state()
    digests = [
        source_record(random_model(family, tmp_path / str(i), seed=seed), "x").weights_sha256
        for i, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_no_norm_is_left_as_it_was_made(random_folder: Folder) -> None:
    for family in FAMILIES:
        for name, each in load_weights(random_folder(family)).items():
            if "norm" in name.lower() and each.dim() > 0:
                assert each.unique().numel() > 1, f"{family}: {name}"


@pytest.mark.parametrize("family", PUBLISHED_PARAMETERS)
def test_the_base_size_is_the_published_one(family: str) -> None:
    known = FAMILIES[family]
    config = getattr(transformers, known.stem + "Config")(**known.base)
    with torch.device("meta"):
        network = getattr(transformers, known.stem + known.model)(config)
    parameters = sum(each.numel() for each in network.parameters())
    assert parameters == pytest.approx(PUBLISHED_PARAMETERS[family], rel=0.002)


def test_variants_reach_model_and_extractor(random_folder: Folder) -> None:
    folder = random_folder(
        "hubert",
        head="classification",
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        use_weighted_layer_sum=True,
        extractor={"do_normalize": False},
    )
    config = read_config(folder)
    assert config["feat_extract_norm"] == "layer"
    assert config["do_stable_layer_norm"]
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    assert extractor["return_attention_mask"]
    assert not extractor["do_normalize"]
    weights = load_weights(folder)
    assert weights["layer_weights"].unique().numel() == 3
    assert "hubert.feature_extractor.conv_layers.6.layer_norm.weight" in weights


@pytest.mark.parametrize("family", ["hubert", "bert"])
def test_it_says_that_nothing_was_trained(random_folder: Folder, family: str) -> None:
    folder = random_folder(family)
    assert "# RANDOM WEIGHTS" in (folder / "README.md").read_text()
    assert source_record(folder, str(folder)).licence == "none, RANDOM WEIGHTS"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "gpt"}, r"no family 'gpt'; use one of wav2vec2, hubert"),
        ({"family": "bert", "size": "large"}, r"no size 'large'; use one of tiny, base"),
        ({"family": "bert", "head": "both"}, r"no head 'both'; use one of none, classification"),
    ],
)
def test_what_there_is_not(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        random_model(folder=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
