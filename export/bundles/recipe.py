"""A recipe: which encoders a bundle is made of, how their labels map, and how they are joined.

A TOML file, of ours in `recipes/` or of yours. Reading it needs neither weights nor torch, and
whatever can be wrong with it is found here, before a model is downloaded:

    name, version, description, languages, labels
    [licence]      weights; data = [{name, licence, used_for}]
    [[audio]]      one or more encoders, see `PartRecipe`
    [[text]]       none or more
    [fusion]       see `FusionRecipe`
    [calibration]  temperature, abstain_below, source
    [affect]       from label centroids, or from a part that was trained on ratings
    [run_here]     what was, and was not, run and checked by whoever wrote the recipe
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from realtime_ser.models.bundle_description import AFFECT_LABELS, PRECISIONS
from realtime_ser.models.json_table import Table

from ..errors import ExportError
from .recipe_description import (
    ACTIVATIONS,
    EMBEDDINGS,
    FUSIONS,
    HEADS,
    AffectRecipe,
    CalibrationRecipe,
    FusionRecipe,
    PartRecipe,
    Recipe,
    RunHere,
)

RECIPES = Path(__file__).with_name("recipes")
_NAME = re.compile("[a-z][a-z0-9_-]*")
_MANY = 2**53


def packaged_recipes() -> tuple[str, ...]:
    """Names of the recipes that came with this package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def read_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe of ours by name, or any by path.

    Raises:
        ExportError: there is no such recipe, or a rule is broken; names file, key and remedy.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_recipes():
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise ExportError(
            f"there is no recipe {str(name_or_path)!r}; give the path of a TOML file, or one of "
            f"{', '.join(packaged_recipes())}"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: is not TOML ({error}); correct the recipe") from None
    return _recipe(_RecipeTable(content, str(path)), path)


class _RecipeTable(Table):
    """A table of a recipe; what is wrong with it is an ExportError."""

    def fail(self, key: str, problem: str) -> NoReturn:
        field = ".".join(name for name in (self.field, key) if name)
        place = f"{self.source}, key {field}" if field else self.source
        raise ExportError(f"{place}: {problem}; correct the recipe")

    def boolean(self, key: str) -> bool:
        """true or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            self.fail(key, "must be true or false")
        return value

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers in `low` to `high`."""
        numbers = []
        for index, value in enumerate(self.list(key)):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                self.fail(f"{key}[{index}]", f"must be a whole number in {low} to {high}")
            numbers.append(value)
        return tuple(numbers)

    def words_or_none(self, key: str) -> tuple[str, ...]:
        """A list of different texts, empty where the key is absent."""
        return self.words(key, least=0) if self.has(key) else ()

    def name(self, key: str) -> str:
        """A name that can also be a folder."""
        value = self.text(key)
        if not _NAME.fullmatch(value):
            self.fail(key, "must be lower-case letters, digits, - and _")
        return value


def _recipe(root: _RecipeTable, path: Path) -> Recipe:
    labels = root.words("labels", least=2)
    licence = root.table("licence")
    recipe = Recipe(
        file=path,
        name=root.name("name"),
        version=root.text("version"),
        description=root.text("description"),
        languages=root.words("languages", least=1),
        labels=labels,
        licence=licence.text("weights"),
        data=licence.tables("data", _data_use),
        audio=root.tables("audio", lambda table: _part(table, "audio", labels)),
        text=root.tables("text", lambda table: _part(table, "text", labels))
        if root.has("text")
        else (),
        fusion=_fusion(root.table("fusion"), path),
        calibration=_calibration(root.table("calibration")),
        affect=_affect(root.table("affect"), labels),
        run_here=_run_here(root.table("run_here")),
    )
    licence.done()
    root.done()
    _check_parts(recipe, root)
    _check_fusion(recipe, root)
    _check_affect(recipe, root)
    return recipe


def _data_use(table: _RecipeTable) -> Mapping[str, str]:
    use = {key: table.text(key) for key in ("name", "licence", "used_for")}
    table.done()
    return MappingProxyType(use)


def _part(table: _RecipeTable, modality: str, labels: tuple[str, ...]) -> PartRecipe:
    part = PartRecipe(
        name=table.name("name"),
        modality=modality,
        model=table.text("model"),
        revision=table.text("revision") if table.has("revision") else None,
        licence=table.text("licence"),
        parameters=table.integer("parameters", 0, _MANY) if table.has("parameters") else None,
        head=table.one_of("head", HEADS),
        fine_tuned=table.boolean("fine_tuned"),
        precision=table.one_of("precision", PRECISIONS),
        tolerance=table.number("tolerance", 0, 1),
        model_labels=table.words_or_none("model_labels"),
        labels=_mapping(table, labels),
        dropped=table.words_or_none("dropped"),
        range=_range(table),
        embedding=table.one_of("embedding", EMBEDDINGS) if table.has("embedding") else "pooled",
    )
    table.done()
    if part.head == "classification":
        _check_mapping(part, labels, table)
    elif part.labels or part.dropped:
        table.fail("labels", f'is for head = "classification", not {part.head!r}')
    if part.head == "regression":
        _check_regression(part, table)
    elif part.range is not None:
        table.fail("range", f'is for head = "regression", not {part.head!r}')
    if part.head != "classification" and part.embedding != "pooled":
        table.fail("embedding", f'is {part.embedding}; only head = "classification" gives logits')
    return part


def _mapping(table: _RecipeTable, labels: tuple[str, ...]) -> Mapping[str, str]:
    if not table.has("labels"):
        return MappingProxyType({})
    rows = table.table("labels")
    mapping = {own: rows.one_of(own, labels) for own in rows.names()}
    rows.done()
    return MappingProxyType(mapping)


def _check_mapping(part: PartRecipe, labels: tuple[str, ...], table: _RecipeTable) -> None:
    """Each label of the model goes somewhere, and each label of the bundle comes from one."""
    twice = [own for own in part.dropped if own in part.labels]
    if twice:
        table.fail("dropped", f"names {', '.join(twice)}, which labels maps")
    missing = [label for label in labels if label not in part.labels.values()]
    if missing:
        table.fail("labels", f"maps nothing to {', '.join(missing)}, so that it is never answered")
    if not part.model_labels:
        return
    known = {*part.labels, *part.dropped}
    unmapped = [own for own in part.model_labels if own not in known]
    if unmapped:
        table.fail("labels", f"does not map {', '.join(unmapped)}; map or drop each model label")
    strange = sorted(known - set(part.model_labels))
    if strange:
        table.fail("labels", f"maps or drops {', '.join(strange)}, not among model_labels")


def _check_regression(part: PartRecipe, table: _RecipeTable) -> None:
    if part.range is None:
        table.fail("range", "is missing: the model's own numbers for 0 and 1 of affect")
    if part.model_labels and set(part.model_labels) != set(AFFECT_LABELS):
        table.fail("model_labels", f"must be {', '.join(AFFECT_LABELS)} in the model's order")


def _range(table: _RecipeTable) -> tuple[float, float] | None:
    if not table.has("range"):
        return None
    low, high = table.numbers("range", 2, -1e6, 1e6)
    if low >= high:
        table.fail("range", "must rise from its first number to its second")
    return low, high


def _fusion(table: _RecipeTable, path: Path) -> FusionRecipe:
    method = table.one_of("method", FUSIONS)
    learnt = method == "concatenation"
    hidden = table.integers("hidden", 1, 2**16) if learnt and table.has("hidden") else ()
    fusion = FusionRecipe(
        method=method,
        project=table.integer("project", 1, 2**16) if learnt and table.has("project") else 0,
        hidden=hidden,
        activation=table.one_of("activation", ACTIVATIONS) if hidden else "none",
        dropout=table.number("dropout", 0, 0.99) if learnt and table.has("dropout") else 0.0,
        weights=path.parent / table.text("weights") if learnt and table.has("weights") else None,
        source=table.text("source"),
    )
    table.done()
    return fusion


def _calibration(table: _RecipeTable) -> CalibrationRecipe:
    calibration = CalibrationRecipe(
        temperature=table.number("temperature", 1e-3, 1e3),
        abstain_below=table.number("abstain_below", 0, 1),
        source=table.text("source"),
    )
    table.done()
    return calibration


def _affect(table: _RecipeTable, labels: tuple[str, ...]) -> AffectRecipe:
    if table.has("part"):
        affect = AffectRecipe(table.text("part"), MappingProxyType({}), "")
        table.done()
        return affect
    rows = table.table("centroids")
    if set(rows.names()) != set(labels):
        table.fail("centroids", f"must name exactly the labels {', '.join(labels)}")
    points = {}
    for label in labels:
        valence, arousal, dominance = rows.numbers(label, 3, 0, 1)
        points[label] = (valence, arousal, dominance)
    affect = AffectRecipe(None, MappingProxyType(points), table.text("source"))
    table.done()
    return affect


def _run_here(table: _RecipeTable) -> RunHere:
    run_here = RunHere(
        run=table.words("run", least=0),
        not_run=table.words("not_run", least=0),
        checked=table.words("checked", least=0),
        not_checked=table.words("not_checked", least=0),
    )
    table.done()
    return run_here


def _check_parts(recipe: Recipe, root: _RecipeTable) -> None:
    names = [part.name for part in recipe.parts]
    if len(set(names)) != len(names):
        root.fail("", "two parts have the same name")
    if "fusion" in names:
        root.fail("", "no encoder may be named fusion, which is the head that joins them")
    if not recipe.audio:
        root.fail("audio", "must hold at least one encoder")


def _check_fusion(recipe: Recipe, root: _RecipeTable) -> None:
    giving = [part for part in recipe.parts if part.head == "classification"]
    if recipe.fusion.method == "mean" and not any(part.modality == "audio" for part in giving):
        root.fail("fusion.method", 'is mean, but no audio part has head = "classification"')
    if recipe.fusion.method != "mean" and any(part.head == "regression" for part in recipe.parts):
        root.fail(
            "fusion.method",
            f"is {recipe.fusion.method}, which takes the embeddings of all parts, and one of them "
            "is a regression; use mean",
        )
    if recipe.fusion.method == "maximum":
        without = [part.name for part in recipe.parts if part.embedding != "logits"]
        if without:
            root.fail(
                "fusion.method",
                f'is maximum, so {", ".join(without)} must have embedding = "logits"',
            )


def _check_affect(recipe: Recipe, root: _RecipeTable) -> None:
    rated = [part.name for part in recipe.parts if part.head == "regression"]
    if recipe.affect.part is None and rated:
        root.fail("affect", f'must be part = "{rated[0]}", whose head gives it')
    if recipe.affect.part is not None and [recipe.affect.part] != rated:
        root.fail("affect.part", 'must be the one part with head = "regression"')
    if rated and rated[0] not in {part.name for part in recipe.audio}:
        root.fail("affect.part", "must be an audio part: the text may be missing")
