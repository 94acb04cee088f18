"""Recipes: ours are sound, and what is wrong with one is said with file, key and remedy."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realtime_ser.models.bundle_description import PRECISIONS
from realtime_ser_export.bundles.recipe import RECIPES, packaged_recipes, read_recipe
from realtime_ser_export.bundles.recipe_description import Recipe
from realtime_ser_export.errors import ExportError

Change = Callable[[dict[str, Any]], object]

GOOD = tomllib.loads("""
name = "mine"
version = "1.0"
description = "Two emotions."
languages = ["en"]
labels = ["happy", "sad"]
licence = { weights = "CC0-1.0", data = [{ name = "d", licence = "CC0-1.0", used_for = "all" }] }
calibration = { temperature = 1.5, abstain_below = 0.4, source = "fitted on dev" }
fusion = { method = "mean", source = "ours" }
run_here = { run = [], not_run = ["all"], checked = [], not_checked = [] }

[[audio]]
name = "audio"
model = "someone/voice"
licence = "apache-2.0"
parameters = 12
head = "classification"
fine_tuned = true
precision = "int8-dynamic"
tolerance = 0.01
model_labels = ["joy", "grief", "other"]
labels = { joy = "happy", grief = "sad" }
dropped = ["other"]

[affect]
source = "made up"
centroids = { happy = [1, 1, 1], sad = [0, 0, 0] }
""")


def written(folder: Path, content: dict[str, Any]) -> Path:
    """A recipe file with `content`; TOML has no writer, and JSON's scalars and lists are TOML's."""
    path = folder / "mine.toml"
    path.write_text("\n".join(_lines(content)), encoding="utf-8")
    return path


def _lines(content: dict[str, Any]) -> list[str]:
    return [f"{_toml(key)} = {_toml(value)}" for key, value in content.items()]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_lines(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def read(folder: Path, change: Change = lambda content: None) -> Recipe:
    content = copy.deepcopy(GOOD)
    change(content)
    return read_recipe(written(folder, content))


def put(*keys: str | int, value: Any) -> Change:
    """Set one value, deep inside."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def drop(*keys: str | int) -> Change:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def together(*changes: Change) -> Change:
    return lambda content: [change(content) for change in changes]


TEXT = {
    **GOOD["audio"][0],
    "name": "text",
    "head": "none",
    "labels": {},
    "dropped": [],
}
REGRESSION = {
    "name": "rated",
    "model": "someone/rated",
    "licence": "mit",
    "head": "regression",
    "fine_tuned": True,
    "precision": "float32",
    "tolerance": 0.001,
    "model_labels": ["arousal", "dominance", "valence"],
    "range": [1, 7],
}


def test_a_good_recipe_is_read(tmp_path: Path) -> None:
    recipe = read(tmp_path)
    (part,) = recipe.parts
    assert (part.modality, part.head, part.precision) == ("audio", "classification", "int8-dynamic")
    assert dict(part.labels) == {"joy": "happy", "grief": "sad"}
    assert (part.dropped, part.embedding, part.revision) == (("other",), "pooled", None)
    assert recipe.affect.centroids["happy"] == (1, 1, 1)
    assert recipe.calibration.temperature == 1.5


def test_affect_may_come_from_a_part(tmp_path: Path) -> None:
    change = together(
        lambda content: content["audio"].append(REGRESSION), put("affect", value={"part": "rated"})
    )
    recipe = read(tmp_path, change)
    assert recipe.affect.part == "rated"
    assert recipe.parts[1].range == (1, 7)


