"""How fast a model could be here at best: counted arithmetic over the measured rate of the device.

The roofline of Williams, Waterman & Patterson 2009 (Communications of the ACM 52:4): a run takes no
less than its arithmetic at the rate of the best matrix product, and no less than its weights at the
bandwidth of memory. Activations are left out of the traffic, for small ones never leave the cache.
"""

from __future__ import annotations

import base64
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.ort import CPU, Provider, new_session

# float32 [n, n] x [n, n] -> MatMul, and [n] -> Neg, as ONNX. Written out because the package `onnx`
# is needed to build graphs, not to run them; the test rebuilds them.
MATRIX_PRODUCT = base64.b64decode(
    "CAg6WwoRCgF4CgF5EgF6IgZNYXRNdWwSAWdaFQoBeBIQCg4IARIKCgMSAW4KAxIBbloVCgF5EhAKDggBEgoKAxIBbgoD"
    "EgFuYhUKAXoSEAoOCAESCgoDEgFuCgMSAW5CBAoAEA0="
)
NEGATION = base64.b64decode(
    "CAg6NAoLCgF4EgF6IgNOZWcSAWdaEAoBeBILCgkIARIFCgMSAW5iEAoBehILCgkIARIFCgMSAW5CBAoAEA0="
)

_MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}
_VECTOR_MIB = {"cpu": 64, "cuda": 1024}
_RUNS = 9

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the device does at best, measured now."""

    gflops: float
    gigabytes_per_s: float

    def least_ms(self, gflop: float, gigabytes: float) -> float:
        """No run of so much arithmetic and traffic takes less."""
        return 1000 * max(gflop / self.gflops, gigabytes / self.gigabytes_per_s)


def measure_limits(provider: Provider, threads: int) -> Limits:
    """The rate of a float32 matrix product, and the bandwidth of reading and writing a vector."""
    size = _MATRIX_SIZE[provider.device]
    matrix = np.random.default_rng(0).standard_normal((size, size), np.float32)
    product_s = _fastest_s(MATRIX_PRODUCT, {"x": matrix, "y": matrix}, provider, threads)
    vector = np.ones(_VECTOR_MIB[provider.device] * 2**18, np.float32)
    copy_s = _fastest_s(NEGATION, {"x": vector}, provider, threads)
    return Limits(2 * size**3 / product_s / 1e9, 2 * vector.nbytes / copy_s / 1e9)


def _fastest_s(
    graph: bytes, feeds: Mapping[str, NDArray[Any]], provider: Provider, threads: int
) -> float:
    """The best of some runs whose inputs and outputs stay on the device: a limit is a maximum."""
    import onnxruntime

    session = new_session(graph, provider, threads)
    binding = session.io_binding()
    kept = [onnxruntime.OrtValue.ortvalue_from_numpy(v, provider.device, 0) for v in feeds.values()]
    for name, value in zip(feeds, kept, strict=True):
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("z", provider.device)
    times_s = []
    for _ in range(_RUNS):
        started_s = time.perf_counter()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        times_s.append(time.perf_counter() - started_s)
    return min(times_s)


def count_gflop(graph: Path, feeds: Mapping[str, NDArray[Any]]) -> float | None:
    """The arithmetic of one run, as ONNX Runtime's own profile tells the shapes.

    Only what multiplies matrices is counted; None where there is nothing of it.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.log_severity_level = 4
        # as it was exported: packed weights lose their shapes, and fused nodes their names
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
        session = onnxruntime.InferenceSession(str(graph), options, providers=[CPU])
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    total = sum(_flop_of(event) for event in events if event["name"].endswith("_kernel_time"))
    return total / 1e9 if total else None


def _flop_of(event: Mapping[str, Any]) -> float:
    arguments = event["args"]
    count = _COUNTS.get(arguments["op_name"])
    if count is None:
        return 0.0
    inputs = [next(iter(each.values())) for each in arguments["input_type_shape"]]
    outputs = [next(iter(each.values())) for each in arguments["output_type_shape"]]
    return count(inputs, outputs)


def _matrix_product(inputs: list[Shape], outputs: list[Shape]) -> float:
    first, out = inputs[0], outputs[0]
    # the summed axis is the last one, or the one before where the first factor is transposed
    is_plain = len(first) < 2 or len(out) < 2 or out[-2] == first[-2]
    return 2.0 * math.prod(out) * (first[-1] if is_plain else first[-2])


def _gemm(inputs: list[Shape], outputs: list[Shape]) -> float:
    return 2.0 * math.prod(outputs[0]) * math.prod(inputs[0]) / outputs[0][0]


def _convolution(weight: int) -> Callable[[list[Shape], list[Shape]], float]:
    def count(inputs: list[Shape], outputs: list[Shape]) -> float:
        return 2.0 * math.prod(outputs[0]) * math.prod(inputs[weight][1:])

    return count


def _recurrent(inputs: list[Shape], outputs: list[Shape]) -> float:
    steps, rows = inputs[0][0], inputs[0][1]
    return 2.0 * steps * rows * (math.prod(inputs[1]) + math.prod(inputs[2]))


def _attention(inputs: list[Shape], outputs: list[Shape]) -> float:
    """Projections to queries, keys and values, and the two products of attention."""
    rows, steps, width = inputs[0]
    return 2.0 * rows * steps * math.prod(inputs[1]) + 4.0 * rows * steps * steps * width


def _attention_alone(inputs: list[Shape], outputs: list[Shape]) -> float:
    rows, steps, width = inputs[0]
    return 4.0 * rows * steps * inputs[1][1] * width


_COUNTS: dict[str, Callable[[list[Shape], list[Shape]], float]] = {
    "MatMul": _matrix_product,
    "FusedMatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "MatMulIntegerToFloat": _matrix_product,
    "DynamicQuantizeMatMul": _matrix_product,
    "QLinearMatMul": _matrix_product,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "Conv": _convolution(1),
    "FusedConv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _attention_alone,
}


def median_ms(run: Callable[[], Any], runs: int) -> tuple[float, list[float]]:
    """The median of `runs` runs after one that does not count, and all of them."""
    run()
    times_ms = []
    for _ in range(runs):
        started_s = time.perf_counter()
        run()
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return statistics.median(times_ms), times_ms
