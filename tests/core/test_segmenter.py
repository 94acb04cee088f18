from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timelines import EVIDENCE, LOUD, QUIET, segment

from realtime_ser.config import Settings
from realtime_ser.core.segmenter import (
    TRANSITIONS,
    Action,
    Segmenter,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    State,
)
from realtime_ser.types import FRAME_SAMPLES, ClosedBy, Evidence

F = FRAME_SAMPLES

# In frames: start 3 in 5, minimum 4, pause 2, hangover 5, maximum 67, cut from 34 on, pre-roll 2.
SMALL = Settings(
    start_voiced_ms=90,
    start_window_ms=150,
    min_speech_ms=120,
    speculate_after_ms=60,
    hangover_ms=150,
    max_utterance_s=2.01,
    soft_split_s=1.02,
    pre_roll_ms=60,
)


def actions_of(line: str, settings: Settings = SMALL) -> list[Action]:
    segmenter = Segmenter(settings)
    actions = []
    for index, mark in enumerate(line):
        energy = {"#": LOUD, ".": QUIET, "q": LOUD / 4}[mark]
        evidence = EVIDENCE[mark.replace("q", "#")]
        actions += segmenter.push(index * F, (index + 1) * F, evidence, energy)
    return actions + segmenter.close(ClosedBy.EOF, len(line) * F)


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ("..........", "----------"),
        # three of five open, the fourth makes it an utterance
        ("...####...", "------S-P-"),
        ("..#.#.##..", "-------S-P"),
        # two in five open nothing
        (".#...#...#...", "-------------"),
        # opened, but silence came before the minimum
        ("..###......####", "--------------S"),
        # a pause and then more speech
        (".####..##.....", "----S-PR--P--E"),
        # the hangover starts again with every speech frame
        (".####....#....#.....", "----S-P--R-P--R-P--E"),
        # the next utterance opens as the first did
        (".####.....####.....", "----S-P--E---S-P--E"),
    ],
)
def test_time_lines(line: str, drawn: str) -> None:
    assert segment(Segmenter(SMALL), line) == drawn


def test_audio_begins_before_the_speech_and_ends_a_fixed_tail_after_it() -> None:
    actions = actions_of("....####........")
    assert actions == [
        SpeechStarted(start=2 * F, onset=4 * F),
        SpeechPaused(start=2 * F, end=10 * F, speech_samples=4 * F),
        SpeechEnded(2 * F, 10 * F, 8 * F, 4 * F, ClosedBy.SILENCE),
    ]


def test_pre_roll_never_reaches_into_the_last_utterance_or_before_the_beginning() -> None:
    first, second = [a for a in actions_of("####.....####") if isinstance(a, SpeechStarted)]
    assert first.start == 0
    assert second.start == 7 * F
    settings = Settings(pre_roll_ms=5000, hangover_ms=150, min_speech_ms=90)
    ends = [a for a in actions_of("####......####......", settings) if isinstance(a, SpeechEnded)]
    assert [(e.start, e.end) for e in ends] == [(0, 9 * F), (9 * F, 19 * F)]


def test_end_of_audio_closes_what_was_announced_and_drops_what_was_not() -> None:
    assert actions_of("..####")[-1] == SpeechEnded(0, 6 * F, 6 * F, 4 * F, ClosedBy.EOF)
    assert actions_of("..###") == []


def test_a_long_utterance_is_cut_at_its_quietest_late_frame() -> None:
    line = "#" * 10 + "q" + "#" * 39 + "q" + "#" * 20 + "....."
    actions = actions_of(line)
    assert actions[:3] == [
        SpeechStarted(0, 0),
        SpeechEnded(0, 50 * F, 50 * F, 50 * F, ClosedBy.MAX_LENGTH),
        SpeechStarted(50 * F, 50 * F),
    ]
    assert actions[-1] == SpeechEnded(50 * F, 73 * F, 71 * F, 21 * F, ClosedBy.SILENCE)


def test_after_a_cut_in_trailing_silence_nothing_goes_on() -> None:
    actions = actions_of("#" * 64 + "...." + "####......")
    ends = [a for a in actions if isinstance(a, SpeechEnded)]
    assert [(e.start, e.end, e.closed_by) for e in ends] == [
        (0, 66 * F, ClosedBy.MAX_LENGTH),
        (66 * F, 74 * F, ClosedBy.SILENCE),
    ]


def test_a_gap_ends_the_utterance_and_bars_the_pre_roll() -> None:
    segmenter = Segmenter(SMALL)
    segment(segmenter, "####")
    assert segmenter.close(ClosedBy.GAP, 100 * F) == [
        SpeechEnded(0, 4 * F, 4 * F, 4 * F, ClosedBy.GAP)
    ]
    started = [
        action
        for index in range(100, 104)
        for action in segmenter.push(index * F, (index + 1) * F, Evidence.SURE, LOUD)
    ]
    assert started == [SpeechStarted(start=100 * F, onset=100 * F)]


def test_the_table_has_a_way_out_of_every_state_but_idle_on_closing() -> None:
    from realtime_ser.core.segmenter import Signal

    for state in set(State) - {State.IDLE}:
        assert TRANSITIONS[state, Signal.CLOSED][0] is State.IDLE


@given(
    line=st.text("#.", max_size=400),
    speculate=st.integers(1, 6),
    hangover=st.integers(2, 10),
    minimum=st.integers(1, 12),
    pre_roll=st.integers(0, 12),
    split=st.integers(34, 67),
)
def test_whatever_is_heard_utterances_are_whole_ordered_and_apart(
    line: str, speculate: int, hangover: int, minimum: int, pre_roll: int, split: int
) -> None:
    settings = Settings(
        speculate_after_ms=30 * min(speculate, hangover),
        hangover_ms=30 * hangover,
        min_speech_ms=30 * minimum,
        pre_roll_ms=30 * pre_roll,
        max_utterance_s=2.01,
        soft_split_s=min(0.03 * split, 2.01),
    )
    announced: SpeechStarted | None = None
    paused: SpeechPaused | None = None
    last_end = 0
    for action in actions_of(line, settings):
        match action:
            case SpeechStarted(start, onset):
                assert announced is None
                assert last_end <= start <= onset
                assert line[onset // F] == "#"
                announced, paused = action, None
            case SpeechPaused():
                assert announced is not None
                assert paused is None
                paused = action
            case SpeechResumed():
                assert paused is not None
                paused = None
            case SpeechEnded(start, end, speech_end, speech_samples, closed_by):
                assert announced is not None
                assert start == announced.start
                assert start < speech_end <= end <= len(line) * F
                heard = line[announced.onset // F : speech_end // F].count("#") * F
                assert speech_samples == heard > 0
                assert end - start <= (67 + pre_roll) * F
                if closed_by is ClosedBy.SILENCE:
                    assert paused is None or (paused.start, paused.end) == (start, end)
                announced, last_end = None, end
    assert announced is None
