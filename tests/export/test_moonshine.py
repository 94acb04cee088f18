"""The encoder out of Moonshine's quantised graph: its weights under their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import MoonshineConfig
from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

from realtime_ser_export.errors import ExportError
from realtime_ser_export.huggingface import moonshine
from realtime_ser_export.huggingface.random_models import randomise
from realtime_ser_export.huggingface.source import resolve


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[MoonshineEncoder, Path]:
    """A small encoder of random weights, and its graph with matrices of 8 bits, as .ort."""
    folder = tmp_path_factory.mktemp("moonshine")
    torch.manual_seed(3)
    config = MoonshineConfig(
        hidden_size=32, intermediate_size=64, encoder_num_hidden_layers=2,
        encoder_num_attention_heads=2,
    )  # fmt: skip
    encoder = MoonshineEncoder(config).eval()
    randomise(encoder)
    onnx.save(graph_of(encoder), folder / "float.onnx")
    quantize_dynamic(
        folder / "float.onnx", folder / "graph.onnx", weight_type=QuantType.QUInt8,
        op_types_to_quantize=["MatMul"],
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "encoder_model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(folder / "graph.onnx", options, providers=["CPUExecutionProvider"])
    return encoder, folder / "encoder_model.ort"


def graph_of(encoder: MoonshineEncoder) -> onnx.ModelProto:
    """Every layer with its weights by itself, under the names of the published graph.

    The exporter that gave those names cannot trace the rotary positions of today's transformers.
    """
    nodes, constants, inputs, outputs = [], [], [], []

    def constant(name: str, weight: torch.Tensor) -> str:
        constants.append(onnx.numpy_helper.from_array(weight.detach().numpy(), name))
        return name

    def node(kind: str, name: str, shape: tuple[int, ...], *weights: str) -> None:
        inputs.append(value(f"{name} input", shape))
        outputs.append(value(f"{name} output", None))
        ends = [f"{name} input", *weights], [f"{name} output"]
        attributes = {"epsilon": 1e-5} if kind == "LayerNormalization" else {}
        nodes.append(onnx.helper.make_node(kind, *ends, name=name, **attributes))

    for name, module in encoder.named_modules():
        path = "/" + "/".join(name.split(".")).replace("layers/", "layers.")
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, torch.nn.Linear):
            matrix = constant(f"onnx::MatMul_{len(nodes)}", module.weight.T.contiguous())
            node("MatMul", f"{path}/MatMul", (1, module.in_features), matrix)
            for key in own.keys() - {"weight"}:
                node("Add", f"{path}/Add", (1, module.out_features),
                     constant(f"{name}.{key}", own[key]))  # fmt: skip
        elif isinstance(module, torch.nn.Conv1d):
            names = [constant(f"{name}.{key}", each) for key, each in own.items()]
            node("Conv", f"{path}/Conv", (1, module.in_channels, 200), *names)
        elif isinstance(module, torch.nn.LayerNorm):
            weight = constant(f"{name}.weight", module.weight)
            zeros = constant(f"{path}/Constant_output_0", torch.zeros_like(module.weight))
            node("LayerNormalization", f"{path}/LayerNormalization", (1, 32), weight, zeros)
        elif isinstance(module, torch.nn.GroupNorm):
            for kind, key in (("Mul", "weight"), ("Add", "bias")):
                each = constant(f"onnx::{kind}_{len(nodes)}", own[key][:, None])
                node(kind, f"{path}/{kind}", (32, 5), each)
    opset = [onnx.helper.make_opsetid("", 17)]
    graph = onnx.helper.make_graph(nodes, "encoder", inputs, outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)


def value(name: str, shape: tuple[int, ...] | None) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def test_every_weight_comes_back(published: tuple[MoonshineEncoder, Path]) -> None:
    encoder, graph = published
    truth = {name: each.numpy() for name, each in encoder.state_dict().items()}
    found = moonshine.encoder_weights(graph)
    assert found.keys() == truth.keys()
    for name, weight in truth.items():
        assert found[name].shape == weight.shape, name
        # Half a step of 255 from the least to the greatest, at most.
        np.testing.assert_allclose(found[name], weight, atol=np.abs(weight).max() / 200)


def test_the_folder_is_asked_for_by_name(
    published: tuple[MoonshineEncoder, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / ".cache" / "realtime-ser-export"
    moonshine.write_folder(published[1], kept / moonshine.NAME)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(moonshine.NAME) == kept / moonshine.NAME
    with pytest.raises(ExportError, match="--revision goes with a model of the hub"):
        resolve(moonshine.NAME, "main")
