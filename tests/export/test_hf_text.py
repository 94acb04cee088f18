"""Text models: what is served equals the original, in whatever company a text comes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum", reason="optimum is not installed")

import onnx
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
)

from realtime_ser_export.cli import main
from realtime_ser_export.encoder_folder import read_record
from realtime_ser_export.errors import ExportError
from realtime_ser_export.graphs.parity import check
from realtime_ser_export.graphs.served import ServedEncoder, serve_folder
from realtime_ser_export.huggingface.random_models import random_model
from realtime_ser_export.huggingface.source import load_weights, read_config
from realtime_ser_export.huggingface.text import load_text
from realtime_ser_export.huggingface.text_export import export_text

FAMILIES = ("distilbert", "bert", "roberta", "xlm-roberta", "minilm")
LABELS = ["angry", "happy", "neutral", "sad"]
TEXTS = ["I am so happy that you came!", "no", "", "Estoy muy contenta; ¿y tú?", "word " * 300]
Folder = Callable[..., Path]


@pytest.fixture(scope="session")
def encoder(
    random_folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Encoder folders of models with a head, each exported once."""
    made: dict[str, Path] = {}

    def export(family: str) -> Path:
        if family not in made:
            out = tmp_path_factory.mktemp("encoder") / family
            export_text(str(random_folder(family, head="classification")), out)
            made[family] = out
        return made[family]

    return export


@pytest.fixture
def model(random_folder: Folder, tmp_path: Path) -> Path:
    """A RoBERTa with a head, to be changed."""
    folder = tmp_path / "my-roberta"
    shutil.copytree(random_folder("roberta", head="classification"), folder)
    return folder


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def answers(served: ServedEncoder, texts: list[str]) -> dict[str, Any]:
    expert: Any = served.expert
    outputs: dict[str, Any] = expert.run(texts)
    return outputs


