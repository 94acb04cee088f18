"""What is written can be read, told, drawn and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime_ser.bench.report import ledger_rows, markdown
from realtime_ser.bench.results import new_result, read_results, write_results
from realtime_ser.bench.statistics import summary
from realtime_ser.cli import main
from realtime_ser.config import Settings
from realtime_ser.runtime.ledger import CRITICAL_PARTS


def latency_result(scale: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """40 utterances that wait about 40 ms times `scale` after the endpoint."""
    late = np.random.default_rng(seed).gamma(16, 2.5, 40) * scale
    parts = {part: [0.0] * 40 for part in CRITICAL_PARTS}
    parts |= {"hangover": [500.0] * 40, "asr": late.tolist()}
    row = {
        "config": {"utterance_s": 3.0, "pace": "paced", "speculation": True},
        "asr": "mini",
        "providers": ["CPUExecutionProvider"],
        "utterances": 40,
        "missed": 0,
        "samples_ms": {
            "after_endpoint": late.tolist(),
            "felt": (late + 520).tolist(),
            "partial_lag": [0.2, 0.5, 0.4],
        },
        "critical_ms": parts,
        "compute_ms": {"asr": [45.0] * 40},
    }
    return new_result("latency", Settings(asr="mini"), rows=[row])


def capacity_result() -> dict[str, Any]:
    step = {
        "clients": 4, "carried": True, "wait_ms": summary([5.0, 9.0]), "waits_ms": [5.0, 9.0],
        "ledger_ms": None, "partial_lag_ms": None, "finals": 2, "finals_lost": 0,
        "server_cores": 0.1, "clients_cores": 0.02, "server_mib": 120.0,
    }  # fmt: skip
    row = {
        "config": {"utterance_s": 3.0, "duty": 0.5, "limit_ms": 500.0}, "asr": "off", "clients": 4,
        "reached_most": True, "clients_per_core": 40.0, "clients_per_core_of_machine": 2.0,
        "mib_per_client": 0.4, "server_mib_idle": 100.0, "gpu_mib": None, "steps": [step],
    }  # fmt: skip
    return new_result("capacity", Settings(), rows=[row])


def write(path: Path, *results: dict[str, Any]) -> Path:
    write_results(path, list(results))
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "one.json", latency_result(), capacity_result())
    assert [result["kind"] for result in read_results([path])] == ["latency", "capacity"]
    assert read_results([tmp_path / "a"]) == read_results([path])
    [result] = json.loads(path.read_text())[:1]
    assert result["settings"] == {"asr": "mini"}
    assert {"revision", "processor", "packages", "reference_ms"} <= result["machine"].keys()


def test_the_ledger_adds_up_in_its_table() -> None:
    head, row = ledger_rows(latency_result()["rows"])
    shown = dict(zip(head, row, strict=True))
    total = sum(float(shown[part]) for part in CRITICAL_PARTS)
    assert float(shown["= wait"]) == pytest.approx(total, abs=1)
    assert float(shown["cost of asr"]) == 45


def test_tables_say_what_they_rest_on() -> None:
    text = markdown([latency_result(), capacity_result()])
    assert "GPU figures *not measured*" in text or "GPU" not in latency_result()["machine"]["gpu"]
    assert "| asr mini, 3 s, speculation on | endpoint → final | 40 |" in text
    assert "| asr off | 3 of 6 s talk, p95 < 500 ms | 4 or more | 40.0 | 2.0 |" in text
    assert "| 100 | 0.40 | *not measured* |" in text


def test_a_run_compared_with_itself_is_no_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(tmp_path / "a.json", latency_result(), capacity_result()))
    assert main(["bench", "compare", path, path]) == 0
    assert "0 of 8 measures got slower" in capsys.readouterr().out


@pytest.mark.parametrize("scale, code", [(1.0, 0), (1.5, 1), (0.5, 0)])
def test_only_what_got_slower_beyond_noise_fails(tmp_path: Path, scale: float, code: int) -> None:
    before = write(tmp_path / "before.json", latency_result())
    after = write(tmp_path / "after.json", latency_result(scale, seed=1))
    assert main(["bench", "compare", str(before), str(after)]) == code


def test_a_large_ratio_of_next_to_nothing_is_no_regression(tmp_path: Path) -> None:
    before, after = latency_result(), latency_result()
    after["rows"][0]["samples_ms"]["partial_lag"] = [0.9, 1.1, 1.3]
    paths = [write(tmp_path / "a.json", before), write(tmp_path / "b.json", after)]
    assert main(["bench", "compare", *map(str, paths)]) == 0


def test_what_has_nothing_in_common_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        write(tmp_path / "a.json", latency_result()),
        write(tmp_path / "b.json", capacity_result()),
    ]
    # not 1, which says that something got slower
    assert main(["bench", "compare", *map(str, paths)]) == 2
    said = capsys.readouterr().err
    assert "nothing to compare" in said
    assert "a.json (latency)" in said and "b.json (capacity)" in said


def test_another_machine_and_lost_rows_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = latency_result()
    other["machine"]["processor"] = "an abacus"
    before = write(tmp_path / "before.json", latency_result(), capacity_result())
    assert main(["bench", "compare", str(before), str(write(tmp_path / "b.json", other))]) == 0
    said = capsys.readouterr().out
    assert "NOT the same machine" in said and "an abacus, " in said
    assert "only before, and not compared: capacity: asr off, 4 clients" in said


def test_other_json_in_a_folder_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text('{"models": {}}')
    assert main(["bench", "report", str(tmp_path)]) == 2
    assert f"no results in the JSON files of {tmp_path}" in capsys.readouterr().err
    write(tmp_path / "a.json", latency_result())
    assert [result["kind"] for result in read_results([tmp_path])] == ["latency"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]x",
        '[{"format": "other"}]',
        "[1]",
        "[]",
        '{"format": "realtime-ser bench 1", "kind": "tea"}',
    ],
)
def test_what_are_no_results_is_refused(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main(["bench", "report", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def encoder_result(batches: tuple[int, ...]) -> dict[str, Any]:
    sizes = [(1.0, 1), (3.0, 1), *((3.0, batch) for batch in batches)]
    times = [
        {
            "audio_s": seconds, "tokens": None, "batch": batch, "ms": 4.0, "p95_ms": 4.2,
            "max_ms": 4.3, "all_ms": [4.0, 4.1, 3.9], "gflop": 1.0, "roofline": 0.5,
            "real_time_factor": 0.001,
        }
        for seconds, batch in sizes
    ]  # fmt: skip
    rows = [{"model": "tiny/audio", "parameters": 10, "times": times}]
    limits = {"gflops": 100.0, "gigabytes_per_s": 10.0}
    return new_result("encoders", Settings(), threads=1, limits=limits, rows=rows)


def peers_result() -> dict[str, Any]:
    rows = [
        {"system": "ours", "model": "mini", "event": "text", "ms": [500.0, 510.0],
         "times_ours": None},
        {"system": "other 1.0", "model": "mini", "event": "text", "ms": [1500.0, 1600.0],
         "times_ours": {"value": 3.1, "low": 2.9, "high": 3.2}},
        {"system": "ours", "model": "HuBERT base, 3 s", "ms": [300.0], "times_ours": None},
    ]  # fmt: skip
    absent = [{"system": "third", "why": "no wheel"}]
    return new_result("peers", Settings(), threads=2, rows=rows, not_run=absent)


def test_peers_are_told_with_their_intervals_and_who_is_missing() -> None:
    text = markdown([peers_result()])
    assert "| 3.1 (2.9 to 3.2) |" in text
    assert "all on 2 CPU threads" in text
    assert "Not run: third: no wheel." in text


def test_settings_tell_rows_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = capacity_result()
    short["settings"]["asr_window_s"] = 10.0
    before = write(tmp_path / "before.json", capacity_result())
    after = write(tmp_path / "after.json", short)
    assert main(["bench", "compare", str(before), str(after)]) == 2
    assert "nothing to compare" in capsys.readouterr().err


def test_a_report_has_tables_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    results = [latency_result(), capacity_result(), encoder_result(()), encoder_result((2, 4))]
    path = write(tmp_path / "a.json", *results, peers_result())
    assert main(["bench", "report", str(path), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "report.md")
    assert "endpoint → final" in (tmp_path / "out" / "report.md").read_text()
    assert len(list((tmp_path / "out").glob("*.png"))) == 5


def test_a_report_is_not_written_over_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    path = write(tmp_path / "a.json", latency_result())
    assert main(["bench", "report", str(path), "--out", str(path)]) == 2
    assert f"--out {path} cannot be written" in capsys.readouterr().err
    assert read_results([path])


@pytest.mark.parametrize(
    "arguments",
    [
        ["latency", "--lengths", "2,x"],
        ["latency", "--vary", "speculation"],
        ["capacity", "--duty", "0"],
        ["capacity", "--start", "9", "--most", "3"],
        ["encoders", "--batches", "0"],
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert capsys.readouterr().err.startswith("realtime-ser: error: --")
