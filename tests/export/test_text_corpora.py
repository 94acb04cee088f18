"""Labelled sentences: what is read, what counts as which emotion, what may be trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_corpora import write_emobank, write_meacorpus

from realtime_ser_export.errors import ExportError
from realtime_ser_export.text.corpora import TextRow, clean, folded, hash_split, read_corpora
from realtime_ser_export.text.labels import CORPORA, EMOTIONS, OWN_LABELS, SHARED
from realtime_ser_export.text.splits import folds, hold_out, read_rows, without_leaks


def row(text: str, split: str = "train", corpus: str = "meld", label: str = "joy") -> TextRow:
    return TextRow(text, corpus, "en", split, (label,))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("@you look #GoodTimes https://t.co/x", "look Good Times"),
        ("USER_d dice que HASHTAG URL ya", "dice que ya"),
        ("Tom &amp; Ana", "Tom & Ana"),
    ],
)
def test_what_nobody_says_is_taken_out(written: str, said: str) -> None:
    assert clean(written) == said


@given(st.text())
def test_copies_of_a_text_fall_into_one_split(text: str) -> None:
    assert hash_split(text) == hash_split(f"  {text}!") == hash_split(folded(text))


def test_every_label_is_one_of_its_corpus_and_counts_as_one_of_the_seven() -> None:
    for corpus, mapping in SHARED.items():
        assert set(mapping) <= set(OWN_LABELS[corpus]), corpus
        assert set(mapping.values()) <= set(EMOTIONS), corpus
    assert len(SHARED["goemotions"]) == 28


def test_ratings_run_from_nought_to_one(tmp_path: Path) -> None:
    write_emobank(tmp_path)
    first = read_corpora(tmp_path, ["emobank"])[0]
    assert first.affect == pytest.approx((0.25, 0.5, 0.5))
    assert (first.split, first.labels) == ("train", ())


def test_quoted_line_breaks_and_stray_tabs_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "xed"
    (folder / "AnnotatedData").mkdir(parents=True)
    (folder / "Projections").mkdir()
    annotated = "Oh , no !\t6, 7\nwith a stray\ttab\t1\nno label\tx\n"
    (folder / "AnnotatedData" / "en-annotated.tsv").write_text(annotated, encoding="utf-8")
    (folder / "AnnotatedData" / "neu_en.txt").write_text("9\tLast card.\n", encoding="utf-8")
    for name in ("en", "es"):
        (folder / "Projections" / f"{name}-projections.tsv").write_text("", encoding="utf-8")
    rows = read_corpora(tmp_path, ["xed_en"])
    assert [(each.text, each.labels) for each in rows] == [
        ("Oh, no!", ("sadness", "surprise")),
        ("with a stray tab", ("anger",)),
        ("Last card.", ("neutral",)),
    ]


def test_the_shuffled_labels_of_emoevent_are_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "emoevent"
    for language in ("en", "es"):
        (folder / "splits" / language).mkdir(parents=True)
        for split in ("train", "dev", "test"):
            path = folder / "splits" / language / f"{split}.tsv"
            line = f"1\tX\tqué {language} {split} #Uno\tNO\tanger\n"
            path.write_text("id\tevent\ttweet\toffensive\temotion\n" + line, encoding="utf-8")
    corpus = "id\ttweet\temotion\toffensive\n1\tqué es test HASHTAG\tjoy\t0\n"
    (folder / "emoevent_es.csv").write_text(corpus, encoding="utf-8")
    rows = read_corpora(tmp_path, ["emoevent_en", "emoevent_es"])
    labels = {(each.language, each.split): each.labels for each in rows}
    assert labels.pop(("es", "test")) == ("joy",)
    assert set(labels.values()) == {("anger",)} and len(labels) == 5


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"labels\.txt is not there; give the folder"):
        read_corpora(tmp_path, ["goemotions"])


def test_nothing_of_dev_and_test_is_trained_on() -> None:
    rows = [
        row("What?", "test"),
        row("what", "train", "xed_en", "anger"),
        row("WHAT!!", "dev"),
        row("Well then.", "dev"),
        row("well, then", "train"),
        row("Keep me", "train"),
        row("Keep me!", "train"),
        row("Keep me", "train", label="anger"),
    ]
    kept = without_leaks(rows)
    assert [(each.text, each.split, each.labels[0]) for each in kept] == [
        ("What?", "test", "joy"),
        ("Well then.", "dev", "joy"),
        ("Keep me", "train", "joy"),
        ("Keep me", "train", "anger"),
    ]


def test_a_neutral_line_that_was_annotated_after_all_is_not_neutral() -> None:
    rows = [row("Who?", corpus="xed_en", label="neutral"), row("who", corpus="xed_en")]
    assert [each.labels for each in without_leaks(rows)] == [("joy",)]


def test_folds_are_stratified_and_keep_copies_together(tmp_path: Path) -> None:
    write_meacorpus(tmp_path)
    rows = read_rows(tmp_path, ["meacorpus"])
    fold_of = folds(rows, "meacorpus", 3, seed=1)
    seen: Counter[str] = Counter()
    for fold in range(3):
        divided = hold_out(rows, "meacorpus", fold_of, fold)
        held = [each for each in divided if each.split == "test"]
        counts = Counter(each.labels[0] for each in held)
        assert counts == dict.fromkeys(("anger", "disgust", "joy", "neutral"), 2)
        trained = {folded(each.text) for each in divided if each.split == "train"}
        assert not trained & {folded(each.text) for each in held}
        seen.update(folded(each.text) for each in held)
    assert set(seen.values()) == {1} and set(seen) == {folded(each.text) for each in rows}


@pytest.mark.corpus
def test_the_given_corpora_are_read_and_mapped_as_their_makers_do(corpora: Path) -> None:
    text = corpora / "text"
    rows = read_rows(text)
    assert {each.corpus for each in rows} == set(CORPORA)
    ekman = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
    lines = (text / "goemotions" / "ekman" / "test.tsv").read_text(encoding="utf-8").splitlines()
    test = [each for each in rows if (each.corpus, each.split) == ("goemotions", "test")]
    assert len(test) == len(lines) == 5427
    mapping = SHARED["goemotions"]
    for each, line in zip(test, lines, strict=True):
        published = {ekman[int(number)] for number in line.split("\t")[-2].split(",")}
        assert {mapping[label] for label in each.labels} == published
