"""Fixed places and their reuse, on the CPU: what a GPU does differently is the device alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle as tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from realtime_ser.errors import BundleFormatError, InferenceError
from realtime_ser.models import ort
from realtime_ser.models.bundle_description import Role, TensorSpec
from realtime_ser.models.graph import Graph
from realtime_ser.models.ort_bound import BoundDevice, BoundSession, DeviceTensor

CPU = ort.Provider("cpu", ort.CPU, "test")
X = TensorSpec("x", "float32", ("batch", "samples"), "none")
Y = TensorSpec("y", "float32", ("batch", 2), "none", role=Role.EMBEDDING)
Z = TensorSpec("z", "float32", ("batch", 3), "nat", role=Role.LOGITS, labels=("a", "b", "c"))
Floats = np.typing.NDArray[np.float32]


def write_encoder(path: Path) -> Path:
    """y[batch, 2] = sum and sum of squares of x[batch, samples]."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["x", "x"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "axis"], ["energy"], keepdims=1),
        helper.make_node("Concat", ["sum", "energy"], ["y"], axis=1),
    ]
    inputs = {"x": (TensorProto.FLOAT, ["batch", "samples"])}
    tiny.save_graph(path, nodes, inputs, {"y": ["batch", 2]}, {"axis": np.array([1])})
    return path


def write_head(path: Path) -> Path:
    """z[batch, 3] = y[batch, 2] times a matrix."""
    nodes = [helper.make_node("MatMul", ["y", "matrix"], ["z"])]
    matrix = np.array([[1, 2, 3], [-1, 0, 1]], np.float32)
    inputs = {"y": (TensorProto.FLOAT, ["batch", 2])}
    tiny.save_graph(path, nodes, inputs, {"z": ["batch", 3]}, {"matrix": matrix})
    return path


def bound(path: Path, x: TensorSpec, y: TensorSpec, device: BoundDevice | None = None) -> Graph:
    return Graph(path, (x,), (y,), CPU, 1, device or BoundDevice(CPU))


def noise(rows: int, samples: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(rows, samples)).astype(np.float32)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Graph]:
    """The same graph, run with arrays, and bound with some of its shapes prepared."""
    path = write_encoder(tmp_path_factory.mktemp("encoder") / "g.onnx")
    fixed = bound(path, X, Y)
    for rows in fixed.rows:
        for samples in (10, 20):
            fixed.prepare({"x": noise(rows, samples)})
    return Graph(path, (X,), (Y,), CPU, 1), fixed


@given(
    batches=st.lists(st.tuples(st.integers(1, 11), st.sampled_from([5, 10, 20])), max_size=6),
)
@settings(max_examples=40)
def test_bound_runs_answer_to_the_bit_in_any_order(
    encoders: tuple[Graph, Graph], batches: list[tuple[int, int]]
) -> None:
    plain, fixed = encoders
    for seed, (rows, samples) in enumerate(batches):
        x = noise(rows, samples, seed)
        np.testing.assert_array_equal(fixed.run({"x": x})["y"], plain.run({"x": x})["y"])


def test_prepared_places_are_used_again(encoders: tuple[Graph, Graph]) -> None:
    _, fixed = encoders
    places = [
        tensor.value.data_ptr()
        for x in (noise(3, 10, 1), noise(4, 20, 2), noise(3, 7, 3))
        if (tensor := fixed.infer({"x": x}).on_device("y"))
    ]
    assert len(places) == 3
    assert len(set(places)) == 1
    runner = fixed._runner
    assert isinstance(runner, BoundSession)
    assert len(runner._prepared) == len(fixed.rows) * 2
    before = {key: binding.io for key, binding in runner._prepared.items()}
    fixed.run({"x": noise(2, 20, 4)})
    fixed.prepare({"x": noise(2, 20, 5)})
    assert {key: binding.io for key, binding in runner._prepared.items()} == before


def test_every_shape_has_a_graph_of_its_own_and_none_has_id_0(tmp_path: Path) -> None:
    fixed = bound(write_encoder(tmp_path / "g.onnx"), X, Y)
    for samples in (5, 6, 5, 7):
        fixed.prepare({"x": noise(1, samples)})
    runner = fixed._runner
    assert isinstance(runner, BoundSession)
    ids = [
        binding.options.get_run_config_entry("gpu_graph_id")
        for binding in runner._prepared.values()
    ]
    assert ids == ["1", "2", "3"]


def test_an_output_stays_where_the_next_graph_reads_it(tmp_path: Path) -> None:
    device = BoundDevice(CPU)
    encoder = bound(write_encoder(tmp_path / "e.onnx"), X, Y, device)
    head = bound(write_head(tmp_path / "h.onnx"), Y, Z, device)
    plain = Graph(tmp_path / "h.onnx", (Y,), (Z,), CPU, 1)
    for rows, seed in ((3, 0), (1, 1), (4, 2), (9, 3)):
        outputs = encoder.infer({"x": noise(rows, 30, seed)})
        tensor = outputs.on_device("y")
        assert isinstance(tensor, DeviceTensor)
        assert len(tensor) == rows
        head.prepare({"y": tensor})
        expected = plain.run({"y": outputs["y"]})["z"]
        np.testing.assert_array_equal(head.run({"y": tensor})["z"], expected)
    runner = head._runner
    assert isinstance(runner, BoundSession)
    # 3 and 4 rows lie in one place, whatever the encoder heard
    assert len(runner._prepared) == 3
    assert all(
        not isinstance(part, tuple)
        for key in runner._prepared
        for _, part in key  # type: ignore[misc]
    )


