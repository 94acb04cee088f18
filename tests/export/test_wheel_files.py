"""Models out of wheels of the package index."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from realtime_ser_export.errors import ExportError
from realtime_ser_export.huggingface.source import IN_WHEELS
from realtime_ser_export.huggingface.wheel_files import WheelFile, kept_folder

CONTENT = b"a graph"
SOURCE = WheelFile(
    "small-model", "small==1.0", 1, "small/graph.onnx", hashlib.sha256(CONTENT).hexdigest(),
    "mit", "Of nothing.",
)  # fmt: skip


def index_of(folder: Path, content: bytes) -> Path:
    """A folder that pip takes for an index, with one wheel."""
    tag = f"py{sys.version_info.major}-none-any"
    with zipfile.ZipFile(folder / f"small-1.0-{tag}.whl", "w") as wheel:
        wheel.writestr("small/graph.onnx", content)
        meta = "small-1.0.dist-info"
        wheel.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        wheel.writestr(f"{meta}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{meta}/RECORD", "")
    return folder


def copy(graph: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "copy").write_bytes(graph.read_bytes())


@pytest.fixture
def pip_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], None]:
    """Nothing, until it is told the content of the file in the one wheel there is."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    def offer(content: bytes) -> None:
        folder = tmp_path / "index"
        folder.mkdir()
        monkeypatch.setenv("PIP_FIND_LINKS", str(index_of(folder, content)))

    return offer


def test_it_is_asked_for_once(pip_finds: Callable[[bytes], None], tmp_path: Path) -> None:
    pip_finds(CONTENT)
    made: list[Path] = []

    def write(graph: Path, folder: Path) -> None:
        made.append(graph)
        copy(graph, folder)

    for _ in range(2):
        folder = kept_folder(SOURCE, write, tmp_path / "cache")
        assert folder == tmp_path / "cache" / "small-model"
        assert (folder / "copy").read_bytes() == CONTENT
    assert len(made) == 1
    assert [each.name for each in folder.parent.iterdir()] == ["small-model"]


def test_another_file_is_refused(pip_finds: Callable[[bytes], None], tmp_path: Path) -> None:
    pip_finds(b"another graph")
    with pytest.raises(ExportError, match="is not the file that was published"):
        kept_folder(SOURCE, copy, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


PROJECTS = {"smart-turn-v3.2": "pipecat-ai", "moonshine-tiny-en": "moonshine-voice"}


@pytest.mark.parametrize("name", IN_WHEELS)
def test_without_the_package_index(
    pip_finds: Callable[[bytes], None],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ExportError, match=f"pip cannot download {PROJECTS[name]}.*{name}"):
        IN_WHEELS[name]()
    assert list((tmp_path / ".cache" / "realtime-ser-export").iterdir()) == []
