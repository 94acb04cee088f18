"""Vectors of words for paper 4: files of GloVe and MUSE, or none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportError

WIDTH = 300
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")

Floats = NDArray[np.float32]


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, as the files have them."""
    return _WORD.findall(text.lower())


def read_vectors(path: Path, wanted: Iterable[str]) -> dict[str, Floats]:
    """The vectors of some words, float32 [300] each; words that the file lacks are left out.

    Text files with a word and its numbers on each line: GloVe (nlp.stanford.edu/projects/glove),
    and MUSE and fastText (github.com/facebookresearch/MUSE), which begin with a line of two counts.

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
                if word in needed and word not in found:
                    found[word] = np.array(fields[-WIDTH:], np.float32)
    except (OSError, ValueError) as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(
            f"{path} is no file of word vectors ({error}); give one of GloVe or MUSE, unpacked"
        ) from error
    if not found:
        raise ExportError(f"{path} has none of the words that are spoken; is it of that language?")
    return found


@lru_cache(maxsize=100_000)
def _drawn(language: str, word: str) -> tuple[float, ...]:
    seed = int.from_bytes(hashlib.sha256(f"{language} {word}".encode()).digest()[:8])
    return tuple(np.random.default_rng(seed).standard_normal(WIDTH) / np.sqrt(WIDTH))


def vectors_of(
    texts: Iterable[str], language: str, known: Mapping[str, Floats] | None
) -> list[Floats]:
    """The vectors of the words of each text, float32 [words, 300].

    Args:
        known: from a file; without one every word has a vector that is drawn at random and always
            the same, which tells words apart and knows nothing of what they mean.
    """
    made = []
    for text in texts:
        words = words_of(text)
        rows = (
            [_drawn(language, word) for word in words]
            if known is None
            else [known[word] for word in words if word in known]
        )
        made.append(np.array(rows, np.float32).reshape(-1, WIDTH))
    return made
