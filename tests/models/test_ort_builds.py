"""Two builds of ONNX Runtime in one folder, told from the files that pip leaves."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import pytest

from realtime_ser.models.ort_builds import OrtBuild, conflict, find_builds


def install(site: Path, name: str, version: str, *, on_top: bool = True) -> None:
    """What `pip install` leaves of a build, as far as it matters here."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    capi = site / "onnxruntime" / "capi"
    capi.mkdir(parents=True, exist_ok=True)
    if on_top:
        (capi / "build_and_package_info.py").write_text(
            f"package_name = '{name}'\n__version__ = '{version}'\n"
        )


def found(*sites: Path) -> tuple[OrtBuild, ...]:
    return find_builds(distributions(path=[str(site) for site in sites]))


def test_one_build(tmp_path: Path) -> None:
    install(tmp_path, "onnxruntime-gpu", "1.31.1")
    install(tmp_path, "onnxruntime-extensions", "0.1", on_top=False)
    assert found(tmp_path) == (OrtBuild("onnxruntime-gpu", "1.31.1", tmp_path, True),)
    assert conflict(found(tmp_path)) is None


@pytest.mark.parametrize(
    ("last", "hidden"),
    [("onnxruntime", "onnxruntime-gpu"), ("onnxruntime-gpu", "onnxruntime")],
)
def test_the_last_one_installed_is_on_top(tmp_path: Path, last: str, hidden: str) -> None:
    install(tmp_path, hidden, "1.31.1")
    install(tmp_path, last, "1.31.1")
    assert {build.name: build.on_top for build in found(tmp_path)} == {last: True, hidden: False}
    clash = conflict(found(tmp_path))
    assert clash is not None
    assert clash.endswith(f"installed over each other: {last} is on top and hides {hidden}")


def test_names_are_compared_as_pip_does(tmp_path: Path) -> None:
    install(tmp_path, "ONNXRuntime_GPU", "1.31.1", on_top=False)
    assert [build.name for build in found(tmp_path)] == ["onnxruntime-gpu"]


def test_files_that_do_not_say_whose_they_are(tmp_path: Path) -> None:
    install(tmp_path, "onnxruntime", "1.20", on_top=False)
    install(tmp_path, "onnxruntime-gpu", "1.20", on_top=False)
    assert [build.on_top for build in found(tmp_path)] == [None, None]
    clash = conflict(found(tmp_path))
    assert clash is not None
    assert "nothing says which one is in use" in clash


def test_a_folder_that_is_twice_on_the_path_counts_once(tmp_path: Path) -> None:
    install(tmp_path, "onnxruntime", "1.31.1")
    assert len(found(tmp_path, tmp_path)) == 1


def test_a_broken_uninstall_is_no_build(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime-1.0.dist-info").mkdir()
    assert found(tmp_path) == ()


def test_what_is_installed_here() -> None:
    builds = find_builds()
    assert any(build.on_top for build in builds)
