"""Sessions: what fits, what does not, and no quiet CPU."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_bundle as tiny
from onnx import TensorProto, helper, numpy_helper

from realtime_ser.errors import BundleFormatError, ConfigError, InferenceError
from realtime_ser.models import ort
from realtime_ser.models.bundle_description import Role, TensorSpec
from realtime_ser.models.graph import Graph

CPU = ort.Provider("cpu", ort.CPU, "test")
WAVEFORM = TensorSpec("x", "float32", ("batch", "samples"), "none")
LOGITS = TensorSpec("y", "float32", ("batch", 3), "nat", role=Role.LOGITS, labels=("a", "b", "c"))


def write(path: Path, *, axes: list[Any] | None = None, dtype: int = TensorProto.FLOAT) -> Path:
    """y[batch, 3] = mean of x[batch, samples] times (1, 2, 3)."""
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=1),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["mean", "row"], ["y"]),
    ]
    row = np.array([[1, 2, 3]], np.float32)
    inputs = {"x": (dtype, axes or ["batch", "samples"])}
    tiny.save_graph(path, nodes, inputs, {"y": ["batch", 3]}, {"row": row})
    return path


def load(path: Path, x: TensorSpec = WAVEFORM, y: TensorSpec = LOGITS) -> Graph:
    return Graph(path, (x,), (y,), CPU, 1)


def test_a_graph_runs(tmp_path: Path) -> None:
    graph = load(write(tmp_path / "g.onnx"))
    outputs = graph.run({"x": np.array([[1, 3], [10, 20]], np.float32)})
    np.testing.assert_allclose(outputs["y"], [[2, 4, 6], [15, 30, 45]])
    assert graph.providers == (ort.CPU,)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (TensorSpec("z", "float32", ("batch", "samples"), ""), LOGITS, "its inputs are x, .* z;"),
        (TensorSpec("x", "int64", ("batch", "samples"), ""), LOGITS, "input x: is tensor.float"),
        (TensorSpec("x", "float32", ("batch",), ""), LOGITS, "input x: has shape"),
        (WAVEFORM, TensorSpec("z", "float32", ("batch", 3), ""), "its outputs are y, .* z;"),
        (WAVEFORM, TensorSpec("y", "float32", ("batch", 7), ""), r"'batch', 3\], .*'batch', 7\]"),
        (WAVEFORM, TensorSpec("y", "float32", ("batch", 3, 1), ""), "output y: has shape"),
    ],
)
def test_a_graph_that_does_not_fit(
    tmp_path: Path, x: TensorSpec, y: TensorSpec, message: str
) -> None:
    with pytest.raises(BundleFormatError, match=f"{message}.*re-export"):
        load(write(tmp_path / "g.onnx"), x, y)


def test_a_graph_traced_for_one_length_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"input x: has shape \['batch', 16000\]"):
        load(write(tmp_path / "g.onnx", axes=["batch", 16000]))


def test_an_output_whose_width_shows_only_when_run(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    axes = ["batch", "samples"]
    tiny.save_graph(tmp_path / "g.onnx", nodes, {"x": (TensorProto.FLOAT, axes)}, {"y": axes}, {})
    graph = load(tmp_path / "g.onnx")
    assert graph.run({"x": np.zeros((2, 3), np.float32)})["y"].shape == (2, 3)
    with pytest.raises(InferenceError, match=r"output y: has shape \(2, 4\), not \(2, 3\)"):
        graph.run({"x": np.zeros((2, 4), np.float32)})


def test_a_failing_run_is_our_error(tmp_path: Path) -> None:
    graph = load(write(tmp_path / "g.onnx"))
    with pytest.raises(InferenceError, match=r"g\.onnx failed: .*models verify"):
        graph.run({"x": np.zeros((1, 2, 3), np.float32)})


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleFormatError, match=r"g\.onnx: ONNX Runtime .* cannot load it"):
        load(tmp_path / "g.onnx")


def test_a_graph_with_a_name_that_is_no_text(tmp_path: Path) -> None:
    content = write(tmp_path / "g.onnx").read_bytes()
    assert content.count(b"samples") == 1
    (tmp_path / "g.onnx").write_bytes(content.replace(b"samples", b"s\xffmples"))
    with pytest.raises(BundleFormatError, match=r"g\.onnx: .*re-export"):
        load(tmp_path / "g.onnx")


def test_threads_sleep_between_runs_and_no_plan_is_kept_for_a_shape(tmp_path: Path) -> None:
    graph = Graph(write(tmp_path / "g.onnx"), (WAVEFORM,), (LOGITS,), CPU, 2)
    options = graph._runner.session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert not options.enable_mem_pattern


def test_the_written_out_probe_is_the_graph_it_claims_to_be() -> None:
    weights = {"w": [[[1, 2]]], "m": [[1], [10], [100]]}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("MatMul", ["c", "m"], ["y"]),
        ],
        "p",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1])],
        [numpy_helper.from_array(np.array(w, np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = ""
    assert onnx.load_from_string(ort._PROBE) == model, base64.b64encode(model.SerializeToString())


def test_the_cpu_works() -> None:
    assert ort.probe(ort.CPU) is None
    assert ort.choose_provider("cpu") == ort.Provider("cpu", ort.CPU, "demanded")


def test_a_provider_that_leaves_the_work_to_the_cpu_does_not_work() -> None:
    """The Azure provider is in every CPU build, and runs no graph itself."""
    if "AzureExecutionProvider" not in ort.available_providers():
        pytest.skip("this build has no Azure provider")
    failure = ort.probe("AzureExecutionProvider")
    assert failure is not None
    assert "CPU" in failure


def test_auto_says_why_and_cuda_is_never_a_quiet_cpu() -> None:
    problem = ort.find_cuda_problem()
    chosen = ort.choose_provider("auto")
    if problem is None:
        assert chosen.name == ort.CUDA
        assert ort.choose_provider("cuda").name == ort.CUDA
        return
    assert chosen == ort.Provider("cpu", ort.CPU, f"no CUDA: {problem.why}")
    with pytest.raises(InferenceError, match="device cuda does not work") as caught:
        ort.choose_provider("cuda")
    assert str(caught.value).endswith(problem.remedy)


def test_cuda_that_vanishes_after_the_choice_is_an_error(tmp_path: Path) -> None:
    if ort.find_cuda_problem() is None:
        pytest.skip("CUDA works here")
    cuda = ort.Provider("cuda", ort.CUDA, "claimed")
    with pytest.raises(InferenceError, match="CUDAExecutionProvider"):
        Graph(write(tmp_path / "g.onnx"), (WAVEFORM,), (LOGITS,), cuda, 1)


def test_an_unknown_device() -> None:
    with pytest.raises(ConfigError, match="device must be auto, cpu or cuda, not 'tpu'"):
        ort.choose_provider("tpu")


def test_a_library_that_is_not_there() -> None:
    problem = ort.library_problem("libno-such-library-of-ours.so.12")
    assert problem is not None
    assert "libno-such-library-of-ours.so.12" in problem
    assert ort.library_problem("libc.so.6") is None


def test_threads() -> None:
    assert ort.thread_count(3) == 3
    assert ort.thread_count(0) >= 1
