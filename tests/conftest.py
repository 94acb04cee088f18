"""Shared fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tiny_bundle import write_tiny_bundle
from virtual_microphone import VirtualMicrophone, running_virtual_microphone

from realtime_ser.bench.random_whisper import build_whisper

# no test is decided by how busy the machine is
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of corpora and sounds beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "speech.csv").is_file():
        pytest.skip(f"the corpora are not at {folder}")
    return folder


@pytest.fixture
def virtual_microphone() -> Iterator[VirtualMicrophone]:
    """A sound server of the test's own that plays recordings into the default microphone."""
    with running_virtual_microphone() as microphone:
        yield microphone


@pytest.fixture(scope="session")
def whisper_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders of Whisper models by the options of `build_whisper`, each built once; read-only."""
    built: dict[str, Path] = {}

    def folder(**options: Any) -> Path:
        key = repr(sorted(options.items()))
        if key not in built:
            built[key] = build_whisper(tmp_path_factory.mktemp("whisper"), **options)
        return built[key]

    return folder


@pytest.fixture(scope="session")
def whisper_folder(whisper_models: Callable[..., Path]) -> Path:
    """A Whisper model that hears "hello there", in English, in whatever it is given."""
    return whisper_models(says="hello there")


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle of a few kilobytes with audio, text and fusion; read-only."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "small", text=True, fusion=True)
