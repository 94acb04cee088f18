"""What is said of bundles, encoder folders and graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_bundle as tiny

pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[test]'")

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import realtime_ser
from realtime_ser.models.ort import find_cuda_problem
from realtime_ser_export.encoder_folder import (
    EncoderRecord,
    Source,
    write_record,
)
from realtime_ser_export.errors import ExportError
from realtime_ser_export.graphs.cuda_kernels import TABLE_SOURCE, placed_on
from realtime_ser_export.graphs.inspect_graph import inspect

DEFAULT = Path(realtime_ser.__file__).parent / "models" / "default"


@pytest.fixture
def no_gpu() -> None:
    """Where CUDA works, ONNX Runtime is asked instead of the table."""
    if find_cuda_problem() is None:
        pytest.skip("CUDA works here")


def facts(text: str) -> dict[str, str]:
    """The named lines of a graph's section."""
    lines = [line for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    return {line[2:16].strip(): line[16:] for line in lines}


@pytest.mark.usefixtures("no_gpu")
def test_the_default_bundle() -> None:
    text = inspect(DEFAULT)
    assert text.startswith("bundle        default ")
    graph = facts(text[text.index("graph audio") : text.index("graph text")])
    assert graph["labels"].startswith("logits: angry, disgust, fearful")
    assert graph["inputs"] == "waveform: float32 [batch, samples]"
    assert "lengths: int64 [batch]" in text
    assert graph["weights"].startswith("float16 ")  # stored so; the front end in float32
    assert graph["opset"].startswith("onnx 18; ")
    assert graph["on CUDA"] == f"every operator has a kernel (by {TABLE_SOURCE}; no GPU was asked)"


def test_every_part_of_a_bundle_is_described(tmp_path: Path) -> None:
    path = tiny.write_tiny_bundle(tmp_path / "tiny", text=True, fusion=True)
    text = inspect(path)
    for part in ("audio", "text", "fusion"):
        assert f"graph {part}\n" in text
    assert "text_present: float32 [batch]" in text


def write_graph(path: Path, half: bool = False) -> Path:
    kind = np.float16 if half else np.float32
    weights = np.ones((4, 3), kind)
    element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    inner = helper.make_graph(
        [helper.make_node("STFT", ["x", "one"], ["deep"])],
        "branch",
        [],
        [helper.make_tensor_value_info("deep", element, None)],
    )
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("If", ["yes"], ["unused"], then_branch=inner, else_branch=inner),
        ],
        "g",
        [helper.make_tensor_value_info("x", element, ["batch", 4])],
        [helper.make_tensor_value_info("logits", element, ["batch", 3])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.array(1), "one"),
        ],
    )
    save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.usefixtures("no_gpu")
def test_an_operator_without_a_kernel_is_named_wherever_it_hides(tmp_path: Path) -> None:
    graph = facts(inspect(write_graph(tmp_path / "g.onnx")))
    assert graph["operators"] == "4: STFT 2, MatMul 1, If 1"
    assert graph["on CUDA"].startswith("STFT 2 would stay on the CPU")


@pytest.mark.usefixtures("no_gpu")
def test_half_precision_is_seen(tmp_path: Path) -> None:
    graph = facts(inspect(write_graph(tmp_path / "g.onnx", half=True)))
    assert graph["weights"].startswith("float16 86%")
    assert graph["inputs"] == "x: float16 [batch, 4]"


@pytest.mark.usefixtures("no_gpu")
def test_dynamic_quantisation_is_for_the_cpu(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 32])],
        [numpy_helper.from_array(np.ones((64, 32), np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(body, opset_imports=opset, ir_version=8), tmp_path / "f.onnx")
    quantize_dynamic(tmp_path / "f.onnx", tmp_path / "model.onnx")
    graph = facts(inspect(tmp_path / "model.onnx"))
    assert "int8" in graph["weights"]
    assert graph["weights"].endswith("(dynamic): for CPU")
    assert graph["on CUDA"].startswith("for CPU: ")
    assert "DynamicQuantizeLinear 1" in graph["on CUDA"]
    assert "MatMulInteger 1" in graph["on CUDA"]


@pytest.mark.usefixtures("no_gpu")
def test_an_encoder_folder_shows_its_record(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="soundfile is not installed: pip install '.[export]'")
    write_graph(tmp_path / "model.onnx")
    output = {"name": "logits", "role": "logits", "labels": ["joy", "grief"]}
    record = EncoderRecord(
        modality="audio",
        source=Source("someone/voice", "abc", "HubertModel", "hubert", None, "0" * 64),
        precision="float32",
        opset=17,
        nodes={"exported": 10, "optimised": 7},
        versions={"torch": "2.13.0"},
        part={"parameters": 1234, "outputs": [output], "batching": "exact_length"},
        parity=(
            {"case": "0.40 s", "output": "logits", "max_abs_error": 1.0, "passed": False},
            {"case": "all together", "max_abs_error": 1.25e-6, "cosine": None, "passed": True},
        ),
    )
    write_record(record, tmp_path)
    rows = facts(inspect(tmp_path))
    assert rows["model"] == "someone/voice at abc; HubertModel (hubert)"
    assert rows["licence"] == "not stated by the model (the weights)"
    assert rows["parameters"] == "1,234"
    assert rows["labels"] == "logits: joy, grief"
    assert rows["batching"] == "exact_length: equal lengths only in a batch"
    assert rows["parity"] == "max_abs_error 1.25e-06 (2 rows, 1 FAILED)"
    assert rows["speed"] == "none"
    assert rows["inputs"] == "x: float32 [batch, 4]"


def test_onnx_runtime_is_asked_where_it_places_operators() -> None:
    """With the one provider that works everywhere; with CUDA the question is the same."""
    placed = placed_on(DEFAULT / "audio" / "model.onnx", "CPUExecutionProvider")
    assert placed["CPUExecutionProvider"]["Conv"] == 7


@pytest.mark.parametrize("content", [b"no graph", b"\x08\xff"])
def test_what_is_no_graph(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=r"g\.onnx is no ONNX graph"):
        inspect(tmp_path / "g.onnx")


def test_what_is_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"is no bundle \(bundle\.json\), no encoder folder"):
        inspect(tmp_path)
