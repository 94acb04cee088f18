"""A module to ONNX: free axes, named outputs, nothing of the exporting machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum.exporters", reason="optimum is not installed")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from transformers import HubertConfig, PretrainedConfig, WhisperConfig  # noqa: E402

from realtime_ser_export.graphs import export_graph  # noqa: E402
from realtime_ser_export.graphs.export_graph import GraphInterface  # noqa: E402


class SumAndMean(torch.nn.Module):
    """Two outputs, one of which takes a Python number from a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, values: Any, counts: Any) -> Any:
        total = (values * self.scale).sum(1, keepdim=True)
        return total + values.shape[1], total / counts[:, None]


INTERFACE = GraphInterface(
    inputs={"values": {0: "batch", 1: "time"}, "counts": {0: "batch"}},
    outputs={"sum": {0: "batch"}, "mean": {0: "batch"}},
    example={"values": torch.ones(2, 5), "counts": torch.tensor([5, 3])},
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    nodes = export_graph.export_graph(SumAndMean(), PretrainedConfig(), INTERFACE, path)
    assert nodes == len(onnx.load(str(path)).graph.node)
    return path


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 5), (2, 17)])
def test_no_size_is_baked_in(exported: Path, batch: int, time: int) -> None:
    session = onnxruntime.InferenceSession(str(exported))
    values = np.random.default_rng(0).normal(size=(batch, time)).astype(np.float32)
    counts = np.full(batch, 2, np.int64)
    total, mean = session.run(["sum", "mean"], {"values": values, "counts": counts})
    expected = 2 * values.sum(1, keepdims=True)
    np.testing.assert_allclose(total, expected + time, rtol=1e-5)
    np.testing.assert_allclose(mean, expected / 2, rtol=1e-5, atol=1e-6)


def test_axes_have_the_names_they_were_given(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported))
    assert [(each.name, each.shape) for each in session.get_inputs()] == [
        ("values", ["batch", "time"]),
        ("counts", ["batch"]),
    ]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [
        ("sum", ["batch", 1]),
        ("mean", ["batch", 1]),
    ]


def test_nothing_of_the_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    for trace in (b".py", str(Path.cwd()).encode(), str(exported.parent).encode()):
        assert trace not in content
    opsets = {each.domain: each.version for each in onnx.load(str(exported)).opset_import}
    assert opsets[""] == export_graph.OPSET >= 17


def test_the_patches_are_those_of_the_architecture() -> None:
    from optimum.exporters.onnx.model_configs import HubertOnnxConfig
    from optimum.exporters.onnx.model_patcher import ModelPatcher

    assert export_graph._patcher(HubertConfig()) is HubertOnnxConfig._MODEL_PATCHER
    # Half of an encoder-decoder, or nothing that optimum knows.
    assert export_graph._patcher(WhisperConfig()) is ModelPatcher
    assert export_graph._patcher(PretrainedConfig()) is ModelPatcher
