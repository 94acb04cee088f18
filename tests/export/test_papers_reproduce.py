"""The verb `reproduce`: its arguments, and a quick run of every paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime_ser.models.bundle import load_bundle
from realtime_ser_export.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "iemocap"], "--corpus 'iemocap' is not NAME=VALUE"),
        (["--vectors", "=x"], "--vectors '=x' is not NAME=VALUE"),
        (["--threads", "0"], "--threads must be 1 or more"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["reproduce", "paper5", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*given, *arguments]) == 4
    assert capsys.readouterr().err == f"realtime-ser-export: error: {message}\n"


def test_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("librosa")
    given = ["reproduce", "paper4", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*given, "--work", str(tmp_path / "work")]) == 4
    assert "holds no speech.csv; give --data the folder that does" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.parametrize(
    ("paper", "systems"),
    [("paper1", 16), ("paper2", 25), ("paper3", 5), ("paper4", 16), ("paper5", 7)],
)
def test_every_system_runs(
    paper: str, systems: int, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch", "librosa", "noisereduce", "lightgbm", "xgboost", "transformers"):
        pytest.importorskip(name)
    out = tmp_path / "out"
    given = ["reproduce", paper, "--data", str(corpora), "--out", str(out)]
    assert main([*given, "--work", str(tmp_path / "work"), "--quick"]) == 0
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert len(rows) == systems
    for row in rows:
        assert row["reason"]
        assert 0 <= row["ours"]["wa"] <= 100
    assert (out / "report.md").read_text().strip() in capsys.readouterr().out
    assert (out / "table.png").stat().st_size > 5_000
    if paper == "paper4":
        for system, encoders in (("baseline", 1), ("ensemble", 2), ("multilingual", 2)):
            bundle = load_bundle(out / "folds" / system / "bundle")
            assert len(bundle.description.audio) == encoders
            assert bundle.description.fusion is not None
