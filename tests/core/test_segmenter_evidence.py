"""Doubtful speech: '#' is speech beyond doubt, '+' is speech, '.' is none."""

from __future__ import annotations

import pytest
from timelines import EVIDENCE

from realtime_ser.config import Settings
from realtime_ser.core.segmenter import Segmenter, SpeechStarted
from realtime_ser.types import FRAME_SAMPLES

# In frames: start 3 in 5, minimum 4, hangover 5, talk memory 20.
SETTINGS = Settings(
    start_voiced_ms=90,
    start_window_ms=150,
    min_speech_ms=120,
    speculate_after_ms=60,
    hangover_ms=150,
    talk_memory_s=0.6,
)
SILENCE = "......"


def starts(line: str, settings: Settings = SETTINGS) -> list[int]:
    """The frames at which utterances are announced."""
    segmenter = Segmenter(settings)
    announced = []
    for index, mark in enumerate(line):
        start = index * FRAME_SAMPLES
        actions = segmenter.push(start, start + FRAME_SAMPLES, EVIDENCE[mark], 0.0)
        announced += [index for action in actions if isinstance(action, SpeechStarted)]
    return announced


@pytest.mark.parametrize(
    ("line", "announced"),
    [
        # four frames beyond doubt, wherever they are among the doubtful ones
        ("####", [3]),
        ("++++####", [7]),
        ("+#+#+#+#", [7]),
        # doubtful speech alone opens nothing, however long
        ("+" * 40, []),
        ("###" + "+" * 40, []),
        # but it holds the place of what comes after, and is part of it
        ("+++..++..####", [12]),
        # certainty from before the hangover does not count
        ("###" + SILENCE + "###", []),
    ],
)
def test_an_utterance_needs_speech_beyond_doubt(line: str, announced: list[int]) -> None:
    assert starts(line) == announced


def test_doubtful_speech_counts_while_the_last_utterance_is_recent() -> None:
    assert starts("####" + SILENCE + "++++") == [3, 13]


def test_it_no_longer_counts_when_the_last_utterance_is_long_ago() -> None:
    # the memory is 20 frames from the last speech frame: 3 + 20 is the last onset within it
    assert starts("####" + "." * 19 + "++++") == [3, 26]
    assert starts("####" + "." * 20 + "++++") == [3]


def test_a_dropped_beginning_is_no_talk() -> None:
    assert starts("###" + SILENCE + "++++") == []


def test_without_memory_nothing_doubtful_counts() -> None:
    forgetful = Settings(
        min_speech_ms=120, speculate_after_ms=60, hangover_ms=150, talk_memory_s=0.0
    )
    assert starts("####" + SILENCE + "++++", forgetful) == [3]
