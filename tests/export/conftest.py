"""One exported graph with random weights for all tests here: an export takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny `AudioEncoder` and the folder with its `audio/model.onnx`."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from realtime_ser_export.audio_encoder import AudioEncoder, EncoderConfig
    from realtime_ser_export.default_bundle import export_encoder

    torch.manual_seed(0)
    config = EncoderConfig(stem_channels=4, width=16, blocks=1, heads=2, embedding=8)
    model = AudioEncoder(config).eval()
    folder = tmp_path_factory.mktemp("bundle") / "default"
    export_encoder(model, folder)  # raises ParityError where torch and ONNX Runtime differ
    return model, folder
