"""Folding events into what a view shows, and the summary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.core.events import (
    ErrorEvent,
    Event,
    SessionCreated,
    TranscriptPartial,
    UtteranceStart,
)
from realtime_ser.io.terminal_widgets import utterance_lines
from realtime_ser.io.view_state import ViewState, clock, percentile, printable, summary_lines
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.types import Transcript


def folded(events: list[Event]) -> ViewState:
    state = ViewState()
    for event in events:
        state.take(event)
    return state


def test_an_utterance_grows_with_its_events(conversation: list[Event]) -> None:
    state = ViewState()
    seen = []
    for event in conversation[:7]:
        state.take(event)
        line = state.utterances[-1] if state.utterances else None
        seen.append((state.speaking, line and (line.text, line.speech_seconds, line.final)))
    assert seen == [
        (False, None),
        (True, (None, 0.0, False)),
        (True, (None, 0.6, False)),
        (True, ("we won\x1b[31m the game", 0.6, False)),
        (False, ("we won\x1b[31m the game", 2.0, True)),
        (False, ("we won\x1b[31m the game", 2.0, True)),
        (False, ("we won\x1b[31m the game", 2.0, True)),
    ]


def test_words_so_far_are_shown_until_there_is_the_final(conversation: list[Event]) -> None:
    created, start, partial, _, final, *_ = conversation
    transcript = Transcript("we\x1b[31m won", "en", -0.2, 0.01)
    at = {"utterance_id": 0, "audio_start": 0}
    words = TranscriptPartial(audio_end=9600, revision=0, transcript=transcript, **at)
    state = folded([created, start, partial, words])
    (line,) = state.utterances
    assert (line.text, line.words_so_far) == (None, "we\x1b[31m won")
    assert utterance_lines(state, 80, 5)[0].plain.endswith("we [31m won …")
    state.take(final)  # with a transcript that was not believable
    assert utterance_lines(state, 80, 5)[0].plain.endswith("[no transcript]")


def test_the_end_state_of_a_conversation(conversation: list[Event]) -> None:
    state = folded(conversation)
    assert [line.failed for line in state.utterances] == [False, False, True, False]
    assert state.current is state.utterances[-1]
    assert state.rolling is not None
    assert state.rolling.emotion.top == "sad"
    assert (state.finals, state.failures, len(state.ledgers)) == (4, 1, 4)
    assert [point.valence for point in state.trail] == pytest.approx(
        [0.25] * 2 + [0.35] * 2 + [0.55] * 2
    )
    assert state.position_s == 17.0
    assert state.closed is not None


def test_a_new_stream_begins_afresh_but_totals_go_on(conversation: list[Event]) -> None:
    state = folded(conversation)
    [created] = [event for event in conversation if isinstance(event, SessionCreated)]
    state.take(created)
    assert not state.utterances
    assert not state.trail
    assert state.rolling is None
    assert state.closed is None
    assert state.finals == 4


def test_memory_is_bounded(conversation: list[Event]) -> None:
    state = ViewState()
    for number in range(1000):
        state.take(UtteranceStart(audio_end=number, utterance_id=number, audio_start=0))
    assert len(state.utterances) == 200


def test_levels_and_losses() -> None:
    state = ViewState()
    loud = AudioBlock(np.full(1600, 16_384, np.int16), 16_000)
    quiet = AudioBlock(np.full(1600, 16, np.int16), 16_000, lost_samples=8000)
    state.hear(loud)
    assert state.level_dbfs == state.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    state.hear(quiet)
    assert state.level_dbfs == pytest.approx(-66.2, abs=0.1)
    assert state.peak_dbfs == pytest.approx(-6.02 - 1.2, abs=0.01)
    assert (state.losses, state.lost_seconds) == (1, 0.5)


def test_summary(conversation: list[Event]) -> None:
    state = folded(conversation)
    state.hear(AudioBlock(np.zeros(160, np.int16), 16_000, lost_samples=4000))
    assert summary_lines(state) == [
        "4 utterances, 6.0 s of speech; 2 by voice and words",
        "by speech time: happy 33 %, unsure 33 %, sad 33 %",
        "not analysed: 1 utterance",
        "end of speech to result: median 517 ms, 95 % 537 ms, hangover 500 ms",
        "audio lost: 1 time, 0.25 s",
        "slow: results are late",
    ]
    failure = ErrorEvent(audio_end=0, code="audio_device", message="gone", fatal=True)
    state.take(failure)
    assert "gone" in state.messages.values()
    assert "gone" not in " ".join(summary_lines(state))
    assert summary_lines(ViewState()) == ["0 utterances, 0.0 s of speech"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_has_its_share_at_or_below(values: list[float], percent: float) -> None:
    chosen = percentile(values, percent)
    assert chosen in values
    assert sum(value <= chosen for value in values) >= len(values) * percent / 100 - 1e-9
    assert sum(value < chosen for value in values) <= len(values) * percent / 100


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.9, 61, 3600, 36_061)] == [
        "0:00",
        "0:59",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]


def test_control_characters_are_taken_out() -> None:
    assert printable("a\x1b[2J\nb\t\u202ec") == "a [2J b c"
