"""Requests after warm-up, each beside the median of its shape."""

from __future__ import annotations

import json
from pathlib import Path

from realtime_ser.bench.encoders import EncoderPlan, bench_encoders
from realtime_ser.bench.report import tables
from realtime_ser.bench.steadiness import measure_steadiness
from realtime_ser.config import Settings
from realtime_ser.models.ort import choose_provider


def test_every_shape_has_a_row_and_its_slowest_run(small_bundle: Path) -> None:
    found = measure_steadiness(
        Settings(), str(small_bundle), choose_provider("cpu"), 1, (0.5, 1.0), 4
    )
    assert found["bundle"] == "tiny"
    assert set(found["execution"]) == {"audio", "text", "fusion"}
    shapes = [(row["kind"], row["audio_s"], row["batch"]) for row in found["rows"]]
    assert shapes == [
        ("final", 0.415, 1),
        ("final", 0.5, 1),
        ("final", 0.83, 1),
        ("final", 1.0, 1),
        ("partial", 0.83, 3),
        ("partial", 0.83, 8),
    ]
    for row in found["rows"]:
        assert len(row["all_ms"]) == 4
        assert row["first_ms"] <= row["max_ms"]
        assert row["slowest"] == row["max_ms"] / row["median_ms"] >= 1
        assert row["slowest_cpu"] >= 1


def test_it_is_in_the_result_and_in_the_report(small_bundle: Path) -> None:
    plan = EncoderPlan((str(small_bundle),), (0.5,), (1,), runs=2)
    result = bench_encoders(Settings(threads=1), plan)
    result = json.loads(json.dumps(result))
    text = "\n".join(tables(result))
    assert "tiny/audio ran with: arrays in and out." in text
    assert "Whole requests to tiny after warm-up, the first of each shape included" in text
    slow = next(row for each in result["steadiness"] for row in each["rows"])
    slow["slowest"] = 2.5
    assert f"2.50 | {slow['slowest_cpu']:.2f}" in "\n".join(tables(result))
    for each in result["steadiness"][0]["rows"]:
        each["slowest"] = each["slowest_cpu"] = 2.5
    assert "in 4 of 4 shapes by the clock, in 4 by the CPU time" in "\n".join(tables(result))
    # results of before it was measured are still told
    del result["steadiness"]
    for row in result["rows"]:
        del row["execution"], row["precision"]
    assert "roofline" in "\n".join(tables(result))
