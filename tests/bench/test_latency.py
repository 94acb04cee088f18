"""Latency: what is read from the ledger, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime_ser.bench.latency import (
    as_row,
    cases,
    measure_paced,
    measure_unaware,
    parse_varied,
    resolve_asr,
)
from realtime_ser.config import Settings
from realtime_ser.errors import ConfigError


def test_policy_alone_costs_the_hangover_and_nothing_else() -> None:
    settings = Settings(hangover_ms=450)
    [case] = cases(settings, {}, [2.0])
    [observed] = measure_unaware([case], 4)
    assert observed.utterances == 4
    assert observed.missed == 0
    assert observed.samples["after_endpoint"] == [0.0] * 4
    assert observed.samples["end_of_speech_to_final"] == pytest.approx([450] * 4)
    assert set(observed.samples["partial_lag"]) == {0.0}
    assert observed.compute == {}
    # from where speech begins by the script, which the detector may hear a frame early
    assert min(observed.samples["first_estimate"]) >= settings.partial_first_ms - 30


def test_a_shorter_hangover_is_a_shorter_wait() -> None:
    wanted = cases(Settings(), {"hangover_ms": (300, 600)}, [2.0])
    short, long = measure_unaware(wanted, 3)
    assert max(short.samples["felt"]) < min(long.samples["felt"])


def test_paced_waits_add_up_and_name_what_was_measured(small_bundle: Path, tmp_path: Path) -> None:
    settings = Settings(bundle=str(small_bundle), asr="random-tiny", threads=1, hangover_ms=300)
    wanted = cases(settings, {"speculation": (True, False)}, [1.0])
    rows = [
        as_row(case, observed, pace="paced")
        for case, observed in zip(wanted, measure_paced(wanted, 1, tmp_path), strict=True)
    ]
    assert [row["config"]["speculation"] for row in rows] == [True, False]
    for row in rows:
        assert row["asr"].startswith("random-tiny (random weights")
        assert row["utterances"] == 1
        [whole] = row["samples_ms"]["end_of_speech_to_final"]
        parts = [value for [value] in row["critical_ms"].values()]
        assert sum(parts) == pytest.approx(whole, abs=0.01)
        assert row["compute_ms"]["asr"][0] > 0


def test_all_combinations_are_measured() -> None:
    varied = parse_varied(["asr=off,mini", "speculation=true,no"])
    assert varied == {"asr": ("off", "mini"), "speculation": (True, False)}
    found = cases(Settings(), varied, [2.0, 4.0])
    assert len(found) == 8
    assert {(c.settings.asr, c.settings.speculation, c.utterance_s) for c in found} == {
        (asr, on, length) for asr in ("off", "mini") for on in (True, False) for length in (2, 4)
    }


@pytest.mark.parametrize("text", ["speculation", "colour=red", "=1"])
def test_what_cannot_be_varied_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--vary"):
        parse_varied([text])


def test_there_are_random_models_of_real_sizes_only(tmp_path: Path) -> None:
    assert resolve_asr("mini", 3, tmp_path) == "mini"
    with pytest.raises(ConfigError, match="random-tiny"):
        resolve_asr("random-enormous", 3, tmp_path)
