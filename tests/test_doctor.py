"""Each check against a real thing, sound or broken."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle as tiny

from realtime_ser import doctor
from realtime_ser.doctor import Finding, Status
from realtime_ser.errors import BundleIntegrityError
from realtime_ser.models import ort
from realtime_ser.models.ort_builds import GPU_REPAIR, OrtBuild

SITE = Path("site-packages")
NO_HUB = "not an address"


def test_it_never_raises_and_looks_at_everything(tmp_path: Path) -> None:
    findings = doctor.diagnose(tmp_path / "nowhere", hub=NO_HUB)
    assert [finding.name for finding in findings] == [
        "system",
        "packages",
        "ONNX Runtime builds",
        "provider CPU",
        "provider CUDA",
        "transcription",
        "microphones",
        "model cache",
        f"bundle {tmp_path / 'nowhere'}",
        "models run",
        "model hub",
    ]
    by_name = {finding.name: finding for finding in findings}
    assert by_name["provider CPU"].status is Status.OK
    assert findings[8].status is Status.FAIL
    assert "does not exist" in findings[8].detail
    for finding in findings:
        assert finding.status is Status.OK or finding.advice


def test_text_has_advice_below_its_finding() -> None:
    findings = [
        Finding("one", Status.OK, "all well"),
        Finding("second", Status.FAIL, "broken", "mend it"),
    ]
    assert doctor.format_findings(findings).splitlines() == [
        "ok    one     all well",
        "fail  second  broken",
        "              -> mend it",
    ]
    assert doctor.format_findings([]) == ""


def test_a_missing_package_is_named() -> None:
    found = doctor.check_packages(["numpy", "no-such-package-of-ours"])
    assert found.status is Status.FAIL
    assert found.detail == "missing: no-such-package-of-ours"
    assert doctor.check_packages(["numpy"]).detail.startswith("numpy ")


def test_one_sound_build() -> None:
    assert doctor.check_builds((OrtBuild("onnxruntime", "1.31", SITE, True),)) == Finding(
        "ONNX Runtime builds", Status.OK, "onnxruntime 1.31, alone"
    )


@pytest.mark.parametrize("cpu_on_top", [True, False])
def test_two_builds_are_a_warning_with_the_one_command(cpu_on_top: bool) -> None:
    found = doctor.check_builds(
        (
            OrtBuild("onnxruntime", "1.31", SITE, cpu_on_top),
            OrtBuild("onnxruntime-gpu", "1.31", SITE, not cpu_on_top),
        )
    )
    assert found.status is Status.WARN
    winner = "onnxruntime" if cpu_on_top else "onnxruntime-gpu"
    assert f"{winner} is on top" in found.detail
    assert GPU_REPAIR in found.advice


@pytest.mark.parametrize("on_top", [None, False])
def test_a_build_that_lost_its_files(on_top: bool | None) -> None:
    """What `pip uninstall onnxruntime` leaves of onnxruntime-gpu."""
    found = doctor.check_builds((OrtBuild("onnxruntime-gpu", "1.31", SITE, on_top),))
    assert found.status is Status.FAIL
    assert found.advice == "run: pip install --no-deps --force-reinstall onnxruntime-gpu"


def test_no_build_at_all() -> None:
    assert doctor.check_builds(()).status is Status.FAIL


def test_a_cache_with_files(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x" * 2500)
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    assert doctor.check_cache(tmp_path) == Finding("model cache", Status.OK, f"{tmp_path}, 2.5 kB")


def test_a_cache_that_is_not_made_yet(tmp_path: Path) -> None:
    assert doctor.check_cache(tmp_path / "a" / "b").detail.endswith("not made yet")


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = doctor.check_cache(tmp_path / "file" / "hub")
    assert found.status is Status.WARN
    assert "HF_HOME" in found.advice


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.check_cache(tmp_path / "hub").status is Status.WARN


def test_a_sound_bundle(tmp_path: Path) -> None:
    path = tiny.write_tiny_bundle(tmp_path / "tiny")
    found = doctor.check_bundle(path)
    assert found.status is Status.OK
    assert "tiny 0.0.1 is whole" in found.detail


def test_where_and_how_the_models_run(tmp_path: Path) -> None:
    found = doctor.check_execution(tiny.write_tiny_bundle(tmp_path / "tiny"))
    assert found.status is Status.OK
    if ort.find_cuda_problem():
        assert found.detail == "on CPUExecutionProvider (arrays in and out)"
    else:
        assert found.detail.startswith("on CUDAExecutionProvider (bound")


def test_a_bundle_that_computes_something_else(tmp_path: Path) -> None:
    path = tiny.write_tiny_bundle(tmp_path / "tiny")
    with np.load(path / "golden.npz") as archive:
        record = dict(archive.items())
    record["case1_audio_logits"][0] += 1
    np.savez(path / "golden.npz", **record)
    description = json.loads((path / "bundle.json").read_text())
    description["files"] = tiny.file_records(path)
    tiny.seal(path, description)
    found = doctor.check_bundle(path)
    assert found.status is Status.FAIL
    assert found.detail.startswith("output logits of part audio, case 1 is 0.81 off its record")


def test_a_tampered_bundle(tmp_path: Path) -> None:
    path = tiny.write_tiny_bundle(tmp_path / "tiny")
    (path / "MODEL_CARD.md").write_text("# Tony\n")
    with pytest.raises(BundleIntegrityError):
        doctor.check_bundle(path)
    (found,) = [f for f in doctor.diagnose(path, hub=NO_HUB) if f.name.startswith("bundle")]
    assert found.status is Status.FAIL
    assert found.detail.endswith("MODEL_CARD.md: its content has changed")
    assert found.advice.startswith("reinstall")


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refusing_hub() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_any_answer_of_the_hub_is_an_answer(
    refusing_hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert doctor.check_hub(refusing_hub).status is Status.OK


def test_a_hub_that_refuses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # Bound and not listening: refused.
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = doctor.check_hub(address)
    assert found.status is Status.WARN
    assert address in found.detail
    assert "--asr off" in found.advice


def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # The kernel connects, nobody reads.
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = doctor.check_hub(address, deadline_s=0.05)
    assert found.status is Status.WARN


def test_an_address_that_is_none() -> None:
    assert doctor.check_hub(NO_HUB).status is Status.WARN
