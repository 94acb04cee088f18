"""Fewer, larger nodes: what ONNX Runtime does not fuse by itself when it loads a graph.

ONNX Runtime fuses GELU, layer normalisation with its residual sum, and biases at load, whatever
the file looks like: doing that in the file too changed no time (HuBERT-base, 1 thread). Attention
with scores added to it stays in a dozen nodes; it is fused here, with the toolkit of ONNX
Runtime's transformer optimizer and a matcher of ours. GELU is fused as well, as in half
precision each of its five steps would round. Nothing here depends on the hardware.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from realtime_ser.errors import RealtimeSERError

from ..errors import ExportError
from .parity import check
from .served import serve

_CONTRIB = "com.microsoft"
# Between two forms of one graph in float32; the original model has a tolerance of its own.
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Nodes of a graph; constants, which do nothing, are not counted.

    Attributes:
        attention: how many layers of attention became one node.
    """

    before: int
    after: int
    attention: int


def optimise(path: Path, config: Any, out: Path | None = None) -> NodeCounts:
    """Fuse what can be fused, in place or into `out`.

    Args:
        path: an exported graph, in float32.
        config: the transformers configuration, for the number of heads.
        out: where to write, if not over `path`.

    A graph without attention that is known is written with its constants tidied up alone.
    """
    from onnxruntime.transformers.fusion_gelu import FusionGelu
    from onnxruntime.transformers.onnx_model import OnnxModel

    from .fuse_attention import FuseAttention

    model = OnnxModel(onnx.load(str(path)))
    before = sum(node.op_type != "Constant" for node in model.nodes())
    _constants_to_initializers(model.model.graph)
    attention = FuseAttention(model, _heads(config))
    attention.apply()
    FusionGelu(model).apply()
    model.prune_graph()
    model.topological_sort()
    if not any(each.domain == _CONTRIB for each in model.model.opset_import):
        model.model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    save(model.model, out or path)
    return NodeCounts(before, len(model.nodes()), len(_of_type(model, "MultiHeadAttention")))


def optimise_folder(folder: Path, part: Mapping[str, Any], config: Any) -> NodeCounts:
    """Optimise the graph of an encoder folder that is being written.

    The result stays only if ONNX Runtime, as served, gives the same answers with it: otherwise
    the graph is left as it was, and stderr says so.
    """
    path = folder / part["file"]
    candidate = path.with_name("optimised.onnx")
    counts = optimise(path, config, candidate)
    original = serve(path, part).expert
    try:
        report = check(candidate, part, lambda each: original.run([each]), "fast", _TOLERANCE)
        report.require("the optimised graph")
    except (ExportError, RealtimeSERError) as error:
        print(f"the graph stays as exported: {error}", file=sys.stderr)
        for each in folder.glob(f"{candidate.name}*"):
            each.unlink()
        return NodeCounts(counts.before, counts.before, 0)
    # The data file is named inside the graph, so it is written anew rather than renamed.
    save(onnx.load(str(candidate)), path)
    for each in folder.glob(f"{candidate.name}*"):
        each.unlink()
    return counts


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; above 2 GB, the limit of protobuf, with its weights in `path` + "_data"."""
    data = path.with_name(path.name + "_data")
    data.unlink(missing_ok=True)
    if model.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF:
        onnx.save(model, str(path))
    else:
        onnx.save(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=data.name,
        )


def _heads(config: Any) -> int:
    # transformers maps it to each architecture's own name for it; optimise needs nothing else.
    return int(getattr(config, "num_attention_heads", 0) or 0)


def _of_type(model: Any, kind: str) -> list[onnx.NodeProto]:
    found: list[onnx.NodeProto] = model.get_nodes_by_op_type(kind)
    return found


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """The exporter writes each small constant as a node; the toolkit looks for initializers."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = copy.deepcopy(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
