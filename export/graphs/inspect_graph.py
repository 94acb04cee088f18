"""What a bundle, an encoder folder or an ONNX file holds, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, helper

from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.bundle_description import Part
from realtime_ser.models.bundle_files import DESCRIPTION_FILE
from realtime_ser.models.describe import describe, format_bytes

from ..encoder_folder import GRAPH_FILE, RECORD_FILE, EncoderRecord, read_record
from ..errors import ExportError
from .cuda_kernels import operators_on_cpu

_LEFT = 14
_Row = tuple[str, str]


def inspect(path: Path) -> str:
    """Several lines, none at the end.

    Raises:
        ExportError: there is nothing at `path` that can be inspected.
        BundleError: the bundle is damaged.
    """
    if (path / DESCRIPTION_FILE).is_file():
        bundle = load_bundle(path)
        graphs = [
            _show(f"graph {part.name}", [*_labels(part), *graph_rows(bundle.file(part.file))])
            for part in bundle.description.parts
        ]
        return "\n\n".join([describe(bundle), *graphs])
    if (path / RECORD_FILE).is_file():
        record = read_record(path)
        return _show(
            f"encoder {path.name}", [*_record_rows(record), *graph_rows(path / GRAPH_FILE)]
        )
    if path.is_file():
        return _show(f"graph {path.name}", graph_rows(path))
    raise ExportError(
        f"{path} is no bundle ({DESCRIPTION_FILE}), no encoder folder ({RECORD_FILE}) and no ONNX "
        "file; give one of these"
    )


def graph_rows(path: Path) -> Iterator[_Row]:
    """Name and text of each fact about one graph.

    Raises:
        ExportError: it is no ONNX file.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        nodes = list(_nodes(model.graph))
        opsets = ", ".join(f"{each.domain or 'onnx'} {each.version}" for each in model.opset_import)
    except Exception as error:  # protobuf's DecodeError is not exported by onnx.
        raise ExportError(f"{path} is no ONNX graph ({error}); export the model again") from error
    weights = {each.name for each in model.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in weights]
    yield from _listed("inputs", [_tensor(value) for value in fed])
    yield from _listed("outputs", [_tensor(value) for value in model.graph.output])
    yield "opset", f"{opsets}; IR {model.ir_version}; {model.producer_name or 'producer unknown'}"
    counts = Counter(node.op_type for node in nodes)
    sizes = _weights(model.graph)
    files = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    yield "size", f"{format_bytes(files)}, {sum(sizes.values()):,} values"
    yield "weights", _precision(sizes, counts)
    yield "operators", f"{len(nodes):,}: {_counted(counts)}"
    yield "on CUDA", _on_cuda(path, nodes, counts)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of the branches and bodies inside too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _weights(graph: onnx.GraphProto) -> Counter[str]:
    """How many values of each type the graph holds."""
    sizes: Counter[str] = Counter()
    constants = [
        attribute.t
        for node in _nodes(graph)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR
    ]
    for tensor in (*graph.initializer, *constants):
        sizes[TensorProto.DataType.Name(tensor.data_type).lower()] += math.prod(tensor.dims)
    return sizes


def _precision(sizes: Mapping[str, int], counts: Mapping[str, int]) -> str:
    total = sum(sizes.values()) or 1
    shares = ", ".join(
        f"{name.replace('float', 'float32') if name == 'float' else name} {size / total:.0%}"
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
        if size / total >= 0.005
    )
    if counts.get("DynamicQuantizeLinear") or counts.get("DynamicQuantizeMatMul"):
        return f"{shares}; activations quantised to 8 bits as they come (dynamic): for CPU"
    if counts.get("QuantizeLinear"):
        return f"{shares}; activations quantised to 8 bits on a fixed scale (static)"
    if sizes.get("float16"):
        return f"{shares}; half precision, with islands in float32"
    return shares or "no weights"


def _on_cuda(path: Path, nodes: list[onnx.NodeProto], counts: Mapping[str, int]) -> str:
    on_cpu = operators_on_cpu(path, nodes)
    if not on_cpu.operators:
        return f"every operator has a kernel ({on_cpu.source})"
    held = f"{_counted(on_cpu.operators)} would stay on the CPU ({on_cpu.source})"
    return f"for CPU: {held}" if counts.get("DynamicQuantizeLinear") else held


def _counted(counts: Counter[str] | Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in Counter(counts).most_common())


def _tensor(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    axes = [
        axis.dim_param or (str(axis.dim_value) if axis.HasField("dim_value") else "?")
        for axis in tensor.shape.dim
    ]
    return f"{value.name}: {dtype} [{', '.join(axes)}]"


def _labels(part: Part) -> Iterator[_Row]:
    for output in part.outputs:
        if output.labels:
            span = f", {output.range[0]:g} to {output.range[1]:g}" if output.range else ""
            yield "labels", f"{output.name}: {', '.join(output.labels)}{span}"


def _record_rows(record: EncoderRecord) -> Iterator[_Row]:
    source, part = record.source, record.part
    revision = f" at {source.revision}" if source.revision else ""
    yield "modality", record.modality
    yield "model", f"{source.model}{revision}; {source.architecture} ({source.family})"
    yield "licence", f"{source.licence or 'not stated by the model'} (the weights)"
    yield "precision", record.precision
    yield "parameters", f"{part['parameters']:,}"
    for output in part["outputs"]:
        if output.get("labels"):
            yield "labels", f"{output['name']}: {', '.join(output['labels'])}"
    if "batching" in part:
        lengths = "any lengths" if part["batching"] == "masked" else "equal lengths only"
        yield "batching", f"{part['batching']}: {lengths} in a batch"
    if "max_tokens" in part:
        yield "tokens", f"at most {part['max_tokens']}"
    yield "nodes", ", ".join(f"{stage} {count:,}" for stage, count in record.nodes.items())
    yield "made with", ", ".join(f"{name} {each}" for name, each in record.versions.items())
    yield from _listed("parity", _parity(record))
    yield from _listed("speed", [_facts(row) for row in record.speed])


def _parity(record: EncoderRecord) -> list[str]:
    """All cases in a line for each output; `realtime-ser-export parity` shows every one."""
    from .parity import EVERYTHING  # Draws in a library for sound, of no use to graphs.

    together = [row for row in record.parity if row.get("case") == EVERYTHING]
    failed = sum(not row.get("passed") for row in record.parity)
    verdict = f"{failed} FAILED" if failed else "all passed"
    return [f"{_facts(row)} ({len(record.parity)} rows, {verdict})" for row in together]


def _facts(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
        if value is not None and key not in ("case", "passed")
    )


def _listed(name: str, lines: list[str]) -> list[_Row]:
    """Rows of which only the first has a name."""
    return [(name if index == 0 else "", line) for index, line in enumerate(lines or ["none"])]


def _show(title: str, rows: Any) -> str:
    return "\n".join([title, *(f"  {name:<{_LEFT}}{text}".rstrip() for name, text in rows)])
