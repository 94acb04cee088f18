"""Where models come from and what they say; the hub is one on this machine."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from local_hub import COMMIT, LocalHub, running_local_hub

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from transformers import BertConfig, BertForSequenceClassification

from realtime_ser_export.errors import ExportError
from realtime_ser_export.huggingface import source
from realtime_ser_export.huggingface.hub import wanted_files
from realtime_ser_export.huggingface.source import (
    AUDIO_FILES,
    TEXT_FILES,
    labels_of,
    load_model,
    load_weights,
    read_config,
    read_licence,
    resolve,
    source_record,
    weight_files,
)

Folder = Callable[..., Path]


@pytest.fixture
def model(random_folder: Folder, tmp_path: Path) -> Path:
    """A BERT with a head, to be damaged."""
    folder = tmp_path / "my-bert"
    shutil.copytree(random_folder("bert", head="classification"), folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no hub: its port is closed."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def local_hub(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with running_local_hub(model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# Folders


def test_a_folder_is_taken_as_it_is(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(model), needs=TEXT_FILES) == model
    monkeypatch.chdir(model.parent)
    assert resolve("my-bert") == Path("my-bert")
    with pytest.raises(ExportError, match=r"is a folder; --revision goes with a model of the hub"):
        resolve(str(model), "main")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "", "a b"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(ExportError, match=r"there is no folder .*config\.json, model\.safetensors"):
        resolve(name)


def test_all_that_a_folder_lacks_is_named(model: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
        (model / name).unlink(missing_ok=True)
    lacks = (
        r"it lacks config\.json, tokenizer\.json or vocab\.txt or merges\.txt or "
        r"sentencepiece\.bpe\.model, model\.safetensors or pytorch_model\.bin; a folder must hold"
    )
    with pytest.raises(ExportError, match=lacks):
        resolve(str(model), needs=TEXT_FILES)
    with pytest.raises(ExportError, match=r"preprocessor_config\.json"):
        resolve(str(model), needs=AUDIO_FILES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no JSON object"),
        ('{"hidden_size": 3}', "has no model_type"),
    ],
)
def test_a_broken_config(model: Path, content: str, message: str) -> None:
    (model / "config.json").write_text(content)
    with pytest.raises(ExportError, match=message):
        read_config(model)


# Labels


def test_labels_are_in_the_order_of_the_outputs() -> None:
    table = {"10": "k", "2": "c", "0": "a", "1": "b"} | {str(i): f"x{i}" for i in range(3, 10)}
    assert labels_of({"id2label": table})[:3] == ("a", "b", "c")
    assert labels_of({"id2label": table})[10] == "k"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"does not name its labels \(id2label in config\.json: missing\).*--name-labels"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, r"does not name .*LABEL_0, LABEL_1"),
        ({"id2label": {"0": "a", "2": "b"}}, r"names outputs \[0, 2\], not 0, 1, 2"),
        ({"id2label": {"0": "a", "1": "a"}}, r"has a label twice \(a, a\)"),
        ({"id2label": ["a", "b"]}, r"is no table of labels"),
        ({"id2label": {"first": "a"}}, r"is no table of labels"),
    ],
)
def test_labels_that_are_not_there(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        labels_of(config, model="x")


def test_names_for_a_model_that_has_none() -> None:
    config = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    assert labels_of(config, ["sad", "glad"]) == ("sad", "glad")
    assert labels_of({}, ["sad", "glad"]) == ("sad", "glad")
    with pytest.raises(ExportError, match=r"has 2 outputs .*and 3 names are given"):
        labels_of(config, ["sad", "glad", "mad"])
    with pytest.raises(ExportError, match=r"hold one twice"):
        labels_of(config, ["sad", "sad"])


# Weights


def shard(folder: Path, *, pickled: bool) -> None:
    """Cut the weights in two, in the layout of transformers."""
    from safetensors.torch import save_file

    weights = load_weights(folder)
    for path in weight_files(folder):
        path.unlink()
    stem, ending = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = sorted(weights)
    halves = {1: names[: len(names) // 2], 2: names[len(names) // 2 :]}
    table = {}
    for number, half in halves.items():
        file = f"{stem}-{number:05}-of-00002.{ending}"
        tensors = {name: weights[name] for name in half}
        table |= dict.fromkeys(half, file)
        if pickled:
            torch.save(tensors, folder / file)
        else:
            save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("layout", ["pickle", "old pickle", "shards", "pickled shards"])
def test_weights_in_every_layout(model: Path, layout: str) -> None:
    truth = load_weights(model)
    if "shards" in layout:
        shard(model, pickled=layout == "pickled shards")
    else:
        (model / "model.safetensors").unlink()
        torch.save(
            truth,
            model / "pytorch_model.bin",
            _use_new_zipfile_serialization=layout == "pickle",
        )
    assert resolve(str(model)) == model
    assert same(load_weights(model), truth)
    assert source_record(model, str(model)).weights_sha256


def test_a_shard_that_is_missing(model: Path) -> None:
    shard(model, pickled=False)
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ExportError, match=r"it lacks model-00002-of-00002\.safetensors"):
        resolve(str(model))
    with pytest.raises(ExportError, match=r"lacks model-00002-of-00002\.safetensors, a part"):
        load_weights(model)


def test_an_index_cannot_name_files_elsewhere(model: Path) -> None:
    (model / "model.safetensors").rename(model.parent / "model.safetensors")
    index = {"weight_map": {"x": "../model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match=r"names \.\./model\.safetensors, which is no file"):
        load_weights(model)


class Bomb:
    """Reading it back makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_something_does_not(
    model: Path, tmp_path: Path, zipped: bool
) -> None:
    (model / "model.safetensors").unlink()
    bomb = {"weight": torch.zeros(1), "more": Bomb(tmp_path / "went-off")}
    path = model / "pytorch_model.bin"
    torch.save(bomb, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ExportError, match=r"holds more than tensors, and reading it could run"):
        load_weights(model)
    assert not (tmp_path / "went-off").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "went-off").exists()  # It is a bomb.


