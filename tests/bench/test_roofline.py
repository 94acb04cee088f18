"""Counted arithmetic and measured limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from realtime_ser.bench.encoders import EncoderPlan, bench_encoders
from realtime_ser.bench.roofline import (
    MATRIX_PRODUCT,
    NEGATION,
    Limits,
    count_gflop,
    measure_limits,
)
from realtime_ser.config import Settings
from realtime_ser.models.ort import choose_provider


def graph(nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> bytes:
    def described(values: dict[str, list[Any]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in values.items()
        ]

    made = helper.make_graph(nodes, "g", described(inputs), described(outputs))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_the_written_out_graphs_are_what_they_say() -> None:
    square = ["n", "n"]
    product = helper.make_node("MatMul", ["x", "y"], ["z"])
    assert graph([product], {"x": square, "y": square}, {"z": square}) == MATRIX_PRODUCT
    negation = helper.make_node("Neg", ["x"], ["z"])
    assert graph([negation], {"x": ["n"]}, {"z": ["n"]}) == NEGATION


def counted(tmp_path: Path, content: bytes, **feeds: tuple[int, ...]) -> float | None:
    path = tmp_path / "g.onnx"
    path.write_bytes(content)
    return count_gflop(path, {name: np.ones(shape, np.float32) for name, shape in feeds.items()})


def test_arithmetic_is_counted_by_hand(tmp_path: Path) -> None:
    node = helper.make_node
    product = graph(
        [node("MatMul", ["x", "y"], ["z"])],
        {"x": [2, 3, 5], "y": [5, 7]},
        {"z": [2, 3, 7]},
    )
    assert counted(tmp_path, product, x=(2, 3, 5), y=(5, 7)) == 2 * 2 * 3 * 5 * 7 / 1e9
    convolution = graph(
        [node("Conv", ["x", "w"], ["z"], group=2, pads=[1, 1])],
        {"x": [1, 4, 10], "w": [6, 2, 3]},
        {"z": [1, 6, 10]},
    )
    assert counted(tmp_path, convolution, x=(1, 4, 10), w=(6, 2, 3)) == 2 * 60 * 2 * 3 / 1e9
    gemm = graph(
        [node("Gemm", ["x", "w"], ["z"], transB=1)], {"x": [3, 5], "w": [7, 5]}, {"z": [3, 7]}
    )
    assert counted(tmp_path, gemm, x=(3, 5), w=(7, 5)) == 2 * 3 * 5 * 7 / 1e9
    recurrent = graph(
        [node("GRU", ["x", "w", "r"], ["z"], hidden_size=4)],
        {"x": [6, 2, 3], "w": [1, 12, 3], "r": [1, 12, 4]},
        {"z": [6, 1, 2, 4]},
    )
    wanted = 2 * 6 * 2 * (12 * 3 + 12 * 4) / 1e9
    assert counted(tmp_path, recurrent, x=(6, 2, 3), w=(1, 12, 3), r=(1, 12, 4)) == wanted
    addition = graph([node("Add", ["x", "x"], ["z"])], {"x": [4]}, {"z": [4]})
    assert counted(tmp_path, addition, x=(4,)) is None


def test_the_roof_is_the_lower_of_the_two() -> None:
    limits = Limits(gflops=100, gigabytes_per_s=10)
    assert limits.least_ms(1, 0.001) == 10
    assert limits.least_ms(0.01, 0.1) == 10


def test_limits_are_those_of_a_machine() -> None:
    limits = measure_limits(choose_provider("cpu"), threads=1)
    assert 0.1 < limits.gflops < 100_000
    assert 0.1 < limits.gigabytes_per_s < 10_000


def test_encoders_have_a_row_for_each_part(small_bundle: Path) -> None:
    plan = EncoderPlan((str(small_bundle),), (0.5, 1.0), (1, 2), runs=2)
    result = bench_encoders(Settings(threads=1), plan)
    names = [row["model"] for row in result["rows"]]
    assert len(names) == len(set(names)) >= 1
    for row in result["rows"]:
        for each in row["times"]:
            assert each["ms"] > 0
            assert each["roofline"] is None or each["roofline"] > 0
        assert [each["batch"] for each in row["times"]][-1] == 2
