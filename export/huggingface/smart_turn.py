"""A published speech encoder that the package index has: that of Smart Turn v3.2.

Smart Turn (Daily, BSD-2-Clause) hears whether a speaker has finished. It is the encoder of Whisper
tiny (Radford et al., "Robust speech recognition via large-scale weak supervision", 2023; MIT),
fine-tuned behind a window of 8 s, and lies in the wheel of pipecat-ai as an ONNX graph with weights
of 8 bits. Here they become the float32 weights of transformers' `WhisperEncoder` again; what stands
on top of the encoder there is left behind.

It was always given the last 8 s before a pause. Here it hears the utterance alone
(`audio_whisper`), which is what all that is trained on it is trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .wheel_files import WheelFile, kept_folder, write_encoder

if TYPE_CHECKING:
    import onnx

NAME = "smart-turn-v3.2"
"""As a name of a model, where others are folders or ids on the hub."""

_SOURCE = WheelFile(
    NAME,
    wheel="pipecat-ai==1.14.0",
    megabytes=12,
    file="pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
    sha256="2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
    licence="bsd-2-clause",
    about="The encoder of Smart Turn v3.2 (Daily), which is that of Whisper tiny (OpenAI, MIT) "
    "fine-tuned; its weights of 8 bits as float32.",
)
_WINDOW_SECONDS, _BANDS, _WIDTH, _LAYERS, _HEADS = 8, 80, 384, 4, 6
_PREFIX = "inner.encoder."

Floats = NDArray[np.float32]


def smart_turn_folder(cache: Path | None = None) -> Path:
    """The encoder as a Hugging Face folder; see `kept_folder`."""
    return kept_folder(_SOURCE, write_folder, cache)


def write_folder(graph: Path, folder: Path) -> None:
    """The Hugging Face folder of a graph file."""
    from transformers import WhisperConfig, WhisperFeatureExtractor

    config = WhisperConfig(
        architectures=["WhisperModel"],
        d_model=_WIDTH,
        encoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH,
        max_source_positions=50 * _WINDOW_SECONDS,
        num_mel_bins=_BANDS,
        utterance_only=True,
    )
    extractor = WhisperFeatureExtractor(feature_size=_BANDS, chunk_length=_WINDOW_SECONDS)
    write_encoder(folder, _SOURCE, config, extractor, encoder_weights(graph))


def encoder_weights(path: Path) -> dict[str, Floats]:
    """The weights of the encoder in a graph file, under the names of `WhisperEncoder`.

    Convolutions, norms and biases kept their names in the graph. A matrix lost its own: it has
    that of the bias which is added to its product. Whisper's projection to keys has no bias; it is
    the one product of a normalised input that nothing is added to.
    """
    # Here, for whoever asks where a model lies imports this module, too.
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}

    def value(name: str) -> NDArray[np.generic]:
        node = makers.get(name)
        return constants[name] if node is None else _dequantised(node, constants)

    def maker(name: str) -> onnx.NodeProto:
        node = makers[name]
        quantising = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        return maker(node.input[0]) if quantising else node

    found: dict[str, NDArray[np.generic]] = {}
    keys: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            bias = node.input[2]
            found |= {bias: value(bias), _weight(bias): value(node.input[1])}
        elif node.op_type == "LayerNormalization":
            found |= {name: value(name) for name in node.input[1:]}
        elif node.op_type == "Add" and any(name.endswith(".bias") for name in node.input):
            bias = next(name for name in node.input if name.endswith(".bias"))
            product = maker(next(name for name in node.input if name != bias))
            found |= {bias: value(bias), _weight(bias): value(product.input[1]).T}
            keys.pop(product.input[1], None)
        elif node.op_type == "MatMul" and _is_weight(node.input[1], makers, constants):
            source = maker(node.input[0])
            if source.op_type == "LayerNormalization":
                keys[node.input[1]] = source.input[1]
    for matrix, norm in keys.items():
        if norm.endswith("self_attn_layer_norm.weight"):
            name = norm.replace("self_attn_layer_norm", "self_attn.k_proj")
            found[name] = value(matrix).T
    positions = f"{_PREFIX}embed_positions.weight"
    found[positions] = value(positions)
    return {
        name.removeprefix(_PREFIX): np.array(each, np.float32, order="C")
        for name, each in found.items()
        if name.startswith(_PREFIX)
    }


def _weight(bias: str) -> str:
    return bias.removesuffix("bias") + "weight"


def _is_weight(
    name: str, makers: dict[str, onnx.NodeProto], constants: dict[str, NDArray[np.generic]]
) -> bool:
    node = makers.get(name)
    return node is not None and node.op_type == "DequantizeLinear" and node.input[0] in constants


def _dequantised(node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]]) -> Floats:
    steps, scale, zero = (constants[name] for name in node.input)
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
    # One step for all, or one for each place along the axis.
    shape = [1] * steps.ndim
    if scale.size > 1:
        shape[axis] = -1
    scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((steps.astype(np.float32) - zero.astype(np.float32)) * scale).astype(np.float32)
