"""What the README says can be typed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from realtime_ser.cli import main
from realtime_ser.config import ALL_SPECS
from realtime_ser.samples import sample_path
from realtime_ser_export.cli import main as export_main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shutil.copy(sample_path("short"), tmp_path / "call.wav")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert re.fullmatch(r" +\d\.\d s  \w+  0\.\d\d\n", capsys.readouterr().out)


def test_its_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_its_flags_and_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    said = ""
    for command in ("file", "listen", "pipe", "serve", "doctor", "config", "schema", "bench"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        said += capsys.readouterr().out
    for verb in ("latency", "capacity", "encoders", "report", "compare"):
        with pytest.raises(SystemExit):
            main(["bench", verb, "--help"])
        said += capsys.readouterr().out
    said += exporting_help(capsys)
    # the flags of pip, websocat and the Wyoming service stand in the README too
    foreign = {"--no-deps", "--force-reinstall", "--no-close", "--binary", "--uri"}
    for flag in set(re.findall(r"--[a-z][a-z-]+", README)) - foreign:
        assert flag in said, flag
    for variable in re.findall(r"REALTIME_SER_([A-Z_]+)=", README):
        assert variable.lower() in ALL_SPECS
    for command in re.findall(r"`realtime-ser ([a-z]+)", README):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        capsys.readouterr()


def exporting_help(capsys: pytest.CaptureFixture[str]) -> str:
    """What `realtime-ser-export VERB --help` says of each verb that the README types."""
    said = ""
    for verb in sorted(set(re.findall(r"realtime-ser-export\s+([a-z][a-z-]*)", README))):
        with pytest.raises(SystemExit) as ended:
            export_main([verb, "--help"])
        assert ended.value.code == 0, verb
        said += capsys.readouterr().out
    return said
