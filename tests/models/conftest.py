"""Fixtures of the model tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import seal, write_tiny_bundle


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Bundles by option, each built once: graphs take longer to build than to copy."""
    built: dict[str, Path] = {}

    def template(**options: Any) -> Path:
        key = repr(sorted(options.items()))
        if key not in built:
            built[key] = write_tiny_bundle(tmp_path_factory.mktemp("template") / "b", **options)
        return built[key]

    return template


@pytest.fixture
def tiny_bundle(tmp_path: Path, _templates: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a small bundle into the test's own folder; options as for `write_tiny_bundle`."""

    def write(
        name: str = "tiny", *, edit: Callable[[dict[str, Any]], None] | None = None, **options: Any
    ) -> Path:
        folder = tmp_path / name
        shutil.copytree(_templates(**options), folder)
        if edit:
            description = json.loads((folder / "bundle.json").read_text())
            edit(description)
            seal(folder, description)
        return folder

    return write
