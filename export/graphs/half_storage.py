"""Weights kept on disk in half precision, computed with in float32.

A small model's file is its weights. ONNX Runtime folds a cast of a constant when it loads a graph,
so storing halves costs nothing at run time and needs no half arithmetic, which a CPU does not have.
Only weights that a half holds exactly are touched: rounding is for the network to do, before it is
measured and compared with its graph, never for the file format behind its back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from torch import nn

_FEWEST_VALUES = 256
"""Below, the node that casts takes more room than the halves save."""

_SUFFIX = "_stored_in_half"


def round_to_half(module: nn.Module) -> None:
    """Round the parameters of a torch module, in place, to what float16 holds.

    Values below 6e-8 become 0; above 65,504 nothing is rounded, for it would become infinite.
    """
    import torch

    with torch.no_grad():
        for parameter in module.parameters():
            rounded = parameter.half().float()
            parameter.copy_(torch.where(torch.isfinite(rounded), rounded, parameter))


def store_exact_halves(path: Path) -> int:
    """Store the float32 constants of a graph as float16 where that changes no bit of any value.

    Returns:
        how many constants are stored in half.
    """
    model = onnx.load(path)
    casts, stored = [], 0
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _FEWEST_VALUES:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halves, name + _SUFFIX))
        casts.append(
            helper.make_node(
                "Cast", [name + _SUFFIX], [name], name=name + "_cast", to=TensorProto.FLOAT
            )
        )
        stored += 1
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return stored