def test_what_was_fetched_outlives_the_next_run(tmp_path: Path) -> None:
    fixed = bound(write_encoder(tmp_path / "g.onnx"), X, Y)
    first = fixed.run({"x": np.full((1, 4), 1, np.float32)})["y"]
    fixed.run({"x": np.full((1, 4), 2, np.float32)})
    np.testing.assert_array_equal(first, [[4, 4]])


def test_two_threads_do_not_disturb_each_other(encoders: tuple[Graph, Graph]) -> None:
    plain, fixed = encoders
    batches = [noise(1 + seed % 8, 10, seed) for seed in range(40)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda x: fixed.run({"x": x})["y"], batches))
    for x, y in zip(batches, found, strict=True):
        np.testing.assert_array_equal(y, plain.run({"x": x})["y"])


def test_work_on_the_device_may_do_more_work_there() -> None:
    device = BoundDevice(CPU)
    assert device.do(lambda: device.do(lambda: 1) + 1) == 2
    with pytest.raises(ZeroDivisionError):
        device.do(lambda: 1 // 0)


def test_half_precision_comes_in_and_goes_out_as_float32(tmp_path: Path) -> None:
    half_in = helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["batch", 4])
    half_out = helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["batch", 2])
    nodes = [helper.make_node("Slice", ["x", "zero", "two", "one"], ["y"])]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("zero", 0), ("two", 2), ("one", 1))
    ]
    made = helper.make_graph(nodes, "half", [half_in], [half_out], constants)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(made, opset_imports=opset, ir_version=8)
    path = tmp_path / "half.onnx"
    path.write_bytes(model.SerializeToString())
    x = TensorSpec("x", "float16", ("batch", 4), "none")
    y = TensorSpec("y", "float16", ("batch", 2), "none", role=Role.EMBEDDING)
    device = BoundDevice(CPU)
    value = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    for graph in (Graph(path, (x,), (y,), CPU, 1), bound(path, x, y, device)):
        found = graph.run({"x": value})["y"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, value[:, :2].astype(np.float16).astype(np.float32))
    # a head in float32 cannot read half where it is: it gets a copy
    head = bound(write_head(tmp_path / "h.onnx"), Y, Z, device)
    tensor = graph.infer({"x": value}).on_device("y")
    assert tensor is not None
    assert tensor.dtype == "float16"
    np.testing.assert_allclose(head.run({"y": tensor})["z"], [[-0.1, 0.2, 0.5]], atol=1e-3)
    with pytest.raises(BundleFormatError, match=r"input x: is tensor\(float16\), .*float32"):
        Graph(path, (TensorSpec("x", "float32", ("batch", 4), ""),), (y,), CPU, 1)


def test_faults_are_our_errors(tmp_path: Path) -> None:
    fixed = bound(write_encoder(tmp_path / "g.onnx"), X, Y)
    with pytest.raises(InferenceError, match=r"g\.onnx failed: .*models verify"):
        fixed.run({"x": np.zeros((1, 2, 3), np.float32)})
    with pytest.raises(InferenceError, match="output y: holds NaN"):
        fixed.run({"x": np.array([[np.nan]], np.float32)})
    # and the next run is none the worse
    np.testing.assert_array_equal(fixed.run({"x": np.ones((1, 3), np.float32)})["y"], [[3, 3]])


class Refusing:
    """Makes sessions of `path`; what takes part in CUDA graphs is refused, or fails when run."""

    def __init__(self, path: Path, capturing: Path | None) -> None:
        self.path, self.capturing = path, capturing
        self.asked: list[bool] = []

    def __call__(self, capture: bool) -> Any:
        self.asked.append(capture)
        if capture and self.capturing is None:
            raise RuntimeError("This session cannot use the graph capture feature\nand more")
        path = self.capturing if capture else self.path
        return ort.new_session(str(path), CPU, 1, capture=capture)


def test_a_session_that_is_refused_cuda_graphs_runs_without(tmp_path: Path) -> None:
    create = Refusing(write_encoder(tmp_path / "g.onnx"), None)
    session = BoundSession(create, BoundDevice(CPU), (Y,))
    (tensor,) = session.prepare({"x": np.ones((1, 3), np.float32)})
    np.testing.assert_array_equal(tensor.fetch(), [[3, 3]])
    assert create.asked == [True, False]
    assert session.refusal == "This session cannot use the graph capture feature"
    assert session.path == f"bound, without CUDA graphs ({session.refusal})"


def test_a_capture_that_fails_is_given_up_and_what_was_prepared_is_kept(tmp_path: Path) -> None:
    """Here the capturing session knows no more than 5 samples."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["five"]),
        helper.make_node("ReduceSum", ["five", "axis"], ["sum"], keepdims=1),
        helper.make_node("Concat", ["sum", "sum"], ["y"], axis=1),
    ]
    constants = {"axis": np.array([1]), "shape": np.array([1, 5])}
    inputs = {"x": (TensorProto.FLOAT, ["batch", "samples"])}
    tiny.save_graph(tmp_path / "c.onnx", nodes, inputs, {"y": ["batch", 2]}, constants)
    create = Refusing(write_encoder(tmp_path / "g.onnx"), tmp_path / "c.onnx")
    session = BoundSession(create, BoundDevice(CPU), (Y,))
    session.prepare({"x": np.ones((1, 5), np.float32)})
    assert session.refusal is None
    session.prepare({"x": np.full((1, 6), 2, np.float32)})
    assert create.asked == [True, False]
    assert session.refusal is not None
    assert "Reshape" in session.refusal
    for samples in (5, 6, 7):
        (tensor,) = session.run({"x": np.full((1, samples), 3, np.float32)})
        np.testing.assert_array_equal(tensor.fetch(), [[3 * samples, 9 * samples]])
    assert len(session._prepared) == 2
    # what fails without capture, too, is an error
    with pytest.raises(Exception, match="x"):
        session.prepare({"x": np.ones((1, 1, 1), np.float32)})
