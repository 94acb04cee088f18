"""Which builds of ONNX Runtime are installed.

Its builds are different distributions (`onnxruntime`, `onnxruntime-gpu`, ...) that all install the
same import package into the same folder. pip knows of no conflict: whichever was unpacked last
wins, and uninstalling either one breaks the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

_BUILDS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-migraphx",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)
GPU_REPAIR = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && "
    "pip install --no-deps --force-reinstall onnxruntime-gpu"
)
"""Leaves exactly one build. `--no-deps` keeps pip from touching anything else; one call of
`pip install --force-reinstall` alone would leave the other build's files and record behind."""


@dataclass(frozen=True, slots=True)
class OrtBuild:
    """One installed distribution of ONNX Runtime.

    Attributes:
        folder: the `site-packages` that it lies in.
        on_top: whether the files that Python would import from there are its own; None when
            the files do not say.
    """

    name: str
    version: str
    folder: Path
    on_top: bool | None


def find_builds(installed: Iterable[Distribution] | None = None) -> tuple[OrtBuild, ...]:
    """The builds among `installed`, by default everything that Python sees now.

    Which one is on top is read from the file in which each build records its own name, without
    importing it.
    """
    builds: dict[tuple[Path, str], OrtBuild] = {}
    for distribution in distributions() if installed is None else installed:
        # A folder without METADATA, as a broken uninstall leaves behind, has no name.
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if name in _BUILDS:
            folder = Path(str(distribution.locate_file("")))
            winner = _name_on_top(folder)
            on_top = None if winner is None else winner == name
            # The same folder may be on the path twice.
            builds.setdefault((folder, name), OrtBuild(name, distribution.version, folder, on_top))
    return tuple(builds.values())


def _name_on_top(folder: Path) -> str | None:
    record = folder / "onnxruntime" / "capi" / "build_and_package_info.py"
    try:
        found = re.search(
            r"^package_name = ['\"]([\w.-]+)['\"]", record.read_text(encoding="utf-8"), re.MULTILINE
        )
    except (OSError, UnicodeDecodeError):
        return None
    return found[1].lower() if found else None


def conflict(builds: tuple[OrtBuild, ...]) -> str | None:
    """What two builds at once do to each other, in a sentence; None when there is no conflict."""
    if len(builds) < 2:
        return None
    both = " and ".join(f"{build.name} {build.version}" for build in builds)
    winner = next((build for build in builds if build.on_top), None)
    if winner is None:
        return f"{both} are installed over each other, and nothing says which one is in use"
    lost = ", ".join(build.name for build in builds if build is not winner)
    return f"{both} are installed over each other: {winner.name} is on top and hides {lost}"
