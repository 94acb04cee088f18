"""Tables as dataclasses: what fits is read, whatever does not is an error that names the key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("soundfile", reason="the export extra is not installed")

from realtime_ser_export.errors import ExportError
from realtime_ser_export.training.protocols import Protocol
from realtime_ser_export.training.run_recipe import (
    packaged_run_recipes,
    read_run_recipe,
    recipe_of,
)
from realtime_ser_export.training.settings import read_settings


@dataclass(frozen=True, slots=True)
class Inner:
    size: int = 3


@dataclass(frozen=True, slots=True)
class Outer:
    rate: float
    name: str = "x"
    use: bool = True
    names: tuple[str, ...] = ()
    span: tuple[float, float] = (0.0, 1.0)
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ExportError("rate is 0 or more")


def test_everything_is_read() -> None:
    table = {
        "rate": 1,
        "use": False,
        "names": ["a", "b"],
        "span": [1, 2.5],
        "kind": "b",
        "limit": 4,
        "inner": {"size": 5},
    }
    assert read_settings(Outer, table, "t") == Outer(
        1.0, "x", False, ("a", "b"), (1.0, 2.5), "b", 4, Inner(5)
    )
    assert isinstance(read_settings(Outer, {"rate": 1}, "t").rate, float)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rate": 1, "rote": 2}, "t: has an unknown key 'rote'; known are rate, name, use"),
        ({"rate": "fast"}, "t: rate must be a number, not 'fast'"),
        ({"rate": True}, "t: rate must be a number, not True"),
        ({"rate": 1, "use": 1}, "t: use must be true or false, not 1"),
        ({"rate": 1, "names": "a"}, "t: names must be a list, not 'a'"),
        ({"rate": 1, "names": [1]}, r"t: names\[0\] must be a text in quotes, not 1"),
        ({"rate": 1, "span": [1]}, "t: span must have 2 values, not 1"),
        ({"rate": 1, "kind": "c"}, "t: kind must be one of 'a', 'b', not 'c'"),
        ({"rate": 1, "inner": {"sice": 1}}, "t: inner: has an unknown key 'sice'"),
        ({"rate": 1, "inner": 3}, "t: inner: must be a table, not 3"),
        ({"rate": 1, "limit": 1.5}, "t: limit must be a whole number, not 1.5"),
        ({"rate": -1}, "t: rate is 0 or more"),
        ({}, "t: .*'rate'"),
    ],
)
def test_a_mistake_names_the_key(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_settings(Outer, table, "t")


def recipe(**more: Any) -> dict[str, Any]:
    return {"name": "mine", "audio": {}, **more}


def test_a_recipe_has_defaults_for_all_but_its_name() -> None:
    read = recipe_of(recipe(), "r")
    assert read.protocol == Protocol()
    assert list(read.stages) == ["audio"]
    assert recipe_of(read.as_dict(), "again") == read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"audio": {}}, "'name'"),
        (recipe(name="My Run"), "name must be lower-case"),
        (recipe(labels=["angry", "bored"]), "labels must be two or more of angry"),
        (recipe(labels=["angry", "angry"]), "labels must be two or more of angry"),
        (recipe(data={"corpora": ["tess"]}), r"r, \[data\]: tess may not be trained on"),
        (recipe(data={"extra": ["music"]}), r"extra\[0\] must be one of 'readers', 'noises'"),
        (recipe(protocol={"corpora": ["nemo"]}), r"corpora belong into \[data\]"),
        (recipe(protocol={"kind": "dice"}), r"\[protocol\]: there is no protocol 'dice'"),
        (recipe(audio={"stepps": 3}), r"\[audio\]: has an unknown key 'stepps'"),
        (recipe(video={}), "unknown key 'video'"),
        ({"name": "mine"}, "trains nothing"),
    ],
)
def test_a_recipe_that_is_wrong_says_where(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        recipe_of(content, "r")


def test_a_file_is_read_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[audio]\nsteps = 10\n', encoding="utf-8")
    assert read_run_recipe(path).stages["audio"].steps == 10
    changed = read_run_recipe(path, ["audio.steps=20", 'protocol.kind="speaker_folds"', "seed=3"])
    assert changed.stages["audio"].steps == 20
    assert (changed.protocol.kind, changed.seed) == ("speaker_folds", 3)
    with pytest.raises(ExportError, match=r"'audio\.steps' is not KEY=VALUE"):
        read_run_recipe(path, ["audio.steps"])
    with pytest.raises(ExportError, match="name is no section"):
        read_run_recipe(path, ["name.steps=3"])
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(ExportError, match="is not TOML"):
        read_run_recipe(path)
    with pytest.raises(ExportError, match="there is no recipe 'nothing'"):
        read_run_recipe("nothing")


@pytest.mark.parametrize("name", packaged_run_recipes())
def test_our_own_recipes_are_read(name: str) -> None:
    assert read_run_recipe(name).name == name
