"""Pairs of clips and sentences: who is paired with what, and who never is."""

from __future__ import annotations

import numpy as np
import pytest

from realtime_ser_export.errors import ExportError
from realtime_ser_export.fusion.pairs import (
    CALM,
    CHOOSE,
    CONTRADICTING,
    FIT,
    KINDS,
    MATCHED,
    MISSING,
    NEUTRAL,
    NO_TEXT,
    REAL,
    TEST,
    Pairing,
    Sentences,
    gather,
    side_of,
)
from realtime_ser_export.fusion.settings import FusionSettings, Shares
from realtime_ser_export.text.corpora import TextRow
from realtime_ser_export.training.corpora import LABELS, Clip

NEUTRAL_PLACE = LABELS.index("neutral")


def clip(number: int, label: str, text: str = "") -> Clip:
    return Clip(
        file=f"a/{number}.opus",
        corpus="acted",
        split="dev",
        speaker="s",
        label=LABELS.index(label),
        votes=None,
        text=text,
    )


def row(number: int, *labels: str, split: str = "dev", corpus: str = "goemotions") -> TextRow:
    return TextRow(f"sentence {corpus} {split} {number}", corpus, "en", split, labels)


CLIPS = [clip(i, LABELS[i % 7], f"spoken {i % 12}" if i % 3 else "") for i in range(60)]
ROWS = [
    row(i, label, split=split)
    for split in ("train", "dev", "test")
    for i, label in enumerate(("anger", "joy", "neutral", "sadness") * 12)
]


@pytest.fixture(scope="module")
def sentences() -> Sentences:
    return gather(CLIPS, ROWS, LABELS, 100)


def test_sides_share_no_sentence_and_train_is_on_none(sentences: Sentences) -> None:
    emotional = sentences.label >= 0
    texts = np.array(sentences.texts)
    assert not [text for text in texts[emotional] if " train " in text]
    assert all(" test " in text for text in texts[emotional & (sentences.side == TEST)])
    assert all(" dev " in text for text in texts[emotional & (sentences.side != TEST)])
    of_side = [set(texts[emotional & (sentences.side == side)]) for side in (FIT, CHOOSE, TEST)]
    assert all(of_side)
    assert sum(len(side) for side in of_side) == len(set.union(*of_side)) == emotional.sum()
    assert sentences.corpora == ("goemotions",)


def test_only_sentences_with_one_of_the_emotions_count() -> None:
    rows = [row(1, "anger", "annoyance"), row(2, "anger", "joy"), row(3), row(4, "nonsense")]
    found = gather([], rows, LABELS, 100)
    assert found.texts == (rows[0].text,)  # both of its labels are angry
    assert found.label.tolist() == [LABELS.index("angry")]


def test_no_corpus_drowns_the_others() -> None:
    rows = [row(i, "anger") for i in range(40)] + [row(0, "anger", corpus="meld")]
    found = gather([], rows, LABELS, 5)
    assert 5 < sum(" goemotions " in text for text in found.texts) <= 10  # 5 of fit, 5 of choose
    assert found.corpora == ("goemotions", "meld")


def test_about_half_of_the_transcripts_may_be_learnt(sentences: Sentences) -> None:
    spoken = sentences.label < 0
    learnt = np.sum(spoken & (sentences.side == FIT))
    assert 0 < learnt < spoken.sum()
    assert set(sentences.side[spoken]) == {FIT, ""}


@pytest.mark.parametrize("side", [FIT, CHOOSE, TEST])
def test_each_kind_is_what_it_says(sentences: Sentences, side: str) -> None:
    pairing = Pairing(CLIPS, sentences, side, NEUTRAL_PLACE)
    rng = np.random.default_rng(0)
    for kind in KINDS:
        clips = np.flatnonzero(pairing.can(kind))
        texts = pairing.texts(kind, clips, rng)
        assert len(texts) == len(clips) > 0
        labels = sentences.label[texts]
        own = pairing.label[clips]
        if kind == MISSING:
            assert set(texts) == {NO_TEXT}
        elif kind == REAL:
            assert [sentences.texts[i] for i in texts] == [CLIPS[i].text for i in clips]
        else:
            assert set(sentences.side[texts]) == {side}
        if kind == MATCHED:
            np.testing.assert_array_equal(labels, own)
            assert set(own) == {LABELS.index(x) for x in ("angry", "happy", "neutral", "sad")}
        if kind == NEUTRAL:
            assert set(labels) == {NEUTRAL_PLACE}
        if kind in (CALM, CONTRADICTING):
            assert not np.any(labels == own)
            assert NEUTRAL_PLACE not in labels
            assert set(own == NEUTRAL_PLACE) == {kind == CALM}
        right = pairing.truth(kind, clips, texts)
        np.testing.assert_array_equal(right, labels if kind == CALM else own)


def test_a_clip_without_text_has_no_real_pair(sentences: Sentences) -> None:
    pairing = Pairing(CLIPS, sentences, FIT, NEUTRAL_PLACE)
    silent = np.array([not each.text for each in CLIPS])
    np.testing.assert_array_equal(pairing.can(REAL), ~silent)
    assert not np.any(pairing.learnt & silent)


def test_dev_clips_are_divided_the_same_way_always() -> None:
    sides = [side_of(each) for each in CLIPS]
    assert set(sides) == {FIT, CHOOSE}
    assert sides.count(FIT) > 2 * sides.count(CHOOSE)
    assert sides == [side_of(each) for each in CLIPS]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "hope"}, "no fusion strategy 'hope'; use one of gated, mean"),
        ({"compared": ("max", "hope")}, "no fusion strategy 'hope'"),
        ({"steps": 0}, "must be at least 1"),
        ({"dropout": 1.5}, "dropout of .fusion. must be 0 to 1"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        FusionSettings(**change)  # type: ignore[arg-type]


def test_shares_that_make_no_sense() -> None:
    for change in ({"real": -0.1}, dict.fromkeys(KINDS, 0.0)):
        with pytest.raises(ExportError, match="must not be negative, and not all 0"):
            Shares(**change)
