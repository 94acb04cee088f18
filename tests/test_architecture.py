"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "realtime_ser"

LAYERS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "types": set(),
    "config": {"errors"},
    "samples": {"errors"},
    "core": {"errors", "types", "config"},
    "models": {"errors", "types", "config"},
    "runtime": {"errors", "types", "config", "core"},
    "io": {"errors", "types", "config", "core", "runtime"},
    "doctor": {"errors", "models", "io"},
    "recognizer": {"errors", "types", "config", "core", "models", "runtime", "io"},
    "bench": {"*"},
    "commands": {"*"},
    "cli": {"bench", "commands", "config", "errors", "version", "core"},
    "__main__": {"cli"},
    "__init__": {"*"},
}
"""What each part may import, besides itself."""

ONLY_IN = {
    "faster_whisper": {"models/transcriber.py", "models/hub.py"},
    "ctranslate2": {"models/transcriber.py", "doctor.py", "bench/random_whisper.py"},
    "webrtcvad": {"models/speech.py"},
    "sounddevice": {"io/microphone.py", "doctor.py"},
    "rich": {"io/"},
    "onnxruntime": {"models/", "bench/roofline.py"},
    "soxr": {"core/intake.py"},
    "av": {"io/file.py"},
    "websockets": {"io/server", "bench/capacity.py"},
    "matplotlib": {"bench/plots.py"},
    "prometheus_client": {"io/server_metrics.py"},
    "torch": set(),
    "transformers": set(),
    "optimum": set(),
}
"""Where a package may be imported; nowhere else."""

PURE = {"time", "threading", "asyncio", "socket", "logging", "queue", "subprocess", "os", "random"}
"""What the core must do without."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            yield from (
                f"{module}.{alias.name}" if module == "realtime_ser" else module
                for alias in node.names
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    place = path.relative_to(PACKAGE)
    layer = place.parts[0].removesuffix(".py")
    allowed = LAYERS[layer] | {layer}
    for name in imports(path):
        root, *rest = name.split(".")
        if root == "realtime_ser" and "*" not in allowed:
            assert rest[0] in allowed, f"{place} imports {name}"
        if root in ONLY_IN:
            homes = ONLY_IN[root]
            assert any(str(place).startswith(home) for home in homes), f"{place} imports {name}"
        if layer == "core":
            assert root not in PURE, f"{place} imports {name}"


def test_every_layer_is_known() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert found == set(LAYERS)


def test_every_package_is_installed() -> None:
    root = PACKAGE.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    for folder, name in (("realtime_ser", "realtime_ser"), ("export", "realtime_ser_export")):
        found = {
            ".".join([name, *path.parent.relative_to(root / folder).parts])
            for path in (root / folder).rglob("__init__.py")
        }
        assert found == {package for package in listed if package.split(".")[0] == name}


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, realtime_ser; realtime_ser.Recognizer; "
        "print([n for n in ('torch','transformers','faster_whisper','onnxruntime','sounddevice',"
        "'rich','av','ctranslate2',"
        "'websockets','prometheus_client') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_modules_stay_readable() -> None:
    long = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
