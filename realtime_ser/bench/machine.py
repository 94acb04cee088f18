"""What a measurement was made on, for its JSON; nothing that names the host."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from realtime_ser.version import __version__

_PACKAGES = (
    "numpy", "onnxruntime", "onnxruntime-gpu", "ctranslate2", "faster-whisper", "webrtcvad-wheels",
    "soxr", "websockets",
)  # fmt: skip


_REFERENCE_RUNS = 51


def describe_machine() -> dict[str, Any]:
    """Machine, versions and git revision."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": cores(),
        "memory_mib": _memory_mib(),
        "gpu": _gpu(),
        "load_average": round(os.getloadavg()[0], 2),
        "reference_ms": round(reference_ms(), 3),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "realtime_ser": __version__,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "revision": _revision(),
    }


def reference_ms() -> float:
    """Median time of a fixed piece of arithmetic, a product of matrices in numpy.

    It tells machines, and states of one machine, from each other.
    """
    matrix = np.random.default_rng(0).standard_normal((512, 512), np.float32)
    times_ms = []
    for _ in range(_REFERENCE_RUNS):
        started_s = time.perf_counter()
        matrix @ matrix
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return statistics.median(times_ms)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Memory that a process holds now."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """The most memory that a process has held so far."""
    return _status_mib(pid, "VmHWM")


def gpu_mib() -> float | None:
    """Memory in use on the first GPU, of all programs; None without one."""
    answer = _nvidia_smi("memory.used")
    return float(answer.split()[0]) if answer else None


def _status_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (kibibytes,) = re.findall(rf"{name}:\s+(\d+)", status)
    return int(kibibytes) / 1024


def _gpu() -> str | None:
    return _nvidia_smi("name")


def _nvidia_smi(query: str) -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = result.stdout.strip().splitlines()
    return lines[0] if result.returncode == 0 and lines else None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str:
    """Of the checkout that this runs from; an installed wheel has its version only."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return "installed"
    command = ["git", "describe", "--always", "--dirty"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
