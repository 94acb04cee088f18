"""What works on this machine and what to do about the rest, for `realtime-ser doctor`.

Everything is tried, not looked up: a provider runs a graph, the bundle replays its record.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from realtime_ser.errors import AudioDeviceError, RealtimeSERError
from realtime_ser.models import ort
from realtime_ser.models.bundle import DEFAULT_BUNDLE, load_bundle
from realtime_ser.models.describe import format_bytes
from realtime_ser.models.golden import verify_golden
from realtime_ser.models.hub import hub_cache_folder
from realtime_ser.models.ort_builds import GPU_REPAIR, OrtBuild, conflict, find_builds

_HUB_DEADLINE_S = 4.0
_PACKAGES = (
    "numpy",
    "onnxruntime",
    "faster-whisper",
    "ctranslate2",
    "tokenizers",
    "webrtcvad-wheels",
    "sounddevice",
    "soxr",
    "websockets",
    "prometheus-client",
    "threadpoolctl",
    "rich",
    "av",
    "huggingface-hub",
)
_CUBLAS = "libcublas.so.12"
_REINSTALL = "run: pip install --force-reinstall realtime-ser"


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """Something optional does not work."""
    FAIL = "fail"
    """Speech cannot be recognised here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        detail: what is so.
        advice: what to do; empty when there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    advice: str = ""


def diagnose(bundle: str | Path = DEFAULT_BUNDLE, *, hub: str | None = None) -> list[Finding]:
    """Try everything; takes a few seconds, and never raises.

    Args:
        bundle: the bundle to try, a name or a path.
        hub: address of the model hub; None for the one that downloads use.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("system", check_system),
        ("packages", check_packages),
        ("ONNX Runtime builds", lambda: check_builds(find_builds())),
        ("provider CPU", check_cpu),
        ("provider CUDA", check_cuda),
        ("transcription", check_ctranslate2),
        ("microphones", check_microphones),
        ("model cache", lambda: check_cache(hub_cache_folder())),
        (f"bundle {bundle}", lambda: check_bundle(bundle)),
        ("models run", lambda: check_execution(bundle)),
        ("model hub", lambda: check_hub(hub or hub_address())),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except RealtimeSERError as error:
        problem, _, advice = str(error).partition("; ")
        return Finding(name, Status.FAIL, problem, advice)
    except Exception as error:  # A broken installation fails in ways that nobody listed.
        return Finding(name, Status.FAIL, f"{type(error).__name__}: {error}", _REINSTALL)


def format_findings(findings: Sequence[Finding]) -> str:
    """Findings as plain text, advice below each; several lines, none at the end."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<4}  {finding.name:<{width}}  {finding.detail}")
        if finding.advice:
            lines.append(f"{'':<4}  {'':<{width}}  -> {finding.advice}")
    return "\n".join(lines)


def check_system() -> Finding:
    """Python, the system and the cores that may be used."""
    cores = ort.thread_count(0)
    detail = f"Python {platform.python_version()}, {platform.platform()}, {cores} cores"
    if sys.platform != "linux":
        return Finding("system", Status.WARN, detail, "tested on Linux only")
    return Finding("system", Status.OK, detail)


def check_packages(names: Sequence[str] = _PACKAGES) -> Finding:
    """Versions of the packages that do the work."""
    versions, missing = [], []
    builds = {build.name: build.version for build in find_builds()}
    for name in names:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            # With the GPU build alone there is no distribution called onnxruntime, rightly.
            if not (name == "onnxruntime" and builds):
                missing.append(name)
    if missing:
        detail = f"missing: {', '.join(missing)}"
        return Finding("packages", Status.FAIL, detail, f"run: pip install {' '.join(missing)}")
    return Finding("packages", Status.OK, ", ".join(versions))


def check_builds(builds: tuple[OrtBuild, ...]) -> Finding:
    """Exactly one build of ONNX Runtime may be installed."""
    name = "ONNX Runtime builds"
    if not builds:
        return Finding(name, Status.FAIL, "none installed", "run: pip install onnxruntime")
    clash = conflict(builds)
    if clash is None and not builds[0].on_top:
        return Finding(
            name,
            Status.FAIL,
            f"{builds[0].name} {builds[0].version} has lost files, as after uninstalling another "
            "build from the same folder",
            f"run: pip install --no-deps --force-reinstall {builds[0].name}",
        )
    if clash is None:
        return Finding(name, Status.OK, f"{builds[0].name} {builds[0].version}, alone")
    # pip satisfies faster-whisper with the CPU build whenever it installs anything that needs it.
    advice = (
        f"for an NVIDIA GPU run: {GPU_REPAIR}; else uninstall both and install onnxruntime. "
        "Look again after every later pip install"
    )
    return Finding(name, Status.WARN, clash, advice)


def check_cpu() -> Finding:
    """The CPU provider runs a graph."""
    failure = ort.probe(ort.CPU)
    if failure:
        return Finding("provider CPU", Status.FAIL, failure, "run: pip install -U onnxruntime")
    return Finding("provider CPU", Status.OK, "runs a graph")


