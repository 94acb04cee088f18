"""The recipe of a run: a TOML file that says what is trained, on what, and how it is measured.

    name = "mine"
    seed = 1
    labels = [...]      # left out: all seven

    [data]              # see DataSettings
    [protocol]          # see protocols.Protocol; its corpora are those of [data]
    [audio]             # see speech.settings.AudioSettings
    [text]              # see text.settings.TextSettings
    [fusion]            # see fusion.settings.FusionSettings
    [bundle]            # see bundles.settings.BundleSettings

A stage whose section is not there is not trained; an empty section trains it with the defaults.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ..errors import ExportError
from .context import PACKAGES
from .corpora import LABELS, TRAINING_CORPORA
from .protocols import Protocol
from .settings import read_settings

RECIPES = Path(__file__).with_name("recipes")
_NAME = re.compile("[a-z][a-z0-9_-]*")

# Corpora whose licence forbids what is derived from them: they may be listened to.
_EVALUATION_ONLY = {"tess": "CC BY-NC-ND 4.0"}


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What is trained on.

    Attributes:
        corpora: of speech.csv; the others are measured on, as never seen.
        extra: sounds that nobody acted, half of which may be trained on: readers, noises.
    """

    corpora: tuple[str, ...] = TRAINING_CORPORA
    extra: tuple[Literal["readers", "noises"], ...] = ()

    def __post_init__(self) -> None:
        for corpus in self.corpora:
            if corpus in _EVALUATION_ONLY:
                raise ExportError(
                    f"{corpus} may not be trained on ({_EVALUATION_ONLY[corpus]}); it is measured "
                    "on by itself when it is left out here"
                )


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """All of a recipe.

    Attributes:
        stages: settings by stage, in the order in which they are trained.
    """

    name: str
    seed: int
    labels: tuple[str, ...]
    data: DataSettings
    protocol: Protocol
    stages: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it, with every default filled in."""
        return {
            "name": self.name,
            "seed": self.seed,
            "labels": list(self.labels),
            "data": asdict(self.data),
            "protocol": asdict(self.protocol),
            **{stage: asdict(settings) for stage, settings in self.stages.items()},
        }


@dataclass(frozen=True, slots=True)
class _Head:
    """The keys above the first section."""

    name: str
    seed: int = 1
    labels: tuple[str, ...] = LABELS

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ExportError("name must be lower-case letters, digits, - and _")
        strange = [label for label in self.labels if label not in LABELS]
        if strange or len(set(self.labels)) < max(2, len(self.labels)):
            raise ExportError(f"labels must be two or more of {', '.join(LABELS)}, each once")


def packaged_run_recipes() -> tuple[str, ...]:
    """Names of the recipes that came with this package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def read_run_recipe(name_or_path: str | Path, changes: Sequence[str] = ()) -> RunRecipe:
    """Read a recipe of ours by name, or any by path.

    Args:
        changes: `section.key=value`, value as TOML writes it, put in place of the file's.

    Raises:
        ExportError: there is no such recipe, or something in it is wrong; names file and key.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_run_recipes():
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        ours = ", ".join(packaged_run_recipes()) or "none"
        raise ExportError(
            f"there is no recipe {str(name_or_path)!r}; give the path of a TOML file, or one of "
            f"ours ({ours})"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: is not TOML ({error}); correct the recipe") from None
    for change in changes:
        _change(content, change)
    return recipe_of(content, str(path))


def recipe_of(content: Mapping[str, Any], place: str) -> RunRecipe:
    """A recipe of what TOML or JSON says; `place` names it in messages.

    Raises:
        ExportError: something in it is wrong.
    """
    sections = {"data", "protocol", *PACKAGES}
    head = read_settings(
        _Head, {key: value for key, value in content.items() if key not in sections}, place
    )
    data = read_settings(DataSettings, content.get("data", {}), f"{place}, [data]")
    table = {"corpora": data.corpora, **content.get("protocol", {})}
    if tuple(table["corpora"]) != data.corpora:
        raise ExportError(f"{place}, [protocol]: corpora belong into [data]")
    protocol = read_settings(Protocol, table, f"{place}, [protocol]")
    stages = {
        stage: read_settings(_settings_of(stage), content[stage], f"{place}, [{stage}]")
        for stage in PACKAGES
        if stage in content
    }
    if not stages:
        raise ExportError(f"{place}: trains nothing; add a section [audio], [text] or [fusion]")
    return RunRecipe(head.name, head.seed, head.labels, data, protocol, stages)


def _settings_of(stage: str) -> type[Any]:
    """The settings class of a stage, `AudioSettings` for audio; its module imports no torch."""
    module = import_module(f"..{PACKAGES[stage]}.settings", __package__)
    settings: type[Any] = getattr(module, f"{stage.capitalize()}Settings")
    return settings


def _change(content: dict[str, Any], change: str) -> None:
    key, _, value = change.partition("=")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise ExportError(
            f"{change!r} is not KEY=VALUE with a value as TOML writes it, such as "
            "audio.steps=200 or name='\"mine\"'"
        ) from None
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ExportError(f"{change!r}: {section} is no section of a recipe")
    content[last] = parsed
