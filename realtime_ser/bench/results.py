"""Results as JSON: written with all they were measured on, read back, told from other files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from realtime_ser.bench.machine import describe_machine
from realtime_ser.config import SPECS, Settings
from realtime_ser.errors import ConfigError

FORMAT = "realtime-ser bench 1"


def new_result(kind: str, settings: Settings, **content: Any) -> dict[str, Any]:
    """A result of one kind of measurement, with the machine as it is now."""
    defaults = {name: spec.default for name, spec in SPECS.items()}
    changed = {name: value for name, value in asdict(settings).items() if value != defaults[name]}
    return {
        "format": FORMAT,
        "kind": kind,
        "machine": describe_machine(),
        "settings": changed,
        **content,
    }


def write_results(path: Path, results: list[dict[str, Any]]) -> None:
    """Write one file with all of them.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None


def read_results(paths: list[Path]) -> list[dict[str, Any]]:
    """The results in some files; of a folder, those in its JSON files.

    Raises:
        ConfigError: a file is missing, or holds no results.
    """
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"no JSON files in {paths[0]}; name a file of `bench --json`")
    return [result for file in files for result in _read(file)]


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as JSON ({error})") from None
    results = content if isinstance(content, list) else [content]
    for result in results:
        if not isinstance(result, dict) or result.get("format") != FORMAT:
            raise ConfigError(
                f"{file} holds no results of this version; make them with "
                "`realtime-ser bench latency --json FILE`"
            )
    return results
