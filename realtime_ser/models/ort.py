"""The one place that creates ONNX Runtime sessions.

Three habits of ONNX Runtime are switched off here. It goes on with the CPU when the CUDA provider
cannot be loaded or fails (silently, or with a print): here that is an error. Its threads spin
after each run, in case another follows: for one utterance of 4 s every 0.1 s that was five times
the CPU time, on 2 cores, and no faster. It keeps a memory plan for every input shape: of no use
where no two utterances are equally long.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import io
import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime_ser.errors import ConfigError, InferenceError
from realtime_ser.models.ort_builds import GPU_REPAIR, conflict, find_builds

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_CUDA_OPTIONS = {
    # The default, EXHAUSTIVE, times every algorithm on the first run of each shape: hundreds of
    # milliseconds in the middle of a conversation.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The default doubles the arena each time, and the card is shared with the transcriber.
    "arena_extend_strategy": "kSameAsRequested",
    # One stream for the session whatever thread runs it, which CUDA graphs imply anyway. It is the
    # provider's own and does not wait for others; CTranslate2 has one for each of its threads.
    "use_ep_level_unified_stream": "1",
}
# float32 [1, 1, 4] -> Conv with (1, 2) -> MatMul with (1, 10, 100): one node each for the
# convolution and the matrix library of the device. Written out because the package `onnx` is
# needed to build graphs, not to run them; the test rebuilds it.
_PROBE = base64.b64decode(
    "CAgSADqJAQoPCgF4CgF3EgFjIgRDb252ChEKAWMKAW0SAXkiBk1hdE11bBIBcCoVCAEIAQgCEAFCAXdKCAAAgD8AAABA"
    "KhcIAwgBEAFCAW1KDAAAgD8AACBBAADIQloXCgF4EhIKEAgBEgwKAggBCgIIAQoCCARiFwoBeRISChAIARIMCgIIAQoC"
    "CAEKAggBQgQKABAN"
)
_DEFAULT_SEVERITY = 2


@dataclass(frozen=True, slots=True)
class Provider:
    """Where graphs run.

    Attributes:
        device: cpu or cuda.
        name: ONNX Runtime's name of the execution provider.
        reason: why this one, in a few words.
    """

    device: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class CudaProblem:
    """Why ONNX Runtime cannot use CUDA here.

    Attributes:
        remedy: what to do, as a clause of a sentence.
    """

    why: str
    remedy: str


def choose_provider(device: str = "auto") -> Provider:
    """Settle `auto`, `cpu` or `cuda` by trying it.

    Raises:
        InferenceError: `cuda` was demanded and does not work; the message says why and what to do.
    """
    if device == "cpu":
        return Provider("cpu", CPU, "demanded")
    if device not in ("auto", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, not {device!r}")
    problem = find_cuda_problem()
    if problem is None:
        return Provider("cuda", CUDA, "demanded" if device == "cuda" else "CUDA works here")
    if device == "cuda":
        raise InferenceError(f"device cuda does not work: {problem.why}; {problem.remedy}")
    return Provider("cpu", CPU, f"no CUDA: {problem.why}")


def find_cuda_problem() -> CudaProblem | None:
    """Try CUDA by running a graph on it; None when it works.

    Raises:
        InferenceError: ONNX Runtime itself cannot be imported.
    """
    missing = _preload_cuda()
    if CUDA not in available_providers():
        builds = find_builds()
        installed = ", ".join(f"{build.name} {build.version}" for build in builds)
        why = conflict(builds) or f"{installed or 'the installed ONNX Runtime'} is built without it"
        return CudaProblem(why, f"for an NVIDIA GPU run: {GPU_REPAIR}")
    failure = probe(CUDA)
    if failure is None:
        return None
    # ONNX Runtime tells the cause to its log alone, so look where it usually lies.
    driver = library_problem("libcuda.so.1")
    if driver:
        return CudaProblem(
            f"there is no NVIDIA driver ({driver})",
            "install it, or give the container the GPU: `nvidia-smi` must list one",
        )
    if missing:
        return CudaProblem(
            f"the libraries {', '.join(missing)} cannot be loaded",
            "run: pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )
    return CudaProblem(failure, "check that `nvidia-smi` lists the GPU and its driver is recent")


def available_providers() -> list[str]:
    """Execution providers that the installed build knows; not all of them need work here."""
    return list(import_onnxruntime().get_available_providers())


def probe(provider: str) -> str | None:
    """Run a convolution and a matrix product on `provider`, alone; None when it works."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    waveform = np.array([[[1, 2, 3, 4]]], np.float32)
    # A library that does not load is a screenful on stderr otherwise; the result says it too.
    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(
            _PROBE, options, providers=[provider], enable_fallback=0
        )
        session.disable_fallback()
        result = session.run(None, {"x": waveform})[0].item()
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
        if "fallback to CPU EP" in str(error):
            return f"{provider} does not start, or leaves the work to the CPU"
        return first_line(error)
    finally:
        onnxruntime.set_default_logger_severity(_DEFAULT_SEVERITY)
    # 1 + 2*2, 2 + 2*3, 3 + 2*4 against 1, 10, 100; half a unit leaves room for TF32.
    return None if abs(result - 1185) < 0.5 else f"{provider} computes {result}, not 1185"


def library_problem(name: str) -> str | None:
    """Why a shared library cannot be loaded; None when it can."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return str(error)
    return None


def _preload_cuda() -> list[str]:
    """Load CUDA libraries that came as Python packages, for they lie where no loader looks.

    Returns:
        The names of those that cannot be loaded, from there or from the system.
    """
    onnxruntime = import_onnxruntime()
    preload = getattr(onnxruntime, "preload_dlls", None)  # Absent before 1.21.
    if preload is None or not getattr(onnxruntime, "cuda_version", ""):
        return []
    # It prints to stdout, which may be carrying JSON Lines, and says it nowhere else.
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        preload()
    return re.findall(r"^Failed to load (\S+):", printed.getvalue(), re.MULTILINE)


def import_onnxruntime() -> Any:
    """The module; after one of two builds was uninstalled it is there but empty.

    Raises:
        InferenceError: it is not there.
    """
    try:
        import onnxruntime

        onnxruntime.InferenceSession  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise InferenceError(
            f"ONNX Runtime is broken ({error}); run: pip uninstall -y onnxruntime onnxruntime-gpu "
            "&& pip install --no-deps --force-reinstall onnxruntime"
        ) from error
    return onnxruntime


def thread_count(threads: int) -> int:
    """`threads`, or for 0 the cores that this process may use."""
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def new_session(
    graph: str | bytes, provider: Provider, threads: int, *, capture: bool = False
) -> Any:
    """A session with our options, of a file by its path or of ONNX itself; errors are ONNX
    Runtime's own.

    Args:
        capture: on CUDA, take part in CUDA graphs; see `ort_bound`.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # Every error is also raised, and reported in our words.
    if provider.name == CUDA:
        cuda_options = _CUDA_OPTIONS | ({"enable_cuda_graph": "1"} if capture else {})
        providers: list[Any] = [(CUDA, cuda_options), CPU]  # Shape arithmetic stays on the CPU.
    else:
        providers = [provider.name]
    session = onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    session.disable_fallback()
    return session


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
