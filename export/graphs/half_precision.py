"""A graph in half precision, with islands of float32 where half would be wrong or not run.

Not `onnxruntime.transformers.float16`: between two nodes that are to stay in float32 it casts to
half and back. Lengths are such values (65,504 samples are 4 s, what is longer becomes infinite),
and so are sums of squares. Here a tensor is cast where it crosses a border, once.

Half are the layers that cost something (products of matrices, convolutions, attention, tables of
embeddings) and what follows from them. float32 stay: inputs and outputs; what only prepares the
waveform, or counts (whatever no layer comes before); sums over time and all after them that leads
to no further layer; names under the given scopes; and convolutions with groups: cuDNN on Hopper
has no half kernel for the positional convolution of wav2vec 2.0 (128 wide, 16 groups).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .fuse_attention import BLOCKED

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)

_LAYERS = {"Conv", "MatMul", "Gemm", "MultiHeadAttention", "Attention"}
# Sums and powers leave what half can hold.
_EXACT = {"Cast", "ReduceSum", "ReduceMean", "ReduceL2", "Pow", "Sqrt", "Exp", "Log", "CumSum"}
_ANY_TYPE = {"Shape", "Size", "Cast"}
_BOOL = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or", "Xor"}


@dataclass(frozen=True, slots=True)
class HalfCounts:
    """What became of the nodes.

    Attributes:
        half: nodes that compute in float16.
        casts: nodes between float16 and float32 that were added.
    """

    half: int
    casts: int


def to_half(model: onnx.ModelProto, float32_scopes: Iterable[str] = ()) -> HalfCounts:
    """Convert a float32 model in place.

    Args:
        model: without functions or subgraphs.
        float32_scopes: prefixes of node names that stay in float32.
    """
    graph = model.graph
    name_nodes(graph)
    del graph.value_info[:]
    _soften_masks(graph)
    types = tensor_types(graph)
    half = _half_nodes(graph, types, tuple(float32_scopes))
    borders = _Borders(graph, types, half)
    borders.rewrite()
    return HalfCounts(len(half), len(borders.casts))


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give a name to nodes that have none."""
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def _soften_masks(graph: onnx.GraphProto) -> None:
    """Numbers that stand for "never" must be finite in half, where a sum of two is not."""
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT and not tensor.dims:
            value = numpy_helper.to_array(tensor)
            if value < -LARGEST:
                tensor.CopyFrom(numpy_helper.from_array(np.array(BLOCKED, np.float32), tensor.name))


def tensor_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Element types by name. ONNX's own inference stops at operators of other domains."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {info.name: info.type.tensor_type.elem_type for info in graph.input}
    for node in graph.node:
        kind = _output_type(node, types)
        types |= dict.fromkeys((name for name in node.output if name), kind)
    return types


def _output_type(node: NodeProto, types: Mapping[str, int]) -> int:
    values = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Cast":
        return int(values["to"].i)
    if node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
        return TensorProto.INT64
    if node.op_type in _BOOL:
        return TensorProto.BOOL
    if node.op_type == "Constant":
        return int(values["value"].t.data_type)
    if node.op_type == "ConstantOfShape":
        return int(values["value"].t.data_type) if "value" in values else FLOAT
    return types[node.input[1 if node.op_type == "Where" else 0]]


def _half_nodes(
    graph: onnx.GraphProto, types: Mapping[str, int], scopes: tuple[str, ...]
) -> set[str]:
    """Names of the nodes that compute in half; the nodes are in topological order."""
    constants = {tensor.name for tensor in graph.initializer}
    pooled = after_pooling(graph)
    half_tensors: set[str] = set()
    half: set[str] = set()
    for node in graph.node:
        if (
            types.get(node.output[0]) != FLOAT
            or node.name in pooled
            or node.op_type in _EXACT
            or node.name.startswith(scopes)
            or has_groups(node)
        ):
            continue
        embedding = node.op_type == "Gather" and node.input[0] in constants
        if node.op_type in _LAYERS or embedding or not half_tensors.isdisjoint(node.input):
            half.add(node.name)
            half_tensors.update(node.output)
    return half


def after_pooling(graph: onnx.GraphProto) -> set[str]:
    """Names of the sums over time, and what comes after, that lead to no further layer: heads."""
    leads_to_layer = _leading_to(graph, {"Conv", "MultiHeadAttention", "Attention", "Softmax"})
    pooled: set[str] = set()
    names: set[str] = set()
    for node in graph.node:
        after = node.op_type.startswith("Reduce") or not pooled.isdisjoint(node.input)
        if after and node.name not in leads_to_layer:
            pooled.update(node.output)
            names.add(node.name)
    return names


def _leading_to(graph: onnx.GraphProto, kinds: set[str]) -> set[str]:
    """Names of the nodes that some node of these kinds depends on."""
    wanted: set[str] = set()
    names: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in kinds or not wanted.isdisjoint(node.output):
            names.add(node.name)
            wanted.update(node.input)
    return names


def has_groups(node: NodeProto) -> bool:
    """Whether a node is a convolution in groups."""
    return node.op_type == "Conv" and any(
        attribute.name == "group" and attribute.i > 1 for attribute in node.attribute
    )


@dataclass(slots=True)
class _Borders:
    """The graph being rewritten: every tensor in the type that its reader needs."""

    graph: onnx.GraphProto
    types: Mapping[str, int]
    half: set[str]
    casts: dict[str, NodeProto] = field(default_factory=dict)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    half_constants: dict[str, TensorProto] = field(default_factory=dict)
    is_half: set[str] = field(default_factory=set)

    def rewrite(self) -> None:
        """Change the nodes, the constants and the outputs."""
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.is_half = {
            name for node in self.graph.node if node.name in self.half for name in node.output
        }
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                if self.types.get(name) == FLOAT and node.op_type not in _ANY_TYPE:
                    node.input[index] = self._in_type(name, node.name in self.half, nodes)
            nodes.append(node)
        self._restore_outputs(nodes)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in self.constants.values() if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend([*kept, *self.half_constants.values()])

    def _in_type(self, name: str, half: bool, nodes: list[NodeProto]) -> str:
        if name in self.constants:
            return self._half_constant(name) if half else name
        if (name in self.is_half) == half:
            return name
        return self._cast(name, f"{name}_{'half' if half else 'float'}", half, nodes)

    def _cast(self, name: str, new: str, half: bool, nodes: list[NodeProto]) -> str:
        if new not in self.casts:
            to = HALF if half else FLOAT
            self.casts[new] = helper.make_node("Cast", [name], [new], name=f"{new}_cast", to=to)
            nodes.append(self.casts[new])
        return new

    def _half_constant(self, name: str) -> str:
        new = f"{name}_half"
        if new not in self.half_constants:
            value = numpy_helper.to_array(self.constants[name])
            value = np.clip(value, -LARGEST, LARGEST).astype(np.float16)
            self.half_constants[new] = numpy_helper.from_array(value, new)
        return new

    def _restore_outputs(self, nodes: list[NodeProto]) -> None:
        """Outputs keep their names and stay float32."""
        for output in self.graph.output:
            name = output.name
            if name not in self.is_half:
                continue
            inner = f"{name}_inner"
            for node in nodes:
                for names in (node.input, node.output):
                    for index, each in enumerate(names):
                        if each == name:
                            names[index] = inner
            self._cast(inner, name, False, nodes)
