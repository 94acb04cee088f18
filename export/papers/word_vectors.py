"""Vectors of words for paper 4: files of GloVe and MUSE, or none; the lexicon that is served."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from ..errors import ExportError

WIDTH = 300
MOST_WORDS = 256
"""Of a text, the first so many known words are read, in training as when served."""
PAD_ID = 0

# Vowel signs are part of a word: without the marks Bengali would fall to pieces.
_WORD = r"[\p{L}\p{M}]+(?:['\u2019][\p{L}\p{M}]+)*|\p{Nd}+"
# Before every entry of a tokenizer.json, so that a word of one letter is no letter of another.
_START = "\u2581"
# Of a file of vectors, what is served beside the words of the corpora: files begin with the most
# frequent words, and 20,000 of them cover nearly all that is said, in 24 MB.
_FREQUENT = 20_000

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Known words.

    Attributes:
        words: in the order of their rows.
        vectors: float32 [words, 300].
    """

    words: tuple[str, ...]
    vectors: Floats

    def sequences(self, texts: Iterable[str]) -> list[Floats]:
        """The vectors of the known words of each text, float32 [known words, 300].

        Words that are not known are left out, as if nobody had said them.
        """
        places = {word: place for place, word in enumerate(self.words)}
        made = []
        for text in texts:
            known = [places[word] for word in words_of(text) if word in places]
            made.append(self.vectors[np.array(known[:MOST_WORDS], np.int64)])
        return made


def lexicon_of(
    texts: Mapping[str, Sequence[str]], files: Mapping[str, Path] | None = None
) -> Lexicon:
    """The words of some texts, and the frequent ones of files of vectors.

    A word of several languages has the mean of its vectors, for who serves it is not told which
    language is spoken; those of MUSE lie in one space.

    Args:
        texts: by language.
        files: of vectors by language. In a language without one every word of the texts has a
            vector that is drawn at random and always the same, which tells words apart and knows
            nothing of what they mean.

    Raises:
        ExportError: a file holds no vectors, or none of a word that is said.
    """
    found: dict[str, list[Floats]] = {}
    for language in sorted(texts):
        spoken = sorted({word for text in texts[language] for word in words_of(text)})
        path = (files or {}).get(language)
        known = read_vectors(path, spoken) if path else {w: _drawn(language, w) for w in spoken}
        for word, vector in known.items():
            found.setdefault(word, []).append(vector)
    means = [np.mean(vectors, axis=0) for vectors in found.values()]
    return Lexicon(tuple(found), np.array(means, np.float32).reshape(-1, WIDTH))


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, as the files have them."""
    found = _WORDS.pre_tokenize_str(_LOWER.normalize_str(text))
    return [word for word, _ in found]


def tokenizer_of(words: Sequence[str]) -> Tokenizer:
    """A tokenizer of known words: entry 1 is the first, 0 fills up a batch.

    It finds words as `words_of` does and gives nothing for one that it does not know. A model of
    whole words would have to give a token for those, which convolutions would then look at; one of
    byte pairs (Sennrich et al., 2016) drops what it has no piece of, and this has no pieces.
    """
    entries = {"[PAD]": PAD_ID} | {_START + word: place for place, word in enumerate(words, 1)}
    model = models.BPE(
        entries, [], unk_token=None, ignore_merges=True, continuing_subword_prefix="##"
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = _LOWER
    marked = pre_tokenizers.Metaspace(_START, prepend_scheme="always", split=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_WORDS, marked])
    return tokenizer


def read_vectors(path: Path, wanted: Iterable[str], frequent: int = _FREQUENT) -> dict[str, Floats]:
    """The vectors of some words, float32 [300] each; words that the file lacks are left out.

    Text files with a word and its numbers on each line: GloVe (nlp.stanford.edu/projects/glove),
    and MUSE and fastText (github.com/facebookresearch/MUSE), which begin with a line of two counts.

    Args:
        frequent: of the first so many lines every word is read, if it is one that can be said.

    Raises:
        ExportError: it is no such file, or its vectors are not of 300.
    """
    needed = set(wanted)
    found: dict[str, Floats] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file):
                # Some words of GloVe hold spaces: what counts are the last 300.
                fields = line.rstrip("\n ").split(" ")
                if number == 0 and len(fields) == 2:
                    continue
                if len(fields) <= WIDTH:
                    raise ExportError(
                        f"{path}, line {number + 1}: {len(fields) - 1} numbers; give vectors of "
                        f"{WIDTH}"
                    )
                word = " ".join(fields[:-WIDTH]).lower()
                if word in found or not (word in needed or number < frequent):
                    continue
                if word in needed or words_of(word) == [word]:
                    found[word] = np.array(fields[-WIDTH:], np.float32)
    except (OSError, ValueError) as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(
            f"{path} is no file of word vectors ({error}); give one of GloVe or MUSE, unpacked"
        ) from error
    if needed.isdisjoint(found):
        raise ExportError(f"{path} has none of the words that are spoken; is it of that language?")
    return found


def _drawn(language: str, word: str) -> Floats:
    seed = int.from_bytes(hashlib.sha256(f"{language} {word}".encode()).digest()[:8])
    drawn = np.random.default_rng(seed).standard_normal(WIDTH) / np.sqrt(WIDTH)
    return drawn.astype(np.float32)


_LOWER = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
_WORDS = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
