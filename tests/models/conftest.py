"""Fixtures of the model tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small bundle into the test's own folder; see `write_tiny_bundle` for its options."""

    def write(name: str = "tiny", **options: object) -> Path:
        return write_tiny_bundle(tmp_path / name, **options)  # type: ignore[arg-type]

    return write
