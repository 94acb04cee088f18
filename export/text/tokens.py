"""The vocabulary: byte pairs of lower-case text, learnt from the training sentences.

What is served are transcripts, so case and accents, which transcribers and writers of tweets set
as they please, are taken off by the tokenizer itself; punctuation stays, and training hides it at
random (`spoken`). On bytes, so that nothing is ever unknown.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

PAD_ID, MASK_ID = 0, 1
SPECIAL = ("[pad]", "[mask]", "[name]", "[religion]")
"""The last two are how GoEmotions and XED hide persons and religions."""

_NAMES = (
    *("John", "Mary", "David", "Sarah", "Mike", "Anna", "Tom", "Lisa", "James", "Emma", "Alex"),
    *("Carlos", "María", "José", "Lucía", "Ana", "Luis", "Smith", "Brown", "García", "Trump"),
)
_PUNCTUATION = re.compile(r"[^\w\s'\u2019\[\]]+")
_APOSTROPHE = re.compile("\u2019")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn `vocabulary` byte pairs, special tokens included, from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("\u2019", "'"),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ]
    )
    # A space before the first word too: a word is one token wherever it stands.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=3,
        # Found after normalisation, so in the capitals of the corpora too.
        special_tokens=[AddedToken(token, normalized=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def spoken(text: str, generator: random.Random) -> str:
    """`text` as a transcriber without punctuation would write it, names in place of [NAME]."""
    named = re.sub(r"\[NAME\]", lambda _: generator.choice(_NAMES), text, flags=re.IGNORECASE)
    return " ".join(_PUNCTUATION.sub(" ", _APOSTROPHE.sub("'", named)).split())


def token_ids(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int
) -> list[NDArray[np.int16]]:
    """Tokens of each text, cut at the end; one [mask] where a text has none at all."""
    rows = []
    for text in texts:
        ids = tokenizer.encode(text).ids[:max_tokens] or [MASK_ID]
        rows.append(np.array(ids, np.int16))
    return rows


def load_tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
