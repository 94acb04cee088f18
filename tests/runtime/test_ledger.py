from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.core.events import Ledger
from realtime_ser.runtime.ledger import CRITICAL_PARTS, ledger
from realtime_ser.types import Stage, StageTiming


def timing(stage: Stage, started_s: float, ended_s: float) -> StageTiming:
    return StageTiming(stage, started_s, ended_s)


def parts(account: Ledger) -> dict[str, float]:
    """The critical parts that are not 0, in whole milliseconds."""
    return {name: round(value) for name, value in account.critical.items() if round(value)}


def test_without_speculation_every_stage_is_waited_for() -> None:
    account = ledger(
        speech_end_s=10.0,
        endpoint_s=10.5,
        stages=[
            timing(Stage.ASR, 10.51, 10.71),
            timing(Stage.AUDIO_ENCODER, 10.71, 10.72),
            timing(Stage.FUSION, 10.725, 10.726),
        ],
        emitted_s=10.73,
    )
    expected = {"hangover": 500, "queue": 15, "asr": 200, "audio_encoder": 10, "fusion": 1}
    assert parts(account) == {**expected, "emit": 4}
    assert account.end_of_speech_to_emit == pytest.approx(730)


def test_speculation_hides_what_ran_before_the_decision() -> None:
    account = ledger(
        speech_end_s=10.0,
        endpoint_s=10.5,
        stages=[timing(Stage.ASR, 10.2, 10.4), timing(Stage.AUDIO_ENCODER, 10.4, 10.51)],
        emitted_s=10.52,
    )
    assert parts(account) == {"hangover": 500, "audio_encoder": 10, "emit": 10}
    assert account.compute == pytest.approx({"asr": 200, "audio_encoder": 110})


def test_stages_that_overlap_are_counted_once() -> None:
    account = ledger(
        speech_end_s=0.0,
        endpoint_s=0.0,
        stages=[timing(Stage.ASR, 0.0, 0.2), timing(Stage.AUDIO_ENCODER, 0.1, 0.25)],
        emitted_s=0.25,
    )
    assert parts(account) == {"asr": 200, "audio_encoder": 50}


moments = st.floats(0, 100)


@given(
    times=st.lists(moments, min_size=3, max_size=3),
    runs=st.lists(st.tuples(st.sampled_from(Stage), moments, moments), max_size=5),
)
def test_the_parts_add_up_whatever_the_clocks_say(
    times: list[float], runs: list[tuple[Stage, float, float]]
) -> None:
    speech_end_s, endpoint_s, emitted_s = times
    stages = [timing(stage, min(a, b), max(a, b)) for stage, a, b in runs]
    stages.sort(key=lambda stage: stage.started_s)
    account = ledger(
        speech_end_s=speech_end_s, endpoint_s=endpoint_s, stages=stages, emitted_s=emitted_s
    )
    assert tuple(account.critical) == CRITICAL_PARTS
    assert all(value >= 0 for value in account.critical.values())
    assert sum(account.critical.values()) == pytest.approx(account.end_of_speech_to_emit, abs=1e-6)
    assert account.end_of_speech_to_emit == pytest.approx(
        max(0, emitted_s - speech_end_s) * 1000, abs=1e-6
    )
