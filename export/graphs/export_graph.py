"""torch to ONNX through optimum, for any module that takes and gives named tensors.

optimum knows, for every architecture, what must be patched in transformers so that tracing bakes
nothing in; its own graphs, though, take preprocessed features and give every hidden state. So the
module is ours, from raw input to pooled output, and the patches are optimum's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx.base import OnnxConfig
from optimum.exporters.onnx.convert import export_pytorch
from optimum.exporters.onnx.model_patcher import ModelPatcher
from optimum.exporters.tasks import TasksManager
from optimum.utils import NormalizedConfig
from torch import Tensor, nn

from .graph_metadata import forget_the_exporting_machine

OPSET = 17

Axes = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class GraphInterface:
    """What goes in and out of a graph.

    Attributes:
        inputs, outputs: names in order, each with the names of its free axes by index.
        example: one tensor for each input, of more than one row and of odd sizes: a size that
            was baked in shows at the first other one.
    """

    inputs: Axes
    outputs: Axes
    example: Mapping[str, Tensor]


def export_graph(
    module: nn.Module, config: Any, interface: GraphInterface, path: Path, opset: int = OPSET
) -> int:
    """Write `module` to `path` as ONNX; weights above 2 GB go to `path` + "_data".

    Args:
        module: its forward takes the inputs by name and returns a tensor, or a tuple of tensors
            in the order of the outputs.
        config: the transformers configuration of the model inside, which selects the patches.

    Returns:
        The number of nodes.
    """
    if not hasattr(module, "config"):
        module.config = config  # export_pytorch reads it; nothing of ours does.
    with warnings.catch_warnings():
        # The legacy exporter announces its own end; optimum 2.1 has no other one.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*legacy TorchScript-based ONNX export.*")
        # Each names a Python value taken from a tensor, which may be a size baked in. Whether one
        # was is measured at lengths and batch sizes that were never traced, not guessed here.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        # Constant folding leaves out slices with steps; the result is the same.
        warnings.filterwarnings("ignore", message=".*Constant folding.*")
        export_pytorch(module.eval(), _our_config(config, interface), opset, path)
    return forget_the_exporting_machine(path)


def _our_config(config: Any, interface: GraphInterface) -> OnnxConfig:
    class InterfaceConfig(OnnxConfig):
        NORMALIZED_CONFIG_CLASS = NormalizedConfig  # For dummy inputs, which are given here.
        _MODEL_PATCHER = _patcher(config)

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {name: dict(axes) for name, axes in interface.inputs.items()}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {name: dict(axes) for name, axes in interface.outputs.items()}

        def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Tensor]:
            return dict(interface.example)

    return InterfaceConfig(config)


def _patcher(config: Any) -> type[ModelPatcher]:
    """optimum's patcher of the architecture.

    That of encoder-decoders rewrites the arguments of the whole model, of which there is half
    here: for them, and for what optimum does not know, the general one.
    """
    if config.is_encoder_decoder:
        return ModelPatcher
    try:
        known = TasksManager.get_exporter_config_constructor(
            "onnx",
            model_type=config.model_type,
            task="feature-extraction",
            library_name="transformers",
        )
    except (KeyError, ValueError):
        return ModelPatcher
    patcher: type[ModelPatcher] = getattr(known, "func", known)._MODEL_PATCHER
    return patcher
