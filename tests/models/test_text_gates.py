"""The gates that decide which texts of Whisper to believe."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from faster_whisper.transcribe import get_compression_ratio
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.models import text_gates
from realtime_ser.models.text_gates import (
    Decoding,
    DropReason,
    Gates,
    drop_reason,
    token_budget,
)

GOOD = Decoding(
    text="I did not expect to see you here.",
    tokens=10,
    avg_logprob=-0.3,
    no_speech_prob=0.05,
    duration_s=2.0,
)

decodings = st.builds(
    Decoding,
    text=st.text(),
    tokens=st.integers(0, 448),
    avg_logprob=st.floats(max_value=0.0),
    no_speech_prob=st.floats(0.0, 1.0),
    duration_s=st.floats(0.0, 30.0),
)


def test_an_ordinary_sentence_is_kept() -> None:
    assert drop_reason(GOOD) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": ""}, DropReason.EMPTY),
        ({"text": " ... ♪ — !"}, DropReason.EMPTY),
        ({"avg_logprob": -1.0}, None),
        ({"avg_logprob": -1.01}, DropReason.LOW_LOGPROB),
        ({"avg_logprob": math.nan}, DropReason.LOW_LOGPROB),
        ({"no_speech_prob": 0.99}, None),  # certain of its words: Whisper keeps them too
        ({"no_speech_prob": 0.6, "avg_logprob": -1.2}, DropReason.LOW_LOGPROB),
        ({"no_speech_prob": 0.61, "avg_logprob": -1.2}, DropReason.NO_SPEECH),
        ({"text": "no, " * 30, "duration_s": 10.0}, DropReason.REPETITIVE),
        ({"text": "no, no, no, I won't!"}, None),
        ({"tokens": 33}, None),
        ({"tokens": 34}, DropReason.TOO_MANY_TOKENS),
        ({"tokens": 34, "text": "मैंने तुम्हें यहाँ देखने की उम्मीद नहीं की थी"}, None),
        ({"tokens": 62, "text": "मैंने तुम्हें यहाँ देखने की उम्मीद नहीं की थी"}, DropReason.TOO_MANY_TOKENS),
        ({"tokens": 34, "text": "Tôi không ngờ gặp được bạn ở đây"}, DropReason.TOO_MANY_TOKENS),
        ({"text": "Thanks for watching!"}, DropReason.KNOWN_PHRASE),
    ],
)  # fmt: skip
def test_each_gate_at_its_threshold(change: dict[str, object], reason: DropReason | None) -> None:
    assert drop_reason(replace(GOOD, **change)) == reason


@pytest.mark.parametrize(
    ("least", "reason"),
    [
        (None, None),
        (-0.8, None),
        (-0.81, DropReason.LOW_LOGPROB),
        (math.nan, DropReason.LOW_LOGPROB),
    ],
)
def test_one_improbable_token_is_enough_where_a_model_asks_for_it(
    least: float | None, reason: DropReason | None
) -> None:
    decoding = replace(GOOD, least_logprob=least)
    assert drop_reason(decoding) is (DropReason.LOW_LOGPROB if least is math.nan else None)
    assert drop_reason(decoding, Gates(min_token_logprob=-0.8)) == reason


@pytest.mark.parametrize(
    "text",
    [
        "THANKS FOR WATCHING",
        "Thank you for watching. Thank you for watching.",
        "Subtitles by the Amara.org community",
        "Untertitel der Amara.org-Community",
        "Untertitelung des ZDF, 2020",
        "Sous-titres réalisés par la communauté d'Amara.org",
        "¡Suscríbete al canal!",
        "Спасибо за просмотр!",
        "Редактор субтитров А.Семкин Корректор А.Егорова",  # noqa: RUF001 (Russian)
        "ご視聴ありがとうございました。",
        "ご視聴ありがとうございました",
        "字幕由Amara.org社区提供",
        "시청해주셔서 감사합니다!",
        "Altyazı M.K.",  # noqa: RUF001 (Turkish)
        "شكرا للمشاهدة",
    ],
)
def test_phrases_that_nobody_said(text: str) -> None:
    assert text_gates.is_known_phrase(text)


@pytest.mark.parametrize(
    "text",
    [
        "Thank you.",
        "Bye.",
        "So",
        "Thanks for watching the kids tonight.",
        "He said thanks for watching and left.",
        "Please subscribe me to the plan.",
        "Subtitles by tomorrow, or I shall have to tell them that we are late once more, he said.",
    ],
)
def test_phrases_that_people_say(text: str) -> None:
    assert not text_gates.is_known_phrase(text)


@given(decodings)
def test_any_decoding_is_judged(decoding: Decoding) -> None:
    reason = drop_reason(decoding)
    assert reason is None or isinstance(reason, DropReason)
    if not any(character.isalnum() for character in decoding.text):
        assert reason is DropReason.EMPTY


@given(
    logprobs=st.tuples(st.floats(-2.0, 0.0), st.floats(-2.0, 0.0)),
    no_speech_probs=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    tokens=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_better_figures_never_lose_a_text(
    logprobs: tuple[float, float],
    no_speech_probs: tuple[float, float],
    tokens: tuple[int, int],
) -> None:
    worse, better = (
        replace(
            GOOD,
            avg_logprob=sorted(logprobs)[rank],
            no_speech_prob=sorted(no_speech_probs)[1 - rank],
            tokens=sorted(tokens)[1 - rank],
        )
        for rank in (0, 1)
    )
    assert drop_reason(worse) is not None or drop_reason(better) is None


@given(st.sampled_from(sorted(text_gates._PHRASES)), st.integers(1, 4), st.sampled_from(" !…。♪"))
def test_a_phrase_is_known_in_any_dress(phrase: str, times: int, mark: str) -> None:
    assert text_gates.is_known_phrase(f"{phrase.upper()}{mark} " * times)
    assert not text_gates.is_known_phrase(f"{phrase} zebra")


@given(st.text(min_size=1))
def test_the_compression_ratio_is_that_of_faster_whisper(text: str) -> None:
    assert text_gates.compression_ratio(text) == get_compression_ratio(text)


@given(st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_more_time_holds_more_tokens(one_s: float, other_s: float) -> None:
    assert token_budget(min(one_s, other_s)) <= token_budget(max(one_s, other_s))
    assert token_budget(one_s, latin=True) <= token_budget(one_s)
