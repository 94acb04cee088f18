from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.core.rolling import RollingState
from realtime_ser.types import Affect, Emotion

seconds = st.floats(0.05, 30)
shares = st.floats(0, 1)


def emotion(share: float) -> Emotion:
    return Emotion(("calm", "tense"), (1 - share, share))


def affect(value: float) -> Affect:
    return Affect(value, value, value)


@given(st.lists(st.tuples(shares, seconds), min_size=1, max_size=20), st.floats(0.5, 60))
def test_it_is_a_weighted_mean(heard: list[tuple[float, float]], half_life: float) -> None:
    state = RollingState(half_life)
    for share, length in heard:
        estimate = state.update(emotion(share), affect(share), length, 0)
    values = [share for share, _ in heard]
    assert min(values) - 1e-9 <= estimate.emotion.probabilities[1] <= max(values) + 1e-9
    assert min(values) - 1e-9 <= estimate.affect.valence <= max(values) + 1e-9
    assert sum(estimate.emotion.probabilities) == pytest.approx(1)
    assert estimate.effective_seconds <= sum(length for _, length in heard) + 1e-9


@given(shares, seconds, seconds, shares)
def test_one_utterance_equals_two_that_say_the_same(
    share: float, first: float, second: float, before: float
) -> None:
    whole, halves = RollingState(8), RollingState(8)
    for state in (whole, halves):
        state.update(emotion(before), affect(before), 3, 0)
    one = whole.update(emotion(share), affect(share), first + second, 9)
    halves.update(emotion(share), affect(share), first, 5)
    two = halves.update(emotion(share), affect(share), second, 9)
    assert one.emotion.probabilities == pytest.approx(two.emotion.probabilities)
    assert one.effective_seconds == pytest.approx(two.effective_seconds)


def test_after_one_half_life_of_speech_the_past_counts_half() -> None:
    state = RollingState(10)
    state.update(emotion(0), affect(0), 10_000, 0)  # the past, as good as endless
    estimate = state.update(emotion(1), affect(1), 10, 0)
    assert estimate.emotion.probabilities[1] == pytest.approx(0.5)


def test_another_set_of_labels_starts_afresh() -> None:
    state = RollingState(10)
    state.update(emotion(1), affect(1), 5, 0)
    other = Emotion(("a", "b", "c"), (0.2, 0.3, 0.5))
    assert state.update(other, affect(0.5), 5, 0).emotion.probabilities == pytest.approx(
        (0.2, 0.3, 0.5)
    )
