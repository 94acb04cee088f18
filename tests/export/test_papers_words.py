"""Words of paper 4: what is a word, whose vectors are known, and the tokenizer that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from hypothesis import given
from hypothesis import strategies as st

from realtime_ser_export.errors import ExportError
from realtime_ser_export.papers.word_vectors import (
    MOST_WORDS,
    lexicon_of,
    read_vectors,
    tokenizer_of,
    words_of,
)


def test_words() -> None:
    assert words_of("¡Don't! NIÑO_3, it\u2019s 12.") == ["don't", "niño", "3", "it\u2019s", "12"]
    # A vowel sign is a part of the word that it stands in.
    assert words_of("আমি ভালো") == ["আমি", "ভালো"]
    assert words_of("e\u0301te\u0301") == ["été"]
    assert words_of(" -- ") == []


def test_word_vectors_of_glove_and_muse(tmp_path: Path) -> None:
    numbers = " ".join(["0.5"] * 300)
    glove, muse = tmp_path / "glove.txt", tmp_path / "wiki.multi.es.vec"
    glove.write_text(
        f"the {numbers}\n. . . {numbers}\ndog {numbers}\nrare {numbers}\ncat {numbers}\n",
        encoding="utf-8",
    )
    muse.write_text(f"2 300\nniño {numbers}\nqué {numbers}\n", encoding="utf-8")
    # The first three lines are frequent, and one of them is no word that can be said.
    assert set(read_vectors(glove, ["the", "cat"], frequent=3)) == {"the", "dog", "cat"}
    (rows,) = lexicon_of({"es": ["¿Qué niño?"]}, {"es": muse}).sequences(["¿Qué gato, niño?"])
    assert rows.shape == (2, 300)
    with pytest.raises(ExportError, match="none of the words"):
        read_vectors(glove, ["casa"])
    glove.write_text("the 1 2 3\n", encoding="utf-8")
    with pytest.raises(ExportError, match="line 1: 3 numbers; give vectors of 300"):
        read_vectors(glove, ["the"])


def test_words_without_a_file_are_told_apart() -> None:
    lexicon = lexicon_of({"es": ["Por eso", "eso", ""]})
    first, second, nothing = lexicon.sequences(["Por eso", "eso", ""])
    assert np.array_equal(first[1], second[0])
    assert not np.array_equal(first[0], first[1])
    assert nothing.shape == (0, 300)


def test_a_word_of_two_languages_has_one_vector() -> None:
    both = lexicon_of({"en": ["no way"], "es": ["no"]})
    alone = [lexicon_of({language: ["no"]}).vectors[0] for language in ("en", "es")]
    (rows,) = both.sequences(["no"])
    np.testing.assert_allclose(rows[0], np.mean(alone, axis=0), atol=1e-6)


LEXICON = lexicon_of({"en": ["I a can't say it, niño", "12"], "bn": ["আমি"]})
TOKENIZER = tokenizer_of(LEXICON.words)


@given(
    st.lists(
        st.sampled_from(["I", "a", "A", "can't", "SAY", "niño", "xia", "aa", "i_a", "12", "আমি",
                         "\u2581", "\u2581a", "[PAD]", "ΣΑΣ", "İ", "!", "\n"])
        | st.text(max_size=6)
    ),
    st.sampled_from(["", " ", ", "]),
)  # fmt: skip
def test_the_tokenizer_reads_as_training_does(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    (expected,) = LEXICON.sequences([text])
    ids = TOKENIZER.encode(text).ids
    # 0 fills up a batch, so that the first word is 1.
    assert 0 not in ids
    np.testing.assert_array_equal(LEXICON.vectors[np.array(ids, int) - 1], expected)


def test_a_long_text_is_cut() -> None:
    (rows,) = LEXICON.sequences(["say " * (MOST_WORDS + 9)])
    assert len(rows) == MOST_WORDS
