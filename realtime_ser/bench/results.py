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
KINDS = ("latency", "capacity", "encoders", "peers")


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
    """The results in some files; of a folder, those in its JSON files that hold any.

    Raises:
        ConfigError: a file is missing, or holds no results.
    """
    results: list[dict[str, Any]] = []
    for path in paths:
        if path.is_dir():
            held = [_results_in(_json_of(file)) for file in sorted(path.glob("*.json"))]
            found = [result for each in held for result in each or []]
            if not found:
                raise ConfigError(
                    f"no results in the JSON files of {path}; name a file of `bench --json`"
                )
            results += found
        else:
            results += _read(path)
    return results


def _read(file: Path) -> list[dict[str, Any]]:
    results = _results_in(_json_of(file))
    if results is None:
        raise ConfigError(
            f"{file} holds no results of this version; make them with "
            "`realtime-ser bench latency --json FILE`"
        )
    return results


def _json_of(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as JSON ({error})") from None


def _results_in(content: Any) -> list[dict[str, Any]] | None:
    """None where it is JSON of something else."""
    results = content if isinstance(content, list) else [content]
    known = all(
        isinstance(each, dict) and each.get("format") == FORMAT and each.get("kind") in KINDS
        for each in results
    )
    return results if results and known else None
