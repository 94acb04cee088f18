"""A published speech encoder that the package index has: that of Moonshine tiny.

Moonshine (Jeffries et al., "Moonshine: Speech recognition for live transcription and voice
commands", 2024; the English models are under the MIT licence) writes what it hears. Its tiny model
lies in the wheels of moonshine-voice, in ONNX Runtime's own format and with matrices of 8 bits.
Here its encoder becomes the float32 weights of transformers' `MoonshineEncoder` again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .wheel_files import WheelFile, kept_folder, write_encoder

if TYPE_CHECKING:
    import onnx

NAME = "moonshine-tiny-en"
"""As a name of a model, where others are folders or ids on the hub."""

_SOURCE = WheelFile(
    NAME,
    wheel="moonshine-voice==0.1.0",
    megabytes=56,
    file="moonshine_voice/assets/tiny-en/encoder_model.ort",
    sha256="94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    licence="mit",
    about="The encoder of Moonshine tiny, English (Moonshine AI); its matrices of 8 bits as "
    "float32.",
    platform="manylinux_2_34_x86_64",
)
_WIDTH, _LAYERS, _HEADS = 288, 6, 8
_PRODUCT = re.compile(r"/(layers\.\d+)/(\w+)/(\w+)/MatMul_quant")
_NORM = {"/groupnorm/Mul": "groupnorm.weight", "/groupnorm/Add": "groupnorm.bias"}

Floats = NDArray[np.float32]


def moonshine_folder(cache: Path | None = None) -> Path:
    """The encoder as a Hugging Face folder; see `kept_folder`."""
    return kept_folder(_SOURCE, write_folder, cache)


def write_folder(graph: Path, folder: Path) -> None:
    """The Hugging Face folder of a graph file."""
    from transformers import MoonshineConfig, Wav2Vec2FeatureExtractor

    config = MoonshineConfig(
        architectures=["MoonshineModel"],
        hidden_size=_WIDTH,
        intermediate_size=4 * _WIDTH,
        encoder_num_hidden_layers=_LAYERS,
        encoder_num_attention_heads=_HEADS,
        encoder_num_key_value_heads=_HEADS,
        partial_rotary_factor=0.9,
        pad_head_dim_to_multiple_of=8,
    )
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    write_encoder(folder, _SOURCE, config, extractor, encoder_weights(graph))


def encoder_weights(path: Path) -> dict[str, Floats]:
    """The weights of the encoder in a graph file, under the names of `MoonshineEncoder`.

    Biases and the weights of layer norms kept their names in the graph, those of convolutions with
    something after it. A matrix has the name of the product that it is in, and so have the scale
    and shift of the one group norm, which became a multiplication and an addition.
    """
    # Here, for whoever asks where a model lies imports this module, too.
    from onnx import numpy_helper

    graph = _as_onnx(path).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found: dict[str, NDArray[np.generic]] = {}
    for name, value in constants.items():
        own = name.removesuffix("_add_tensor")
        if own.startswith(("conv", "layer")) and own.endswith((".weight", ".bias")):
            found[own] = value
    for node in graph.node:
        product = _PRODUCT.fullmatch(node.name)
        if product is not None:
            matrix = node.input[1].removesuffix("_quantized")
            steps, scale, zero = (
                constants[matrix + part].astype(np.float32)
                for part in ("_quantized", "_scale", "_zero_point")
            )
            found[".".join([*product.groups(), "weight"])] = ((steps - zero) * scale).T
        elif node.name in _NORM:
            found[_NORM[node.name]] = constants[node.input[1]].ravel()
    return {name: np.array(each, np.float32, order="C") for name, each in found.items()}


def _as_onnx(path: Path) -> onnx.ModelProto:
    """A graph in ONNX Runtime's format (.ort), as it is, in the format of ONNX."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    written = path.with_suffix(".onnx")
    options.optimized_model_filepath = str(written)
    options.add_session_config_entry("session.save_model_format", "ONNX")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(written)
