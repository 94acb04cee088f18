"""Weights, and the products that they are in, in 8 bits: for CPUs.

By `onnxruntime.quantization`. Dynamic: products of matrices, their inputs scaled anew at each run.
Static: the same, inputs scaled by what calibration saw; on demand convolutions too. Those are half
of the time of a wav2vec 2.0 encoder, but their inputs, GELU of unnormalised features, have a long
tail: of HuBERT-base with random weights the error was as large as what tells utterances apart
(1.01 times; 0.65 with percentile calibration at 99.99, which needs recordings of one length and
three times as long), without them 0.19 (dynamic: 0.17). Activations are unsigned and
weights signed, one scale for each column or channel: what VNNI instructions multiply without
overflow. On processors without them signed-by-unsigned products may saturate; there the parity
of the graph, measured on the machine that quantises, does not speak for the machine that serves.

Left in float32: attention, normalisations, everything under the given scopes, convolutions with
groups and those over the bare waveform (one channel, of a range that a mean of 256 steps does not
do justice), and the heads after pooling, which cost nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray

from .half_precision import after_pooling, has_groups, name_nodes, tensor_types
from .optimise_graph import save

Feeds = Mapping[str, NDArray[Any]]


def quantize_dynamic(path: Path, out: Path, float32_scopes: Iterable[str]) -> None:
    """Products with weights in 8 bits, their inputs scaled at each run."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _prepared(path) as (prepared, model, target), _quiet():
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_excluded(model.graph, float32_scopes),
            use_external_data_format=_is_large(model),
            extra_options={"MatMulConstBOnly": True},
        )
        save(onnx.load(str(target)), out)


def quantize_static(
    path: Path,
    out: Path,
    float32_scopes: Iterable[str],
    calibration: Iterable[Feeds],
    *,
    convolutions: bool,
) -> None:
    """Products, and perhaps convolutions, their inputs scaled by what `calibration` shows."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(calibration)

        def get_next(self) -> Any:
            return next(self._feeds, None)

    with _prepared(path) as (prepared, model, target), _quiet():
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm", *(["Conv"] if convolutions else [])],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_excluded(model.graph, float32_scopes),
            use_external_data_format=_is_large(model),
            calibrate_method=CalibrationMethod.MinMax,
            # A product goes back to float32 at once: nothing that follows one is in 8 bits.
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
            },
        )
        save(onnx.load(str(target)), out)


@contextmanager
def _prepared(path: Path) -> Iterator[tuple[Path, onnx.ModelProto, Path]]:
    """The graph with every node named and every tensor typed, and a place for the result.

    The quantiser leaves alone, without a word, what it does not know the type of: all that comes
    after an operator of ONNX Runtime's own, such as fused attention.
    """
    model = onnx.load(str(path))
    name_nodes(model.graph)
    del model.graph.value_info[:]
    outputs = {output.name for output in model.graph.output}
    types = tensor_types(model.graph)
    for node in model.graph.node:
        for name in node.output:
            if name and name not in outputs:
                info = model.graph.value_info.add()
                info.name = name
                info.type.tensor_type.elem_type = types[name]
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        save(model, prepared)
        yield prepared, model, Path(folder) / "quantized.onnx"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to preprocess, given at every run, by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _is_large(model: onnx.ModelProto) -> bool:
    return bool(model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF)


def _excluded(graph: onnx.GraphProto, scopes: Iterable[str]) -> list[str]:
    channels = {tensor.name: tensor.dims[1] for tensor in graph.initializer if len(tensor.dims) > 2}
    pooled = after_pooling(graph)
    return [
        node.name
        for node in graph.node
        if node.name.startswith(tuple(scopes))
        or node.name in pooled
        or has_groups(node)
        or (node.op_type == "Conv" and channels.get(node.input[1]) == 1)
    ]
