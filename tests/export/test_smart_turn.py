"""The encoder out of Smart Turn's quantised graph: its weights under their names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from realtime_ser_export.huggingface import smart_turn
from realtime_ser_export.huggingface.random_models import randomise
from realtime_ser_export.huggingface.source import resolve

SIZES = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}


class Turn(torch.nn.Module):
    """As Smart Turn: pooled attention and a classifier on an encoder, all of it `inner`."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.inner = torch.nn.Module()
        self.inner.encoder = encoder
        self.inner.pool_attention = torch.nn.Linear(16, 1)
        self.inner.classifier = torch.nn.Linear(16, 1)

    def forward(self, input_features: Any) -> Any:
        states = self.inner.encoder(input_features).last_hidden_state
        weights = self.inner.pool_attention(states).softmax(1)
        return torch.sigmoid(self.inner.classifier((states * weights).sum(1)))


class Noise(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = [np.random.default_rng(seed).normal(size=(1, 8, 100)) for seed in range(2)]

    def get_next(self) -> dict[str, Any] | None:
        return {"input_features": self.left.pop().astype(np.float32)} if self.left else None


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[WhisperEncoder, Path]:
    """A small encoder of random weights, and its graph with weights of 8 bits."""
    folder = tmp_path_factory.mktemp("smart-turn")
    torch.manual_seed(3)
    config = WhisperConfig(**SIZES, num_mel_bins=8, max_source_positions=50)
    config._attn_implementation = "eager"
    encoder = WhisperEncoder(config)
    randomise(encoder)
    network = Turn(encoder).eval()
    with warnings.catch_warnings():
        # Of the legacy exporter, and of Whisper's check of the window while it is traced.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(1, 8, 100),), str(folder / "float.onnx"), opset_version=17,
            input_names=["input_features"], dynamo=False,
        )  # fmt: skip
    _name_positions(folder / "float.onnx")
    quantize_static(
        str(folder / "float.onnx"), str(folder / "graph.onnx"), Noise(), per_channel=True,
        op_types_to_quantize=["Conv", "MatMul"], quant_format=QuantFormat.QDQ,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    return encoder, folder / "graph.onnx"


def _name_positions(path: Path) -> None:
    """As the published graph does; this exporter folds them into a constant without a name."""
    model = onnx.load(path)
    table = next(each for each in model.graph.initializer if list(each.dims) == [50, 16])
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == table.name:
                node.input[place] = "inner.encoder.embed_positions.weight"
    table.name = "inner.encoder.embed_positions.weight"
    onnx.save(model, path)


def test_every_weight_comes_back(published: tuple[WhisperEncoder, Path]) -> None:
    encoder, graph = published
    truth = {name: each.numpy() for name, each in encoder.state_dict().items()}
    found = smart_turn.encoder_weights(graph)
    assert found.keys() == truth.keys()
    for name, weight in truth.items():
        assert found[name].shape == weight.shape, name
        # Half a step of 255 from the least to the greatest of a row, at most.
        np.testing.assert_allclose(found[name], weight, atol=np.abs(weight).max() / 200)


def test_the_folder_is_asked_for_by_name(
    published: tuple[WhisperEncoder, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / ".cache" / "realtime-ser-export"
    smart_turn.write_folder(published[1], kept / smart_turn.NAME)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(smart_turn.NAME) == kept / smart_turn.NAME
