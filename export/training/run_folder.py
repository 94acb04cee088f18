"""The folder of a run: what was to be trained, on which data, by which program.

run.json                       `Run`
audio/  text/  fusion/         a stage each: history.jsonl, last.pt, best.pt, encoder/
bundle/                        where the recipe asks for one
evaluation/                    metrics.json, predictions.npz, report.md, plots

Where the protocol has several splits, each has such stages in a folder of its own name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from realtime_ser.models.bundle_files import DESCRIPTION_FILE
from realtime_ser.version import __version__

from ..encoder_folder import RECORD_FILE
from ..errors import ExportError
from .context import PACKAGES
from .run_recipe import RunRecipe, recipe_of

RUN_FILE = "run.json"
EVALUATION = "evaluation"
FORMAT_VERSION = 1

_VERSIONED = ("torch", "numpy", "onnx", "onnxruntime", "scikit-learn", "torchmetrics", "soundfile")


@dataclass(frozen=True, slots=True)
class Run:
    """All of `run.json`.

    Attributes:
        recipe: with every default filled in.
        data_sha256: of speech.csv.
        splits: names of the splits, in order.
        revision: commit of the program's source, `-dirty` where it was changed; None where it is
            not in a repository.
        versions: of packages.
        earlier: recipes that the run was begun with, where it was gone on with another.
    """

    recipe: Mapping[str, Any]
    data_sha256: str
    splits: Sequence[str]
    revision: str | None
    versions: Mapping[str, str]
    earlier: Sequence[Mapping[str, Any]] = ()


def begin_run(
    folder: Path,
    recipe: RunRecipe,
    data: Path,
    splits: Sequence[str],
    *,
    afresh: bool = False,
    allow_changes: bool = False,
) -> Run:
    """Write `run.json`, or hold the one that is there against what is to be trained now.

    Args:
        afresh: forget what is there.
        allow_changes: go on although recipe, data or program are others; the file then says so.

    Raises:
        ExportError: the folder holds something else, or a run of another recipe or other data.
    """
    run = Run(
        recipe=json.loads(json.dumps(recipe.as_dict())),
        data_sha256=_sha256(data / "speech.csv"),
        splits=list(splits),
        revision=source_revision(),
        versions=_versions(),
    )
    if folder.exists() and any(folder.iterdir()):
        before = read_run(folder)
        if afresh:
            _forget(folder, before)
        else:
            run = _going_on(folder, before, run, allow_changes)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format_version": FORMAT_VERSION, **asdict(run)}, indent=2) + "\n"
    (folder / RUN_FILE).write_text(text, encoding="utf-8")
    return run


def read_run(folder: Path) -> Run:
    """Read `run.json`.

    Raises:
        ExportError: there is none, or one of another version.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise ExportError(f"{folder} holds no {RUN_FILE}; give the folder of a run, or a new one")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("format_version")
        if found != FORMAT_VERSION:
            raise ExportError(
                f"{path} has format_version {found}, this program reads {FORMAT_VERSION}"
            )
        return Run(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{path} is damaged ({error}); train again with --afresh") from error


def is_run(folder: Path) -> bool:
    """Whether it is the folder of a run."""
    return (folder / RUN_FILE).is_file()


def recipe_of_run(run: Run, folder: Path) -> RunRecipe:
    """The recipe that a run was trained by."""
    return recipe_of(run.recipe, str(folder / RUN_FILE))


def split_folder(folder: Path, run: Run, split: str) -> Path:
    """Where the stages of a split are: the run itself where it has one split alone."""
    return folder if len(run.splits) == 1 else folder / split


def result_of(folder: Path) -> Path:
    """What the stages of a split ended with: a bundle, else an audio encoder.

    Raises:
        ExportError: neither is there yet.
    """
    for made, file in (("bundle", DESCRIPTION_FILE), ("audio/encoder", RECORD_FILE)):
        if (folder / made / file).is_file():
            return folder / made
    raise ExportError(f"{folder} has neither a bundle nor an audio encoder yet; train it first")


def source_revision() -> str | None:
    """The commit that this program's source is at."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip() or None


def _going_on(folder: Path, before: Run, run: Run, allow_changes: bool) -> Run:
    changes = _changed(before.recipe, run.recipe)
    if before.data_sha256 != run.data_sha256:
        changes.append("the data (speech.csv)")
    if not changes:
        return Run(**{**asdict(run), "earlier": before.earlier})
    if not allow_changes:
        raise ExportError(
            f"{folder} is a run with another value of {', '.join(changes)}; give --out a new "
            "folder, --afresh to forget that run, or --allow-changes to go on with it"
        )
    return Run(**{**asdict(run), "earlier": [*before.earlier, before.recipe]})


def _changed(before: Any, now: Any, key: str = "") -> list[str]:
    """Keys whose values differ, as `section.key`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = list(dict.fromkeys([*before, *now]))
        inside = [
            _changed(before.get(name), now.get(name), f"{key}.{name}" if key else name)
            for name in names
        ]
        return [change for changes in inside for change in changes]
    return [] if before == now else [key]


def _forget(folder: Path, run: Run) -> None:
    """Remove what runs write, and nothing else."""
    for place in {folder, *(split_folder(folder, run, split) for split in run.splits)}:
        for name in (*PACKAGES, EVALUATION):
            shutil.rmtree(place / name, ignore_errors=True)


def _versions() -> dict[str, str]:
    found = {"realtime-ser": __version__}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
