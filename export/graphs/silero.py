"""Silero's network for many streams at once, out of the file for one inside faster-whisper.

    python -m realtime_ser_export.graphs.silero FILE

Same weights, same arithmetic; two things differ. The recurrent part has an axis for streams, where
the original takes all its windows for steps of one. And each convolution is a product of matrices
with a row for every position of every window: ONNX Runtime convolves the images of a batch one by
one, here 1 to 4 positions wide, and reads the weights anew for each of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WINDOW_SAMPLES = 576
HOP_SAMPLES, FFT_SAMPLES = 128, 256
BINS = FFT_SAMPLES // 2 + 1
STATE_SIZE = 128
OPSET, IR_VERSION = 18, 9


def original() -> Path:
    """Where faster-whisper keeps the network for one stream."""
    import faster_whisper

    return Path(faster_whisper.__file__).parent / "assets" / "silero_vad_v6.onnx"


def streams_graph(source: Path) -> onnx.ModelProto:
    """The network of `source` for many streams; its inputs and outputs as `silero_session` says."""
    weights = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(source).graph.initializer
    }
    graph = _Graph()
    graph.node("Reshape", ["windows", graph.shape(-1, WINDOW_SAMPLES)], "audio")
    features = _encoder(graph, weights, _spectrum(graph, weights, "audio"))
    graph.node("Shape", ["windows"], "steps_streams", start=0, end=2)
    graph.node("Concat", ["steps_streams", graph.shape(STATE_SIZE)], "sequence_shape", axis=0)
    graph.node("Reshape", [features, "sequence_shape"], "sequence")
    lstm = [graph.constant(weights[f"onnx::LSTM_{number}"]) for number in (209, 210, 211)]
    graph.node(
        "LSTM", ["sequence", *lstm, "", "hidden", "cell"], "spoken", "hidden_after", "cell_after",
        hidden_size=STATE_SIZE,
    )  # fmt: skip
    graph.node("Squeeze", ["spoken", graph.shape(1)], "states")
    graph.node("Relu", ["states"], "active")
    graph.node("MatMul", ["active", graph.constant(weights["decoder.conv1d.weight"][0])], "raw")
    graph.node("Add", ["raw", graph.constant(weights["decoder.conv1d.bias"])], "logits")
    graph.node("Sigmoid", ["logits"], "column")
    graph.node("Squeeze", ["column", graph.shape(2)], "probabilities")
    return graph.model()


def _spectrum(graph: _Graph, weights: dict[str, NDArray[np.float32]], audio: str) -> str:
    """Magnitudes [windows, 4 * BINS] of the four pieces of each window."""
    # the original reflects half a hop at the end only: the context stands at the beginning
    padded = graph.node(
        "Pad", [audio, graph.shape(0, 0, 0, HOP_SAMPLES // 2)], "padded", mode="reflect"
    )
    rows = graph.rows(padded, [piece * HOP_SAMPLES for piece in range(4)], FFT_SAMPLES)
    basis = weights["encoder.feature_extractor.forward_basis_buffer"][:, 0].T
    spectrum = graph.node("MatMul", [rows, graph.constant(basis)], "spectrum")
    graph.node("Mul", [spectrum, spectrum], "squares")
    graph.node("Split", ["squares", graph.shape(BINS, BINS)], "real", "imaginary", axis=1)
    graph.node("Add", ["real", "imaginary"], "power")
    graph.node("Sqrt", ["power"], "magnitudes")
    return graph.node("Reshape", ["magnitudes", graph.shape(-1, 4 * BINS)], "pieces")


def _encoder(graph: _Graph, weights: dict[str, NDArray[np.float32]], pieces: str) -> str:
    """The four convolutions, kernel 3; two of them halve the positions: 4, 4, 2, 1, 1."""

    def taps(layer: int, first: int, last: int) -> NDArray[np.float32]:
        """Taps of a kernel as rows of a matrix [taps * inputs, outputs]."""
        kernel = weights[f"encoder.conv_layers.{layer}.weight"].transpose(2, 1, 0)[first : last + 1]
        return kernel.reshape(-1, kernel.shape[2])

    def layer(number: int, rows: str, matrix: NDArray[np.float32]) -> str:
        bias = weights[f"encoder.conv_layers.{number}.bias"]
        names = [rows, graph.constant(matrix), graph.constant(bias)]
        convolved = graph.node("Gemm", names, f"convolved_{number}")
        return graph.node("Relu", [convolved], f"layer_{number}")

    padded = graph.node("Pad", [pieces, graph.shape(0, BINS, 0, BINS)], "padded_0")
    rows = graph.rows(padded, [position * BINS for position in range(4)], 3 * BINS)
    wide = graph.node(
        "Reshape", [layer(0, rows, taps(0, 0, 2)), graph.shape(-1, 4 * 128)], "wide_0"
    )
    # stride 2 over four positions: the padding behind them is never reached
    padded = graph.node("Pad", [wide, graph.shape(0, 128, 0, 0)], "padded_1")
    rows = graph.rows(padded, [0, 2 * 128], 3 * 128)
    wide = graph.node("Reshape", [layer(1, rows, taps(1, 0, 2)), graph.shape(-1, 2 * 64)], "wide_1")
    # over two positions, one of the three taps meets padding; over one, two of them do
    return layer(3, layer(2, wide, taps(2, 1, 2)), taps(3, 1, 1))


class _Graph:
    """Nodes and constants as they are put down, each constant once."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(
        self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: object
    ) -> str:
        """Add a node; gives the name of its first output."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, values: NDArray[np.generic]) -> str:
        """Add a constant; gives its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def shape(self, *numbers: int) -> str:
        """Add a list of integers; gives its name."""
        return self.constant(np.array(numbers, np.int64))

    def rows(self, wide: str, starts: Sequence[int], length: int) -> str:
        """From each row of `wide`, the pieces of `length` at `starts`, as rows of their own."""
        pieces = [
            self.node(
                "Slice",
                [wide, self.shape(start), self.shape(start + length), self.shape(1)],
                f"{wide}_from_{start}",
            )
            for start in starts
        ]
        self.node("Concat", pieces, f"{wide}_pieces", axis=1)
        return self.node("Reshape", [f"{wide}_pieces", self.shape(-1, length)], f"{wide}_rows")

    def model(self) -> onnx.ModelProto:
        """It as a checked model."""

        def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        state = (1, "streams", STATE_SIZE)
        graph = helper.make_graph(
            self._nodes,
            "silero_vad_v6",
            [
                value("windows", "steps", "streams", WINDOW_SAMPLES),
                value("hidden", *state),
                value("cell", *state),
            ],
            [
                value("probabilities", "steps", "streams"),
                value("hidden_after", *state),
                value("cell_after", *state),
            ],
            self._constants,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


if __name__ == "__main__":
    onnx.save(streams_graph(original()), sys.argv[1])
