"""A run that ends with fusion and a bundle: encoders in, a measured bundle out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from text_corpora import write_goemotions
from tiny_bundle import write_tiny_bundle
from tiny_corpus import write_tiny_corpus, write_tiny_encoder

from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.bundle_description import AffectPart, AffectRule, Role
from realtime_ser.models.describe import describe
from realtime_ser_export.cli import main
from realtime_ser_export.encoder_folder import EncoderRecord, Source, write_record

RECIPE = """
name = "small"
[data]
corpora = ["cremad", "ravdess", "nemo"]
extra = ["readers"]
[fusion]
corpora = ["goemotions"]
compared = ["max"]
steps = 40
evaluate_every = 20
[bundle]
name = "small"
version = "0.1.0"
"""
ALONE = RECIPE[: RECIPE.index("[fusion]")] + RECIPE[RECIPE.index("[bundle]") :]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_corpus(tmp_path_factory.mktemp("data"))
    write_goemotions(folder / "text", copies=8)
    return folder


def write_text_encoder(folder: Path, work: Path) -> None:
    """The text part of the tiny bundle as an encoder folder."""
    bundle = write_tiny_bundle(work / "tiny", text=True)
    shutil.copytree(bundle / "text", folder)
    part = json.loads((bundle / "bundle.json").read_text())["parts"]["text"][0]
    part |= {"file": "model.onnx", "tokenizer": "tokenizer.json"}
    del part["name"]
    source = Source("tiny", None, "Tiny", "tiny", "CC0-1.0", "0" * 64)
    options = {"corpora": ["goemotions"]}
    write_record(EncoderRecord("text", source, "float32", 17, {}, {}, part, options), folder)


def arguments(recipe: Path, run: Path, data: Path) -> list[str]:
    work = data.parent / "work"
    return ["train", *map(str, [recipe, "--data", data, "--work", work, "--out", run])]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    out = folder / "out"
    # The encoders are not trained by this recipe: they are put there.
    assert main(arguments(recipe, out, data)) == 4
    write_tiny_encoder(out / "audio" / "encoder")
    write_text_encoder(out / "text" / "encoder", folder)
    row = {"name": "macro_f1", "value": 0.5, "dataset": "goemotions", "split": "test"}
    figures = {"metrics": [row | {"protocol": "made up"}]}
    (out / "text" / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    assert main(arguments(recipe, out, data)) == 0
    return out


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_without_encoders_it_says_what_is_missing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    assert main(arguments(recipe, tmp_path / "out", data)) == 4
    assert "fusion needs both encoders" in capsys.readouterr().err


def test_the_bundle_is_served(run: Path) -> None:
    description = load_bundle(run / "bundle").description
    assert [part.name for part in description.parts] == ["audio", "text", "fusion"]
    assert isinstance(description.affect, AffectPart)
    assert description.fusion is not None
    assert description.fusion.output(Role.AFFECT) is not None
    # Hidden states and logits side by side.
    assert [part.output(Role.EMBEDDING).shape[1] for part in description.audio] == [2 + 7]  # type: ignore[union-attr]
    assert "affect        from fusion (Voice" in describe(load_bundle(run / "bundle"))


def test_what_it_was_made_of_is_said(run: Path) -> None:
    uses = {use.name: use.used_for for use in load_bundle(run / "bundle").description.licence.data}
    assert uses["CREMA-D"] == "training"
    assert uses["TESS"] == "evaluation only"
    assert uses["LibriSpeech (200 utterances)"].startswith("training on one half")
    assert uses["non-speech recordings"] == "evaluation only"
    assert uses["GoEmotions, text"] == "training (text and fusion)"


def test_figures_are_those_of_the_evaluation(run: Path) -> None:
    metrics = load_bundle(run / "bundle").description.metrics
    document = read(run / "evaluation" / "metrics.json")
    assert document["subject"]["kind"] == "bundle"
    recall = document["corpora"]["cremad"]["unweighted_average_recall"]["value"]
    assert round(recall, 4) in [m.value for m in metrics if m.dataset == "CREMA-D"]
    fusion = read(run / "fusion" / "figures.json")
    matched = fusion["figures"]["gated"]["test"]["matched"]["fused"]
    assert round(matched, 4) in [m.value for m in metrics if m.dataset.endswith("matched")]
    assert [m.value for m in metrics if m.name == "macro_f1" and m.dataset == "GoEmotions"] == [0.5]
    card = (run / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for said in (
        "| TESS (never seen) |",
        "*matched*",
        "| max |",
        "Not to be used for",
        "GoEmotions",
    ):
        assert said in card
    assert str(run.parent) not in card


def test_a_finished_head_is_not_trained_again(run: Path, data: Path) -> None:
    before = (run / "fusion" / "head.pt").stat().st_mtime_ns
    figures = read(run / "bundle" / "bundle.json")["metrics"]
    assert main(arguments(run.parent / "small.toml", run, data)) == 0
    assert (run / "fusion" / "head.pt").stat().st_mtime_ns == before
    assert read(run / "bundle" / "bundle.json")["metrics"] == figures


def test_a_bundle_that_is_too_large_is_not_written(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "bundle" / "bundle.json").read_bytes()
    given = arguments(run.parent / "small.toml", run, data)
    assert main([*given, "--set", "bundle.most_bytes=1000", "--allow-changes"]) == 4
    assert "the recipe allows 1,000; train smaller" in capsys.readouterr().err
    assert (run / "bundle" / "bundle.json").read_bytes() == before


def test_a_voice_alone_makes_a_bundle_too(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "alone.toml"
    recipe.write_text(ALONE, encoding="utf-8")
    out = tmp_path / "out"
    assert main(arguments(recipe, out, data)) == 4
    write_tiny_encoder(out / "audio" / "encoder")
    assert main(arguments(recipe, out, data)) == 0
    description = load_bundle(out / "bundle").description
    assert [part.name for part in description.parts] == ["audio"]
    assert isinstance(description.affect, AffectRule)
    np.testing.assert_allclose(description.affect.centroids["neutral"], 0.5)