def test_a_bare_pickle_is_no_model(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ExportError, match=r"pytorch_model\.bin"):
        load_weights(model)


def test_safetensors_go_before_pickles(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"anything")
    assert "classifier.weight" in load_weights(model)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_cut_off(model: Path, name: str) -> None:
    content = (model / "model.safetensors").read_bytes()
    if name == "pytorch_model.bin":
        torch.save(load_weights(model), model / name)
        content = (model / name).read_bytes()
        (model / "model.safetensors").unlink()
    (model / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ExportError, match=r"is damaged"):
        load_weights(model)


# Models


def test_weights_of_half_precision_become_whole(model: Path) -> None:
    halves = {name: each.half() for name, each in load_weights(model).items()}
    config = BertConfig.from_pretrained(model)
    loaded = load_model(BertForSequenceClassification, config, halves, "x")
    assert {each.dtype for each in loaded.parameters()} == {torch.float32}
    assert not loaded.training


def test_a_weight_that_is_missing_is_not_drawn_at_random(model: Path) -> None:
    weights = load_weights(model)
    del weights["classifier.weight"]
    config = BertConfig.from_pretrained(model)
    with pytest.raises(ExportError, match=r"lack classifier\.weight, which BertForSequence"):
        load_model(BertForSequenceClassification, config, weights, "x")


def test_a_head_of_another_class_of_the_same_name(model: Path) -> None:
    weights = load_weights(model)
    weights["classifier.hidden.weight"] = torch.zeros(3, 3)
    config = BertConfig.from_pretrained(model)
    with pytest.raises(ExportError, match=r"have classifier\.hidden\.weight, for which"):
        load_model(BertForSequenceClassification, config, weights, "x")


