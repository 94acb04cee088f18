"""Attention as transformers writes it, in eager mode, to one MultiHeadAttention node a layer.

ONNX Runtime's own matchers know BERT's and BART's attention without a mask, or with the mask that
BERT makes of its input. Speech encoders add scores of their own to the products: a mask made from
lengths, WavLM's and AST's positions. MultiHeadAttention takes any such scores as `attention_bias`.
Its kernels are the same ones for CPU and CUDA, where it picks fused attention if the hardware has
it: docs/ContribOperators.md of microsoft/onnxruntime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.transformers.fusion_base import Fusion
from onnxruntime.transformers.onnx_model import OnnxModel

BLOCKED = -1e4
"""Added to the score of what is not to be attended to: exp(-1e4) is 0, and float16 can hold it."""

_BY_HEAD = [0, 2, 1, 3]  # [batch, time, heads, width] <-> [batch, heads, time, width]


class FuseAttention(Fusion):
    """Softmax((query @ key) * scale + bias) @ value, between its reshapes and transposes.

    Args:
        model: is changed by `apply`.
        heads: attention heads.
    """

    def __init__(self, model: OnnxModel, heads: int) -> None:
        super().__init__(model, "MultiHeadAttention", "Softmax")
        self._heads = heads
        self._full_bias: dict[str, str] = {}
        self._shapes = _shapes(model.model)

    def fuse(
        self,
        node: NodeProto,
        input_name_to_nodes: dict[str, list[NodeProto]],
        output_name_to_node: dict[str, NodeProto],
    ) -> None:
        """Replace the attention around the Softmax `node`, if it is one."""
        above, below = output_name_to_node, input_name_to_nodes
        scope = node.name.rsplit("/", 1)[0]
        scores, biases = self._scores(above.get(node.input[0]), above, scope)
        scores, scale = self._scaled(scores, above)
        product = self._reader(below, node.output[0], "MatMul")
        turned = self._reader(below, product.output[0], "Transpose") if product else None
        joined = self._reader(below, turned.output[0], "Reshape") if turned else None
        if not _is(scores, "MatMul") or joined is None or not _turns(turned, _BY_HEAD):
            return
        turned_query, query_scale = self._scaled(above.get(scores.input[0]), above)
        query = self._flat(turned_query, _BY_HEAD, above)
        key = self._key(scores.input[1], above)
        value = self._flat(above.get(product.input[1]), _BY_HEAD, above)
        if not (query and key and value):
            return
        inputs = [query, key, value]
        if biases:
            inputs += ["", "", self._bias(biases, query, scope)]
        self._add(
            helper.make_node(
                "MultiHeadAttention",
                inputs,
                [joined.output[0]],
                name=f"{scope}/MultiHeadAttention",
                domain="com.microsoft",
                num_heads=self._heads,
                scale=scale * query_scale,
            )
        )
        self.nodes_to_remove.append(joined)
        self.prune_graph = True  # Removes what nobody reads any more.

    def _scores(self, node: Any, above: dict[str, NodeProto], scope: str) -> tuple[Any, list[str]]:
        """What makes the products of query and key, and the names of what is added to them."""
        if _is(node, "Where"):
            return self._masked_scores(node, above, scope)
        if not _is(node, "Add"):
            return node, []
        for index in (0, 1):
            scores, biases = self._scores(above.get(node.input[index]), above, scope)
            if _is(self._scaled(scores, above)[0], "MatMul"):
                return scores, [*biases, node.input[1 - index]]
        return None, []

    def _masked_scores(
        self, where: NodeProto, above: dict[str, NodeProto], scope: str
    ) -> tuple[Any, list[str]]:
        """DistilBERT puts the least float where its mask, repeated to all scores, is 0."""
        repeated = above.get(where.input[0])
        repeated = above.get(repeated.input[0]) if _is(repeated, "Cast") else repeated
        if not _is(repeated, "Expand") or self.model.get_constant_value(where.input[1]) is None:
            return None, []
        for name, value in (("blocked_score", BLOCKED), ("open_score", 0.0)):
            _constant(self.model, name, np.array(value, np.float32))
        bias = f"{scope}/bias"
        inputs = [repeated.input[0], "blocked_score", "open_score"]
        self._add(helper.make_node("Where", inputs, [bias], name=bias))
        return above.get(where.input[2]), [bias]

    def _scaled(self, node: Any, above: dict[str, NodeProto]) -> tuple[Any, float]:
        """The node under a product with, or a division by, a constant; and the factor."""
        if not (_is(node, "Mul") or _is(node, "Div")):
            return node, 1.0
        factor = self.model.get_constant_value(node.input[1])
        if factor is None or np.size(factor) != 1:
            return node, 1.0
        value = float(np.asarray(factor).item())
        return above.get(node.input[0]), value if node.op_type == "Mul" else 1 / value

    @staticmethod
    def _flat(turned: Any, turn: list[int], above: dict[str, NodeProto]) -> str:
        """[batch, time, all heads side by side], of what was split into heads and turned; or ""."""
        if not _turns(turned, turn):
            return ""
        split = above.get(turned.input[0])
        return split.input[0] if _is(split, "Reshape") else ""

    def _key(self, name: str, above: dict[str, NodeProto]) -> str:
        turned = above.get(name)
        straight = self._flat(turned, [0, 2, 3, 1], above)
        if straight or not _turns(turned, [0, 1, 3, 2]):
            return straight
        return self._flat(above.get(turned.input[0]), _BY_HEAD, above)

    def _bias(self, biases: list[str], query: str, scope: str) -> str:
        """The sum of the biases, with a row for each query: the kernel repeats no row."""
        total = biases[0]
        for index, other in enumerate(biases[1:]):
            name = f"{scope}/bias_{index}"
            self._add(helper.make_node("Add", [total, other], [name], name=name))
            total = name
        if any(self._has_rows(bias) for bias in biases):
            return total
        if total not in self._full_bias:  # One for all layers that share it.
            stem = f"/attention_bias_{len(self._full_bias)}"
            one = _constant(self.model, "attention_bias_one", np.array([1], np.int64))
            shape = [one, one, f"{stem}/time", one]
            for kind, inputs, output, options in (
                ("Shape", [query], f"{stem}/time", {"start": 1, "end": 2}),
                ("Concat", shape, f"{stem}/shape", {"axis": 0}),
                ("Expand", [total, f"{stem}/shape"], f"{stem}/full", {}),
            ):
                self._add(helper.make_node(kind, inputs, [output], name=output, **options))
            self._full_bias[total] = f"{stem}/full"
        return self._full_bias[total]

    def _has_rows(self, bias: str) -> bool:
        """Whether a bias is known to differ from query to query."""
        shape = self._shapes.get(bias, [])
        return len(shape) == 4 and shape[2] != 1

    def _add(self, node: NodeProto) -> None:
        self.nodes_to_add.append(node)
        self.node_name_to_graph_name[node.name] = self.this_graph_name

    @staticmethod
    def _reader(below: dict[str, list[NodeProto]], name: str, kind: str) -> Any:
        """The one node that reads `name`, besides those that read its shape; else None.

        AST casts the probabilities to the type that they have.
        """
        readers = [node for node in below.get(name, []) if node.op_type != "Shape"]
        while len(readers) == 1 and _casts_to_float(readers[0]):
            readers = below.get(readers[0].output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Sizes of the axes by the name of the tensor, 0 for those that are free."""
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        return {}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        info.name: [axis.dim_value for axis in info.type.tensor_type.shape.dim]
        for info in inferred.value_info
    }


def _is(node: Any, kind: str) -> bool:
    return node is not None and node.op_type == kind


def _casts_to_float(node: NodeProto) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT


def _turns(node: Any, axes: list[int]) -> bool:
    return _is(node, "Transpose") and list(node.attribute[0].ints) == axes


def _constant(model: OnnxModel, name: str, value: NDArray[Any]) -> str:
    if model.get_initializer(name) is None:
        model.add_initializer(numpy_helper.from_array(value, name))
    return name