def original(folder: Path, text: str) -> tuple[Any, Any]:
    """Logits and mean state, as a user of transformers computes them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt", truncation=True)
    with torch.no_grad():
        classifier = AutoModelForSequenceClassification.from_pretrained(folder)
        states = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
        return classifier(**inputs).logits[0].numpy(), states[0].mean(0).numpy()


# Parity


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_served_equals_the_original(
    random_folder: Folder, encoder: Callable[[str], Path], family: str
) -> None:
    folder = random_folder(family, head="classification")
    together = answers(serve_folder(encoder(family)), TEXTS)
    for row, text in enumerate(TEXTS):
        logits, states = original(folder, text)
        np.testing.assert_allclose(together["logits"][row], logits, atol=1e-5)
        np.testing.assert_allclose(together["embedding"][row], states, atol=1e-5)
    # The texts are told apart, so these were comparisons.
    assert np.abs(np.diff(together["logits"], axis=0)).max(axis=1).min() > 0.01
    assert np.abs(np.diff(together["embedding"], axis=0)).max(axis=1).min() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(encoder: Callable[[str], Path], family: str) -> None:
    folder = encoder(family)
    loaded = read_record(folder)
    report = check(folder, loaded.part, lambda text: answers(serve_folder(folder), [text]), "fast")
    assert report.worst.max_abs_error < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_without_a_head(random_folder: Folder, tmp_path: Path, family: str) -> None:
    folder = random_folder(family)
    record = export_text(str(folder), tmp_path / "out")
    assert [output["role"] for output in record.part["outputs"]] == ["embedding"]
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        truth = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state[0].mean(0).numpy()
    got = answers(serve_folder(tmp_path / "out"), [TEXTS[0]])["embedding"][0]
    np.testing.assert_allclose(got, truth, atol=1e-5)


def test_the_first_token_as_embedding(random_folder: Folder, tmp_path: Path) -> None:
    folder = random_folder("bert")
    record = export_text(str(folder), tmp_path / "out", pooling="first", max_tokens=16)
    [output] = record.part["outputs"]
    assert output["unit"] == "none, first token"
    assert record.part["max_tokens"] == 16
    inputs = AutoTokenizer.from_pretrained(folder)("hi", return_tensors="pt")
    with torch.no_grad():
        truth = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state[0, 0].numpy()
    got = answers(serve_folder(tmp_path / "out"), ["hi", "and a longer one"])["embedding"][0]
    np.testing.assert_allclose(got, truth, atol=1e-5)
    # Compared later, it is the same model that is read again.
    assert main(["parity", str(tmp_path / "out"), "--source", str(folder), "--fast"]) == 0


# What is written


def test_what_an_encoder_folder_says(random_folder: Folder, encoder: Callable[[str], Path]) -> None:
    folder = encoder("roberta")
    assert sorted(path.name for path in folder.iterdir()) == [
        "encoder.json",
        "model.onnx",
        "tokenizer.json",
    ]
    record = read_record(folder)
    assert (record.modality, record.precision) == ("text", "float32")
    assert record.source.architecture == "RobertaForSequenceClassification"
    assert record.source.licence == "none, RANDOM WEIGHTS"
    part = record.part
    assert (part["tokenizer"], part["pad_id"], part["max_tokens"]) == ("tokenizer.json", 1, 128)
    logits, embedding = part["outputs"]
    assert (logits["role"], logits["labels"], logits["unit"]) == ("logits", LABELS, "nat")
    assert (embedding["role"], embedding["shape"]) == ("embedding", ["batch", 32])
    weights = load_weights(random_folder("roberta", head="classification"))
    assert part["parameters"] == sum(each.numel() for each in weights.values())
    assert all(row["passed"] for row in record.parity)
    assert record.nodes["optimised"] < record.nodes["exported"]


def test_the_graph_has_free_axes_and_no_third_input(encoder: Callable[[str], Path]) -> None:
    graph = onnx.load(str(encoder("bert") / "model.onnx")).graph
    inputs = {
        tensor.name: [axis.dim_param for axis in tensor.type.tensor_type.shape.dim]
        for tensor in graph.input
    }
    assert inputs == {name: ["batch", "tokens"] for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_one_node_a_layer(encoder: Callable[[str], Path], family: str) -> None:
    nodes = onnx.load(str(encoder(family) / "model.onnx")).graph.node
    assert sum(node.op_type == "MultiHeadAttention" for node in nodes) == 2


def test_nothing_says_where_the_model_was(
    encoder: Callable[[str], Path], random_folder: Folder
) -> None:
    place = str(random_folder("bert", head="classification").parent).encode()
    for path in encoder("bert").iterdir():
        content = path.read_bytes()
        assert place not in content
        assert b"site-packages" not in content
        assert b".py" not in content


def test_a_failure_leaves_what_was_there(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_text(str(model), out)
    before = (out / "encoder.json").read_bytes()
    with pytest.raises(ExportError, match=r"does not answer as the model does"):
        export_text(str(model), out, tolerance=0.0)
    assert (out / "encoder.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my-roberta", "out"]


# Heads


def test_labels_come_from_the_model_in_its_order(model: Path) -> None:
    edit_config(model, id2label={"3": "d", "1": "b", "0": "z", "2": "c"})
    assert load_text(model).part["outputs"][0]["labels"] == ["z", "b", "c", "d"]


def test_names_can_be_given(model: Path) -> None:
    edit_config(model, id2label={str(i): f"LABEL_{i}" for i in range(4)})
    with pytest.raises(ExportError, match=r"my-roberta does not name its labels"):
        load_text(model)
    part = load_text(model, labels=("a", "b", "c", "d")).part
    assert part["outputs"][0]["labels"] == ["a", "b", "c", "d"]
    assert "labels" not in load_text(model, "none").part["outputs"][0]


def test_names_for_two_outputs_that_the_config_does_not_mention(tmp_path: Path) -> None:
    """transformers leaves out LABEL_0 and LABEL_1, its default, when it writes config.json."""
    folder = random_model(
        "bert", tmp_path / "two", head="classification", labels=("LABEL_0", "LABEL_1")
    )
    assert "id2label" not in read_config(folder)
    assert load_text(folder, labels=("sad", "glad")).part["outputs"][0]["shape"] == ["batch", 2]
    with pytest.raises(ExportError, match=r"has 2 outputs, and 3 names are given"):
        load_text(folder, labels=("sad", "glad", "mad"))


def test_a_head_for_valence_arousal_and_dominance(random_folder: Folder, tmp_path: Path) -> None:
    labels = ("Valence", "Arousal", "Dominance")
    folder = random_folder("distilbert", head="regression", labels=labels)
    record = export_text(str(folder), tmp_path / "out", affect_range=(1, 5))
    affect = record.part["outputs"][0]
    assert (affect["name"], affect["role"], affect["unit"]) == ("affect", "affect", "none")
    assert affect["labels"] == ["valence", "arousal", "dominance"]
    assert affect["range"] == [1, 5]
    got = answers(serve_folder(tmp_path / "out"), [TEXTS[0]])["affect"][0]
    np.testing.assert_allclose(got, original(folder, TEXTS[0])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (("valence", "arousal", "dominance"), {}, r"numbers of its own.*--range LOW HIGH"),
        (("valence", "arousal", "dominance"), {"affect_range": (5, 1)}, r"must rise"),
        (("valence", "arousal"), {"affect_range": (0, 1)}, r"regression head for valence, arousal"),
        (("score",), {"affect_range": (0, 1)}, r"regression head for score; only all of"),
    ],
)
def test_regressions_that_cannot_be_served(
    random_folder: Folder, labels: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    folder = random_folder("bert", head="regression", labels=labels)
    with pytest.raises(ExportError, match=message):
        load_text(folder, **options)


@pytest.mark.parametrize(
    ("made", "wanted", "message"),
    [
        ("none", "classification", r"\(BertModel\) has no head.*use --head none"),
        ("none", "regression", r"has no head"),
        ("classification", "regression", r"has a head for classification .*not regression"),
        ("regression", "classification", r"has a head for regression .*not classification"),
        ("none", "both", r"there is no head 'both'; use one of auto, none"),
    ],
)
def test_a_head_that_the_model_does_not_have(
    random_folder: Folder, made: str, wanted: str, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        load_text(random_folder("bert", head=made), wanted)


def test_labels_that_exclude_nothing(model: Path, tmp_path: Path) -> None:
    """Its logits go through a sigmoid each; their softmax is not what was trained."""
    edit_config(model, problem_type="multi_label_classification")
    with pytest.raises(ExportError, match=r"each label on its own.*--multi-label-shares"):
        load_text(model)
    record = export_text(str(model), tmp_path / "out", multi_label_shares=True)
    assert record.part["outputs"][0]["unit"].startswith("nat, logarithm of the probability")
    got = answers(serve_folder(tmp_path / "out"), [TEXTS[0]])["logits"][0].astype(np.float64)
    shares = np.exp(got) / np.exp(got).sum()
    probabilities = 1 / (1 + np.exp(-original(model, TEXTS[0])[0].astype(np.float64)))
    np.testing.assert_allclose(shares, probabilities / probabilities.sum(), atol=1e-6)
    assert main(["parity", str(tmp_path / "out"), "--source", str(model), "--fast"]) == 0


# Models that do not fit


def test_a_model_of_another_kind(model: Path) -> None:
    edit_config(model, model_type="gpt2")
    with pytest.raises(ExportError, match=r"model_type 'gpt2' is no text encoder.*distilbert"):
        load_text(model)


def test_a_tokenizer_of_another_model(random_folder: Folder, model: Path) -> None:
    weights = load_weights(model)
    name = "roberta.embeddings.word_embeddings.weight"
    weights[name] = weights[name][:50].clone()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    edit_config(model, vocab_size=50)
    with pytest.raises(ExportError, match=r"knows \d+ tokens, the model 50; they do not belong"):
        load_text(model)


def test_places_are_counted_from_the_padding(model: Path) -> None:
    edit_config(model, pad_token_id=0)
    with pytest.raises(ExportError, match=r"pads with token 1, the model with 0"):
        load_text(model)


def test_pretrained_weights_without_a_pooler(random_folder: Folder, tmp_path: Path) -> None:
    """As BETO and most others are published: saved from the masked language model."""
    folder = tmp_path / "beto"
    shutil.copytree(random_folder("bert"), folder)
    config = BertConfig.from_pretrained(folder)
    BertForMaskedLM(config).save_pretrained(folder)
    assert not any("pooler" in name for name in load_weights(folder))
    part = load_text(folder).part
    assert [output["role"] for output in part["outputs"]] == ["embedding"]


def test_weights_with_the_names_of_their_first_years(model: Path) -> None:
    """As the BERT of 2018 is still stored, and what was converted from TensorFlow."""
    truth = load_text(model).reference(TEXTS[0])
    weights = {}
    for name, each in load_weights(model).items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        weights[name.replace("LayerNorm.bias", "LayerNorm.beta")] = each
    assert any(name.endswith("gamma") for name in weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(load_text(model).reference(TEXTS[0])["logits"], truth["logits"])


def test_no_such_pooling(model: Path) -> None:
    with pytest.raises(ExportError, match=r"there is no pooling 'last'; use one of mean, first"):
        load_text(model, pooling="last")


@pytest.mark.slow
def test_distilbert_in_its_published_size(tmp_path: Path) -> None:
    folder = random_model("distilbert", tmp_path / "model", size="base", head="classification")
    record = export_text(str(folder), tmp_path / "out")
    assert record.part["parameters"] == 66_956_548
    loaded = load_text(folder)
    report = check(tmp_path / "out", record.part, loaded.reference, "full")
    assert report.passed
