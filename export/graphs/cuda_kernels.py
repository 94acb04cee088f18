"""Which operators of a graph an NVIDIA GPU would leave to the CPU.

ONNX Runtime itself knows, where CUDA works. Elsewhere a table made from its documentation says it,
cuda_operators.txt, by name. By name alone it is an estimate: a kernel may lack a type (Pad of
integers), and ONNX Runtime also places arithmetic on shapes on the CPU on purpose, where it
belongs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx

from realtime_ser.models.ort import CPU, CUDA, find_cuda_problem

from ..errors import ExportError

_TABLE = Path(__file__).with_name("cuda_operators.txt")
TABLE_SOURCE = "onnxruntime's docs/OperatorKernels.md at commit 001d12d"


@dataclass(frozen=True, slots=True)
class OnCpu:
    """What stays on the CPU when the provider is CUDA.

    Attributes:
        operators: how many nodes of each.
        source: who says so.
    """

    operators: Counter[str]
    source: str


def operators_on_cpu(path: Path, nodes: Iterable[onnx.NodeProto]) -> OnCpu:
    """Ask ONNX Runtime where CUDA works, else the table.

    Args:
        path: the graph.
        nodes: all its nodes.
    """
    import onnxruntime

    asked = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
    if asked and find_cuda_problem() is None:
        version = onnxruntime.__version__
        return OnCpu(placed_on(path, CUDA)[CPU], f"asked ONNX Runtime {version} on this GPU")
    missing = Counter(node.op_type for node in nodes if not _has_kernel(node))
    return OnCpu(missing, f"by {TABLE_SOURCE}; no GPU was asked")


def placed_on(path: Path, provider: str) -> dict[str, Counter[str]]:
    """Where ONNX Runtime places the operators of a graph: provider to number of each.

    Raises:
        ExportError: it does not load the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Fusions would hide the operators of the file; placement does not depend on them.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=list(dict.fromkeys((provider, CPU)))
        )
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
        raise ExportError(
            f"{path}: ONNX Runtime does not load it ({str(error).splitlines()[0]}); export the "
            "model again"
        ) from error
    placed: dict[str, Counter[str]] = {provider: Counter(), CPU: Counter()}
    for group in session.get_provider_graph_assignment_info():
        placed[group.ep_name].update(node.op_type for node in group.get_nodes())
    return placed


def _has_kernel(node: onnx.NodeProto) -> bool:
    known = _table().get(node.domain or "onnx", frozenset())
    # Constant is no operator at run time.
    return node.op_type in known or node.op_type == "Constant"


@cache
def _table() -> dict[str, frozenset[str]]:
    """Operators by domain."""
    operators: dict[str, set[str]] = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            domain = line.strip("[]")
            operators[domain] = set()
        elif line and not line.startswith("#"):
            operators[domain].update(line.split())
    return {domain: frozenset(names) for domain, names in operators.items()}
