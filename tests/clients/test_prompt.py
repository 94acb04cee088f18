"""The line for language models."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from realtime_ser_client import Affect, Emotion, EmotionFinal, EmotionPartial, Turn, prompt_line

PROBABILITY = st.floats(0, 1)


def partial(
    utterance: int = 0, end_ms: float = 1000.0, label: str = "angry", abstained: bool = False
) -> EmotionPartial:
    return EmotionPartial(
        seq=1,
        audio_end_ms=end_ms,
        utterance_id=utterance,
        audio_start_ms=0.0,
        revision=0,
        emotion=Emotion(label, {label: 1.0}),
        affect=Affect(0.2, 0.9, 0.5),
        confidence=0.71,
        abstained=abstained,
        speech_seconds=3.21,
    )


def final(
    utterance: int = 0, end_ms: float = 1000.0, label: str = "angry", abstained: bool = False
) -> EmotionFinal:
    early = partial(utterance, end_ms, label, abstained)
    shared = {name: getattr(early, name) for name in (
        "seq", "audio_end_ms", "utterance_id", "audio_start_ms", "emotion", "affect", "confidence",
        "abstained", "speech_seconds")}  # fmt: skip
    return EmotionFinal(
        modalities=("audio",), closed_by="silence", speech_end_ms=end_ms - 150,
        endpoint_ms=end_ms + 350, **shared,
    )  # fmt: skip


def test_the_line_is_that_of_the_readme() -> None:
    assert prompt_line(final()) == "[speaker: angry, 0.71; arousal high; 3.2 s heard]"
    assert prompt_line(partial()) == prompt_line(final())


@given(st.text(), PROBABILITY, PROBABILITY, st.floats(0, 3600), st.booleans(), st.booleans())
def test_it_is_one_line_of_one_form_or_none(
    label: str, confidence: float, arousal: float, seconds: float, abstained: bool, failed: bool
) -> None:
    estimate = replace(
        final(),
        emotion=None if failed else Emotion(label, {label: 1.0}),
        affect=Affect(0.5, arousal, 0.5),
        confidence=confidence,
        speech_seconds=seconds,
        abstained=abstained,
    )
    line = prompt_line(estimate)
    if abstained or failed:
        assert line is None
    elif line is None:
        assert not re.search(r"\w", label)
    else:
        found = re.fullmatch(
            r"\[speaker: ([\w /-]{1,32}), ([01]\.\d\d); arousal (low|medium|high); "
            r"\d+\.\d s heard\]",
            line,
        )
        assert found is not None
        assert abs(float(found[2]) - confidence) <= 0.0051
        assert {"low": arousal < 0.4, "high": arousal > 0.6}.get(found[3], 0.4 <= arousal <= 0.6)


def test_a_turn_has_the_line_of_its_newest_utterance_that_has_one() -> None:
    turn = Turn()
    assert turn.line() is None
    turn.add(final(0, 1000, "sad"))
    turn.add(partial(1, 2000, "happy"))
    assert "happy" in (turn.line() or "")
    turn.add(final(1, 2500, "calm", abstained=True))
    assert "sad" in (turn.line() or "")


def test_a_final_is_not_replaced_by_a_partial_that_comes_late() -> None:
    turn = Turn()
    turn.add(final(0, 1000, "sad"))
    turn.add(partial(0, 900, "happy"))
    assert "sad" in (turn.line() or "")


def test_what_comes_late_of_a_turn_that_was_taken_is_not_the_next_ones() -> None:
    turn = Turn()
    turn.add(partial(0, 1000, "sad"))
    assert "sad" in (turn.take(heard_ms=1400) or "")
    turn.add(final(0, 1500, "sad"))  # its speech ended at 1350
    assert turn.line() is None
    turn.add(partial(1, 2500, "happy"))
    assert "happy" in (turn.take(3000) or "")
    assert turn.take(3100) is None
