"""The audio encoder as an ONNX file, and the proof that it says the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from ..graphs.graph_metadata import forget_the_exporting_machine
from .audio_encoder import AudioEncoder

Floats = NDArray[np.float32]

OPSET = 18
MINIMUM_SAMPLES = 4_000
MAXIMUM_SAMPLES = 240_000
PARITY_TOLERANCE = 1e-3
# The graph is traced at 2 s; none of the lengths it is checked at is that one.
_TRACED_SAMPLES = 32_000
_CHECKED_SAMPLES = (4_000, 5_679, 16_001, 48_000, 91_237, 240_000)


class ParityError(ValueError):
    """The exported graph answers differently from the network it was made from."""

    def __init__(self, samples: int, difference: float) -> None:
        super().__init__(
            f"ONNX and torch differ by {difference:.2g} at {samples} samples "
            f"(allowed {PARITY_TOLERANCE:g}); do not ship this graph"
        )


def export_onnx(model: AudioEncoder, path: Path) -> None:
    """Write `model` to `path` with free batch and sample axes; `check_parity` must pass."""
    model.eval()
    example = (torch.zeros(2, _TRACED_SAMPLES), torch.tensor([_TRACED_SAMPLES, 20_000]))
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=MINIMUM_SAMPLES)
    with warnings.catch_warnings():
        # The exporter's own deprecations; nothing here can act on them.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            example,
            str(path),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["waveform", "lengths"],
            output_names=["logits", "embedding"],
            dynamic_shapes={"waveform": {0: batch, 1: samples}, "lengths": {0: batch}},
        )
    forget_the_exporting_machine(path)
    check_parity(model, path)


def check_parity(model: AudioEncoder, path: Path) -> float:
    """Largest difference between torch and ONNX Runtime; `ParityError` if it is too large.

    Looked at over lengths that were never traced, alone and padded inside a batch.
    """
    run = OnnxEncoder(path)
    rng = np.random.default_rng(0)
    worst = 0.0
    for samples in _CHECKED_SAMPLES:
        waveform = (0.1 * rng.standard_normal((2, samples))).astype(np.float32)
        lengths = np.array([samples, max(MINIMUM_SAMPLES, samples * 2 // 3)], np.int64)
        with torch.no_grad():
            expected = model(torch.from_numpy(waveform), torch.from_numpy(lengths))
        for got, want in zip(run.outputs(waveform, lengths), expected, strict=True):
            difference = float(np.abs(got - want.numpy()).max())
            worst = max(worst, difference)
            if not difference <= PARITY_TOLERANCE:
                raise ParityError(samples, difference)
        alone = run.outputs(waveform[1:, : lengths[1]], lengths[1:])
        for got, padded in zip(alone, run.outputs(waveform, lengths), strict=True):
            difference = float(np.abs(got[0] - padded[1]).max())
            if not difference <= PARITY_TOLERANCE:
                raise ParityError(samples, difference)
    return worst


class OnnxEncoder:
    """The exported graph in ONNX Runtime, on CPU: what every published figure is measured with."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def outputs(self, waveform: Floats, lengths: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Logits float32 [batch, labels] and embedding float32 [batch, d]."""
        logits, embedding = self.session.run(
            ["logits", "embedding"], {"waveform": waveform, "lengths": lengths}
        )
        return logits, embedding

    def __call__(self, waveform: Floats, lengths: NDArray[np.int64]) -> Floats:
        return self.outputs(waveform, lengths)[0]
