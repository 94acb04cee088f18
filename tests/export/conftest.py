"""Models with random weights for all tests here: each is made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def denormals_as_usual() -> Iterator[None]:
    """Training counts denormals as 0 in its whole process, where hypothesis refuses to draw."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny `AudioEncoder` and the folder with its `audio/model.onnx`."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from realtime_ser_export.speech.audio_encoder import AudioEncoder
    from realtime_ser_export.speech.onnx_audio import export_onnx
    from realtime_ser_export.speech.settings import NetworkSettings

    torch.manual_seed(0)
    config = NetworkSettings(stem_channels=4, width=16, blocks=1, heads=2, embedding=8)
    model = AudioEncoder(config).eval()
    folder = tmp_path_factory.mktemp("bundle") / "default"
    (folder / "audio").mkdir(parents=True)
    # Raises ParityError where torch and ONNX Runtime differ.
    export_onnx(model, folder / "audio" / "model.onnx")
    return model, folder


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Hugging Face folders by the arguments of `random_model`, each made once; read-only."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    from realtime_ser_export.huggingface.random_models import random_model

    made: dict[str, Path] = {}

    def folder(family: str, **options: Any) -> Path:
        key = repr((family, sorted(options.items())))
        if key not in made:
            made[key] = random_model(family, tmp_path_factory.mktemp(family), **options)
        return made[key]

    return folder