@pytest.mark.parametrize("name", packaged_recipes())
def test_our_recipes_are_sound_and_honest(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert all(part.precision in PRECISIONS for part in recipe.parts)
    assert all(part.parameters is not None and part.licence for part in recipe.parts)
    run = recipe.run_here
    assert run.run and run.not_run and run.checked and run.not_checked
    assert any("could be downloaded" in line for line in run.not_run)
    # Every label of a model whose labels are known goes somewhere: read_recipe has seen to it.
    heads = [part for part in recipe.parts if part.head != "none" and part.fine_tuned]
    assert all(part.model_labels for part in heads)


def test_the_table_of_recipes_names_them_all() -> None:
    table = (RECIPES / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")}
    assert rows - {"recipe"} == set(packaged_recipes())


def test_there_is_one_for_each_combination_asked_for() -> None:
    models = {name: {p.model for p in read_recipe(name).parts} for name in packaged_recipes()}
    assert {
        "microsoft/unispeech-sat-large",
        "facebook/hubert-base-ls960",
        "jonatasgrosman/wav2vec2-large-xlsr-53-spanish",
        "dccuchile/bert-base-spanish-wwm-cased",
        "mfcc-mean",
        "superb/hubert-large-superb-er",
        "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        "facebook/wav2vec2-xls-r-300m",
    } <= set.union(*models.values())


def test_an_unknown_recipe_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no recipe 'nothing'.*spanish-beto-mfcc"):
        read_recipe("nothing")
    with pytest.raises(ExportError, match="there is no recipe"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("content", [b"a = ", b"a = 1\na = 2", b"\xff"])
def test_what_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"is not TOML.*correct the recipe"):
        read_recipe(path)


def test_a_date_is_shown_and_refused(tmp_path: Path) -> None:
    path = written(tmp_path, copy.deepcopy(GOOD))
    text = path.read_text().replace('"1.0"', "2026-01-01")
    path.write_text(text)
    with pytest.raises(ExportError, match=r"key version: must be one line.*2026-01-01"):
        read_recipe(path)


PART = ("audio", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("colour", value="red"), 'has an unknown key "colour"'),
        (put(*PART, "colour", value="red"), r"key audio\[0\]: has an unknown key \"colour\""),
        (put("fusion", "hidden", value=[3]), 'key fusion: has an unknown key "hidden"'),
        (drop("run_here"), "key run_here: is missing"),
        (drop("licence", "data"), "key licence.data: is missing"),
        (drop(*PART, "licence"), r"key audio\[0\].licence: is missing"),
        (put("name", value="My Bundle"), "key name: must be lower-case letters"),
        (put("labels", value=["happy"]), "key labels: must hold at least 2"),
        (put("labels", value=["happy", "happy"]), "key labels: names something twice"),
        (put("languages", value="en"), "key languages: must be a list"),
        (put("audio", value=[]), "key audio: must hold at least one encoder"),
        (put(*PART, "fine_tuned", value="yes"), r"fine_tuned: must be true or false"),
        (put(*PART, "precision", value="int4"), "precision: must be one of float32, float16"),
        (put(*PART, "head", value="none"), "labels: is for head = \"classification\", not 'none'"),
        (put(*PART, "range", value=[0, 1]), 'range: is for head = "regression"'),
        (put(*PART, "labels", "joy", value="glad"), "joy: must be one of happy, sad"),
        (put(*PART, "labels", "other", value="sad"), "dropped: names other, which labels maps"),
        (drop(*PART, "labels", "joy"), "labels: maps nothing to happy"),
        (drop(*PART, "dropped"), "labels: does not map other; map or drop"),
        (put(*PART, "dropped", value=["other", "fear"]), "drops fear, not among model_labels"),
        (put(*PART, "model_labels", value=["joy", "joy"]), "model_labels: names something twice"),
        (put(*PART, "tolerance", value=-1), "tolerance: must be a finite number in 0 to 1"),
        (put("calibration", "temperature", value=0), "temperature: must be a finite number"),
        (drop("affect", "centroids", "sad"), "affect.centroids: must name exactly the labels"),
        (put("affect", value={"part": "audio"}), "affect.part: must be the one part with head"),
        (lambda c: c["audio"].append(REGRESSION), 'key affect: must be part = "rated"'),
        (lambda c: c["audio"].append(c["audio"][0]), "two parts have the same name"),
        (put(*PART, "name", value="fusion"), "no encoder may be named fusion"),
        (put("fusion", "method", value="maximum"), 'audio must have embedding = "logits"'),
        (
            together(put("text", value=[TEXT]), put("text", 0, "embedding", value="logits")),
            r"text\[0\].embedding: is logits; only head",
        ),
        (
            together(
                put("text", value=[{**REGRESSION}]),
                put("affect", value={"part": "rated"}),
            ),
            "affect.part: must be an audio part",
        ),
        (
            together(
                lambda c: c["audio"].append(REGRESSION),
                put("affect", value={"part": "rated"}),
                put("fusion", "method", value="concatenation"),
            ),
            "takes the embeddings of all parts, and one of them is a regression",
        ),
        (
            together(
                lambda c: c["audio"].append({**REGRESSION, "range": [1, 1]}),
                put("affect", value={"part": "rated"}),
            ),
            r"audio\[1\].range: must rise",
        ),
        (
            together(
                put(*PART, "head", value="none"),
                put(*PART, "labels", value={}),
                drop(*PART, "dropped"),
                drop(*PART, "model_labels"),
            ),
            'fusion.method: is mean, but no audio part has head = "classification"',
        ),
        (
            together(
                put("fusion", "method", value="concatenation"),
                put("fusion", "hidden", value=[0]),
                put("fusion", "activation", value="relu"),
            ),
            r"key fusion.hidden\[0\]: must be a whole number in 1 to",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        read(tmp_path, change)
    assert str(caught.value).startswith(str(tmp_path / "mine.toml"))
    assert str(caught.value).endswith("; correct the recipe")
