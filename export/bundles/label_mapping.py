"""From the labels of a model to those of a bundle, inside the ONNX graph.

A recipe says for each label of a model which label of the bundle it is, or that it is dropped. If
every label of the model is exactly one of the bundle's, nothing is computed: the columns keep the
graph's order and only get the bundle's names. Otherwise two things are appended to the graph:

- several labels that are one in the bundle: the log of the sum of the exponentials of their logits,
  so that the softmax gives the sum of their probabilities
- a dropped label is left out before the softmax, so that the others share its probability in
  proportion

Both hold exactly at temperature 1, which is what the model was trained with; another temperature
then scales the grouped logits. Outputs are float32 whatever the precision of the graph (see
`encoder_folder`), and so are these few nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import ExportError


@dataclass(frozen=True, slots=True)
class LabelMapping:
    """How the columns of a model's logits become those of the bundle.

    Attributes:
        labels: what each resulting column stands for, in order.
        columns: for each of them, the columns of the model that it is made of; one or more.
        model_width: how many columns the model has; those in no group are dropped.
    """

    labels: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    model_width: int

    @property
    def renames_only(self) -> bool:
        """Whether the logits stay as they are."""
        return self.columns == tuple((column,) for column in range(self.model_width))

    def apply(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """What the graph computes after `append_mapping`, in numpy: [batch, labels]."""
        wide = logits.astype(np.float64)
        parts = [np.logaddexp.reduce(wide[:, list(group)], axis=1) for group in self.columns]
        return np.stack(parts, axis=1)


def map_labels(
    model_labels: Sequence[str],
    bundle_labels: Sequence[str],
    mapping: Mapping[str, str],
    dropped: Sequence[str],
    model: str,
    *,
    in_bundle_order: bool = False,
) -> LabelMapping:
    """Work out the mapping of one model.

    Args:
        model_labels: the model's own, in the order of its columns.
        bundle_labels: those of the bundle, in its order.
        mapping: label of the model to label of the bundle.
        dropped: labels of the model that the bundle has none for.
        model: names it in messages.
        in_bundle_order: sort the columns even where naming them would do, for whoever takes them
            without reading `bundle.json`: a fusion head.

    Raises:
        ExportError: a label of the model is neither mapped nor dropped or both, a label is mapped
            that the model does not have, or a label of the bundle gets nothing.
    """
    has = f"{model} has the labels {', '.join(model_labels)}"
    unmapped = [own for own in model_labels if (own in mapping) == (own in dropped)]
    if unmapped:
        raise ExportError(
            f"{has}; the recipe must either map or drop {', '.join(unmapped)}: write which label "
            f"of the bundle it is ({', '.join(bundle_labels)}), or add it to dropped"
        )
    strange = [own for own in (*mapping, *dropped) if own not in model_labels]
    if strange:
        raise ExportError(f"{has}; the recipe speaks of {', '.join(strange)}: correct the recipe")
    groups = [
        tuple(i for i, own in enumerate(model_labels) if mapping.get(own) == label)
        for label in bundle_labels
    ]
    empty = [label for label, group in zip(bundle_labels, groups, strict=True) if not group]
    if empty:
        raise ExportError(
            f"{has}; none is mapped to {', '.join(empty)}, which it would so never answer: map one "
            "to it, or take the label out of the bundle"
        )
    if len(model_labels) == len(bundle_labels) and not in_bundle_order:
        # One to one: the graph keeps its own order, which bundle.json states.
        names = tuple(mapping[own] for own in model_labels)
        return LabelMapping(names, tuple((column,) for column in range(len(names))), len(names))
    return LabelMapping(tuple(bundle_labels), tuple(groups), len(model_labels))


def append_mapping(model: onnx.ModelProto, output: str, mapping: LabelMapping) -> None:
    """Let the graph's `output`, float32 [batch, model labels], be that of the bundle.

    Changes `model`; the output keeps its name.
    """
    if mapping.renames_only:
        return
    graph = model.graph
    own = rename_output(graph, output)
    constants = [np.array(group, np.int64) for group in mapping.columns]
    pieces = []
    for index, columns in enumerate(constants):
        prefix = f"{output}_label{index}"
        graph.initializer.append(numpy_helper.from_array(columns, f"{prefix}_columns"))
        piece = f"{prefix}_picked"
        graph.node.append(
            helper.make_node("Gather", [own, f"{prefix}_columns"], [piece], prefix, axis=1)
        )
        if len(columns) > 1:
            graph.node.append(_log_sum_exp(model, piece, f"{prefix}_joined"))
            piece = f"{prefix}_joined"
        pieces.append(piece)
    graph.node.append(helper.make_node("Concat", pieces, [output], f"{output}_labels", axis=1))
    shape = next(value for value in graph.output if value.name == output).type.tensor_type.shape
    shape.dim[1].dim_value = len(mapping.labels)


def use_as_embedding(model: onnx.ModelProto, output: str, embedding: str) -> None:
    """Add an output `embedding` that is the same as `output`, for fusion heads that take logits.

    Takes the place of the one of that name, if there is one. Changes `model`.
    """
    graph = model.graph
    kept = [value for value in graph.output if value.name != embedding]
    if len(kept) < len(graph.output):
        rename_output(graph, embedding)
        del graph.output[:]
        graph.output.extend(kept)
    graph.node.append(helper.make_node("Identity", [output], [embedding], f"{embedding}_copy"))
    copied = onnx.ValueInfoProto()
    copied.CopyFrom(next(value for value in kept if value.name == output))
    copied.name = embedding
    graph.output.append(copied)


def widen_embedding(model: onnx.ModelProto, embedding: str, others: Sequence[str]) -> None:
    """Let the output `embedding` be itself and other outputs side by side, for fusion heads.

    All are [batch, width] in float32. Changes `model`; the output keeps its name.
    """
    graph = model.graph
    own = rename_output(graph, embedding)
    graph.node.append(
        helper.make_node("Concat", [own, *others], [embedding], f"{embedding}_with_outputs", axis=1)
    )
    shapes = {
        value.name: value.type.tensor_type.shape
        for value in graph.output
        if value.name in (embedding, *others)
    }
    shapes[embedding].dim[1].dim_value = sum(shape.dim[1].dim_value for shape in shapes.values())


def rename_output(graph: onnx.GraphProto, output: str) -> str:
    """Give the tensor behind a graph output another name, wherever it is used; returns that."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    renamed = f"{output}_of_the_model"
    while renamed in taken:
        renamed += "_"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == output:
                    names[index] = renamed
    return renamed


def _log_sum_exp(model: onnx.ModelProto, source: str, result: str) -> onnx.NodeProto:
    """Over the second axis, kept; numerically safe in ONNX Runtime: the maximum goes out first."""
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < 18:
        # The axes were an attribute up to there.
        return helper.make_node("ReduceLogSumExp", [source], [result], result, axes=[1], keepdims=1)
    axes = "label_axes"
    if all(each.name != axes for each in model.graph.initializer):
        model.graph.initializer.append(helper.make_tensor(axes, TensorProto.INT64, [1], [1]))
    return helper.make_node("ReduceLogSumExp", [source, axes], [result], result, keepdims=1)
