"""The client stands on its own: it imports nothing of ours, and little of others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "clients" / "python"
WITH_PACKAGE = {
    "pipecat.py": {"pipecat"},
    "livekit.py": {"livekit"},
    "wyoming.py": {"wyoming"},
    "samples.py": {"numpy"},
    "sources.py": {"sounddevice"},
}
"""Modules that may import something besides websockets; the last two only if it is there."""


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_a_module_imports_websockets_and_the_standard_library(path: Path) -> None:
    allowed = {"realtime_ser_client", "websockets"} | WITH_PACKAGE.get(path.name, set())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            root = name.split(".")[0]
            assert root in allowed or root in sys.stdlib_module_names, f"{path.name}: {name}"


def test_importing_it_brings_neither_numpy_nor_the_server() -> None:
    code = (
        "import sys, realtime_ser_client, realtime_ser_client.sync, realtime_ser_client.cli;"
        "print(sorted({'numpy', 'realtime_ser', 'sounddevice'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