def check_cuda() -> Finding:
    """The CUDA provider runs a graph; not working is a fault only where it was meant to work."""
    problem = ort.find_cuda_problem()
    if problem is None:
        return Finding("provider CUDA", Status.OK, "runs a graph")
    meant = any("gpu" in build.name for build in find_builds()) or Path("/dev/nvidiactl").exists()
    if meant:
        return Finding("provider CUDA", Status.WARN, problem.why, problem.remedy)
    return Finding("provider CUDA", Status.OK, f"none ({problem.why}), models run on the CPU")


def check_ctranslate2() -> Finding:
    """The transcription engine, and whether it can use a GPU."""
    import ctranslate2

    name = "transcription"
    engine = f"CTranslate2 {ctranslate2.__version__}"
    try:
        devices = ctranslate2.get_cuda_device_count()
    except (RuntimeError, ValueError) as error:
        # The driver answers, but not well: an old driver, a card in use by another container.
        return Finding(name, Status.WARN, f"{engine}: {error}", "check the driver: nvidia-smi")
    if not devices:
        return Finding(name, Status.OK, f"{engine}, on the CPU")
    problem = ort.library_problem(_CUBLAS)
    if problem:
        # It finds the card without the library, and fails at the first transcription.
        advice = "run: pip install nvidia-cublas-cu12, and put its lib folder in LD_LIBRARY_PATH"
        return Finding(name, Status.WARN, f"{engine}, {devices} CUDA devices: {problem}", advice)
    return Finding(name, Status.OK, f"{engine}, {devices} CUDA devices")


def check_microphones() -> Finding:
    """PortAudio, and what it can record from."""
    from realtime_ser.io.microphone import list_devices

    try:
        devices = list_devices()
    except AudioDeviceError as error:
        problem, _, advice = str(error).rpartition(": ")
        return Finding("microphones", Status.WARN, problem, f"run: {advice}")
    if not devices:
        return Finding(
            "microphones",
            Status.WARN,
            "PortAudio works, no device to record from",
            "connect a microphone, or start PulseAudio or PipeWire; files and pipes need none",
        )
    names = ", ".join(f"{device.name}{' *' * device.is_default}" for device in devices)
    return Finding("microphones", Status.OK, f"{len(devices)}: {names}")


def check_cache(folder: Path) -> Finding:
    """Size of a cache folder, and whether a download could be written there."""
    name = "model cache"
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        advice = f"make {existing} writable, or set HF_HOME to a folder that is"
        return Finding(name, Status.WARN, f"{folder} cannot be written", advice)
    if existing != folder:
        return Finding(name, Status.OK, f"{folder}, not made yet")
    return Finding(name, Status.OK, f"{folder}, {format_bytes(_folder_bytes(folder))}")


def _folder_bytes(folder: Path) -> int:
    def sizes() -> Iterator[int]:
        for path in folder.rglob("*"):
            # The cache shows each file twice, once as a link; and files may vanish meanwhile.
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path.stat().st_size

    return sum(sizes())


def check_bundle(name_or_path: str | Path) -> Finding:
    """The bundle loads and still computes what it computed when it was exported.

    Raises:
        BundleError, InferenceError: it does not load, or does not run.
    """
    name = f"bundle {name_or_path}"
    bundle = load_bundle(name_or_path)
    report = verify_golden(bundle)
    worst = report.worst
    detail = (
        f"{bundle.description.name} {bundle.description.version} is whole, "
        f"replays within {worst.error:.1g} (allowed: {report.tolerance:g})"
    )
    if report.passed:
        return Finding(name, Status.OK, detail)
    place = f"output {worst.output} of part {worst.part}, case {worst.case}"
    return Finding(
        name,
        Status.FAIL,
        f"{place} is {worst.error:.2g} off its record (allowed: {report.tolerance:g})",
        "upgrade or downgrade onnxruntime; report the versions above",
    )


def check_execution(name_or_path: str | Path) -> Finding:
    """Where and how the bundle runs with `--device auto`; another answer there is worth a warning,
    since it was held to the CPU's.

    Raises:
        BundleError, InferenceError: it does not load, or does not run.
    """
    name = "models run"
    report = verify_golden(load_bundle(name_or_path), device="auto")
    where = f"on {report.how}"
    if report.passed:
        return Finding(name, Status.OK, where)
    return Finding(
        name,
        Status.WARN,
        f"{where}, {report.worst.error:.2g} off the record (allowed: {report.tolerance:g})",
        "compare its answers with those of --device cpu",
    )


def hub_address() -> str:
    """The hub that transcription models are downloaded from."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def check_hub(address: str, deadline_s: float = _HUB_DEADLINE_S) -> Finding:
    """Whether the hub answers within `deadline_s`."""
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=deadline_s):
                outcome.append(None)
        except urllib.error.HTTPError as error:
            error.close()
            outcome.append(None)  # An answer all the same.
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome.append(str(getattr(error, "reason", error)))

    # The timeout of a socket does not bound the look-up of a host name; joining a thread does.
    thread = threading.Thread(target=ask, name="ask-hub", daemon=True)
    thread.start()
    thread.join(deadline_s)
    problem = outcome[0] if outcome else f"no answer within {deadline_s:g} s"
    if problem is None:
        return Finding("model hub", Status.OK, f"{address} answers")
    return Finding(
        "model hub",
        Status.WARN,
        f"{address}: {problem}",
        "only downloads need it: use --asr DIR with a folder copied from elsewhere, or --asr off",
    )