def test_weights_of_another_size(model: Path) -> None:
    edit_config(model, intermediate_size=48)
    config = BertConfig.from_pretrained(model)
    with pytest.raises(ExportError, match=r"do not fit config\.json"):
        load_model(BertForSequenceClassification, config, load_weights(model), "x")


# What is noted


def test_what_is_noted_of_a_folder_does_not_say_where_it_was(model: Path) -> None:
    source = source_record(model, str(model))
    assert source.model == "my-bert"
    assert source.revision is None
    assert (source.family, source.architecture) == ("bert", "BertForSequenceClassification")
    before = source.weights_sha256
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert source_record(model, str(model)).weights_sha256 != before


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: es\nlicense: apache-2.0\n---\n# Model\n", "apache-2.0"),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: [mit, cc-by-4.0]\n---\n", "mit, cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: bigscience-rail\n---\n", "bigscience-rail"),
        ("---\nlicense: other\n---\n", "other"),
        ("# Model\n\nlicense: mit\n", None),
        ("---\nlanguage: es\n---\n", None),
        ("---\nlicense: {]\n---\n", None),
        ("---\n- a list\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_of_the_model_card(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(card, encoding="utf-8", newline="")
    assert read_licence(tmp_path) == licence


def test_no_model_card(tmp_path: Path) -> None:
    assert read_licence(tmp_path) is None


# The hub


def test_a_model_of_the_hub_is_downloaded_once(
    local_hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    (model / "pytorch_model.bin").write_bytes(b"the same again")
    (model / "tf_model.h5").write_bytes(b"and again")
    folder = resolve("owner/name", needs=TEXT_FILES)
    assert same(load_weights(folder), load_weights(model))
    assert {"pytorch_model.bin", "tf_model.h5"}.isdisjoint(local_hub.downloaded)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve("owner/name") == folder
    source = source_record(folder, "owner/name")
    assert (source.model, source.revision) == ("owner/name", COMMIT)
    assert capfd.readouterr().err == ""  # no progress bars where there is no terminal


def test_an_interrupted_download_is_taken_up_again(local_hub: LocalHub) -> None:
    folder = resolve("owner/name")
    (folder / "model.safetensors").resolve().unlink()
    assert resolve("owner/name") == folder
    assert "classifier.weight" in load_weights(folder)


def test_a_repository_that_lacks_files(local_hub: LocalHub, model: Path) -> None:
    (model / "config.json").unlink()
    with pytest.raises(ExportError, match=r"it lacks config\.json"):
        resolve("owner/name")


def test_weights_are_downloaded_once() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    small = ["README.md", "config.json", "vocab.txt", "sentencepiece.bpe.model", "merges.txt"]
    rest = ["model.safetensors.index.json", "pytorch_model.bin", "flax_model.msgpack"]
    rest += ["onnx/model.onnx", "training_args.bin", "code.py", "model.fp16.safetensors"]
    expected = {*small, *shards, "model.safetensors.index.json"}
    assert set(wanted_files([*small, *shards, *rest])) == expected
    assert wanted_files(["pytorch_model.bin", "optimizer.bin"]) == ["pytorch_model.bin"]


ADVICE = r"run `hf download owner/name --local-dir DIR`.*config\.json, model\.safetensors"


def test_a_closed_port(cache: Path) -> None:
    with pytest.raises(ExportError, match=rf":9 does not give it: Connection refused\..*{ADVICE}"):
        resolve("owner/name")


def test_a_hub_that_never_answers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source.HUB_DEADLINE_S <= 8  # of the 15 s that are promised; the rest is for imports
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ExportError, match=rf"does not give it within 0\.3 s\..*{ADVICE}"):
            resolve("owner/name", deadline_s=0.3)


def test_offline_by_choice(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError, match=rf"HF_HUB_OFFLINE forbids .*{ADVICE}"):
        resolve("owner/name")


def test_an_id_that_the_hub_would_not_allow(cache: Path) -> None:
    with pytest.raises(ExportError, match=r"is no id of a model"):
        resolve("owner/a--b")
