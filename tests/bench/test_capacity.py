"""Capacity: the search, and one round with a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.bench.capacity import CapacityPlan, as_flags, find_knee, measure_capacity
from realtime_ser.cli import _parser, _settings
from realtime_ser.config import Settings


@given(limit=st.integers(0, 300), start=st.integers(1, 16), most=st.integers(16, 400))
def test_the_knee_is_carried_and_no_quarter_below_the_limit(
    limit: int, start: int, most: int
) -> None:
    tried: list[int] = []

    def carried(clients: int) -> bool:
        tried.append(clients)
        return clients <= limit

    knee = find_knee(carried, start, most)
    assert max(tried) <= most
    if start > limit:
        assert knee == 0
    else:
        # two halvings of the gap to the double leave a quarter of it
        assert min(limit, most) / 1.26 - 1 <= knee <= min(limit, most)


def test_flags_make_the_settings_again() -> None:
    settings = Settings(asr="off", speculation=False, hangover_ms=600, partial_window_s=2.5)
    options = _parser().parse_args(["serve", *as_flags(settings)])
    assert _settings(options).settings == settings
    assert as_flags(Settings()) == []


def test_clients_of_a_real_server_are_counted(small_bundle: Path, tmp_path: Path) -> None:
    settings = Settings(bundle=str(small_bundle), asr="off", threads=1)
    plan = CapacityPlan(utterance_s=1.0, seconds=2.0, start=1, most=2, limit_ms=60_000)
    lines: list[str] = []
    row = measure_capacity(settings, plan, tmp_path, lines.append)
    assert row["clients"] == 2
    assert row["reached_most"]
    assert [step["clients"] for step in row["steps"]] == [1, 2]
    assert len(lines) == 2
    last = row["steps"][-1]
    assert last["finals"] >= 1
    assert last["finals_lost"] == 0
    assert not last["errors"]
    assert last["server_mib"] > 10
    assert last["wait_ms"]["p95"] >= last["wait_ms"]["p50"]


def test_silence_follows_from_the_duty() -> None:
    assert CapacityPlan(utterance_s=3.0, duty=0.5).silence_s == 3.0
    assert CapacityPlan(utterance_s=3.0, duty=0.75).silence_s == pytest.approx(1.0)
