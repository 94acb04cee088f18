"""Which nodes become half, and that nothing is rounded on the way between two that do not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum", reason="optimum is not installed: pip install '.[export]'")
pytest.importorskip("soundfile", reason="soundfile is not installed: pip install '.[export]'")

import onnx
from onnx import TensorProto, helper, numpy_helper

from realtime_ser_export.graphs.fuse_attention import BLOCKED
from realtime_ser_export.graphs.half_precision import HalfCounts, tensor_types, to_half
from realtime_ser_export.graphs.optimise_graph import optimise
from realtime_ser_export.graphs.parity import TOLERANCES, check
from realtime_ser_export.huggingface.audio import load_audio
from realtime_ser_export.huggingface.audio_export import write_graph
from realtime_ser_export.huggingface.random_models import random_model

FAMILIES = ["hubert", "wavlm", "wav2vec2-conformer"]


def converted(family: str, folder: Path) -> tuple[onnx.ModelProto, HalfCounts]:
    model = load_audio(random_model(family, folder / "source", head="classification"))
    path = folder / "model.onnx"
    write_graph(model, path)
    optimise(path, model.config)
    graph = onnx.load(str(path))
    counts = to_half(graph, model.fp32_scopes)
    onnx.save(graph, str(path))
    check(path, model.part, model.reference, "fast", TOLERANCES["float16"]).require(family)
    return graph, counts


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_stay_and_casts_are_few(family: str, tmp_path: Path) -> None:
    model, counts = converted(family, tmp_path)
    graph = model.graph
    types = tensor_types(graph)
    assert {types[output.name] for output in graph.output} == {TensorProto.FLOAT}
    assert types["waveform"] == TensorProto.FLOAT
    # The positional convolution, and the conformer's: no half kernel in cuDNN on Hopper.
    for node in graph.node:
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        if node.op_type == "Conv":
            wanted = TensorProto.FLOAT if groups > 1 else TensorProto.FLOAT16
            assert types[node.input[0]] == wanted, node.name
            assert types[node.input[1]] == wanted, node.name
        if node.name.startswith("/loudness/"):
            assert TensorProto.FLOAT16 not in {types[name] for name in node.input if name}
    # Nobody but the layers' own results crosses the border.
    assert counts.casts <= 14
    assert counts.half > 40
    layers = [node for node in graph.node if node.op_type == "MultiHeadAttention"]
    assert all(types[node.input[0]] == TensorProto.FLOAT16 for node in layers)


def test_nothing_is_rounded_to_half_and_back(tmp_path: Path) -> None:
    """ONNX Runtime's own converter does that to lengths: 65,504 samples are the largest half."""
    model, _ = converted("hubert", tmp_path)
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "Cast" else None
        if maker is not None and maker.op_type == "Cast":
            kinds = [each.attribute[0].i for each in (maker, node)]
            assert kinds != [TensorProto.FLOAT16, TensorProto.FLOAT], node.name


def test_constants_of_half_are_finite_and_halve_the_file(tmp_path: Path) -> None:
    model, _ = converted("hubert", tmp_path)
    sizes: Counter[int] = Counter()
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        sizes[tensor.data_type] += value.size
        if tensor.data_type == TensorProto.FLOAT16:
            assert np.isfinite(value).all(), tensor.name
    half, single = sizes[TensorProto.FLOAT16], sizes[TensorProto.FLOAT]
    assert half > single * 0.9  # In a tiny model the positional convolution is half of all.


def small_graph() -> onnx.ModelProto:
    """x -> scaled by its length -> product -> mask -> sum -> head; outputs: head, and the mask."""
    make = helper.make_node
    nodes = [
        make("Cast", ["lengths"], ["count"], to=TensorProto.FLOAT),
        make("Div", ["x", "count"], ["scaled"], name="/loudness/Div"),
        make("MatMul", ["scaled", "weight"], ["product"]),
        make("Add", ["product", "never"], ["masked"]),
        make("ReduceSum", ["masked"], ["sum"], keepdims=1),
        make("MatMul", ["sum", "head"], ["logits"]),
    ]
    constants = {
        "weight": np.full((4, 4), 1e6, np.float32),
        "never": np.array(np.finfo(np.float32).min, np.float32),
        "head": np.ones((1, 2), np.float32),
    }
    floats = {"x": [1, 4], "logits": [1, 2], "masked": [1, 4]}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in floats.items()
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [infos["x"], helper.make_tensor_value_info("lengths", TensorProto.INT64, [1])],
        [infos["logits"], infos["masked"]],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_borders_lie_where_they_should() -> None:
    model = small_graph()
    counts = to_half(model, ("/loudness/",))
    onnx.checker.check_model(model, full_check=True)
    # The product and its mask are half: one cast in, one out (an output that is also summed up).
    assert counts == HalfCounts(half=2, casts=3)
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert constants["weight_half"].max() == 65504
    assert constants["never_half"] == BLOCKED
    assert constants["head"].dtype == np.float32
    assert "weight" not in constants
