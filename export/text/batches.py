"""Rows as arrays, and batches of one length of text."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from .corpora import TextRow
from .labels import CORPORA, EMOTIONS, OWN_LABELS, SHARED
from .settings import TextSettings
from .tokens import PAD_ID, spoken, token_ids

_POOL_BATCHES = 40
_WIDTH_STEP = 4


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows in arrays; `variants` holds the tokens of each row as written and as spoken.

    emotions: float32 [rows, 7], shares of the seven that sum to 1, or all 0.
    own: float32 [rows, all labels of all corpora], likewise.
    corpus: int64 [rows], index into `CORPORA`.
    affect: float32 [rows, 3], NaN where not rated.
    """

    variants: tuple[list[NDArray[np.int16]], list[NDArray[np.int16]]]
    emotions: NDArray[np.float32]
    own: NDArray[np.float32]
    corpus: NDArray[np.int64]
    affect: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.corpus)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a training step takes; rows as in `Encoded`."""

    input_ids: Tensor
    attention_mask: Tensor
    emotions: Tensor
    own: Tensor
    corpus: Tensor
    affect: Tensor


def own_columns() -> dict[str, slice]:
    """Where the labels of each corpus stand among all own labels."""
    columns, start = {}, 0
    for corpus, labels in OWN_LABELS.items():
        columns[corpus] = slice(start, start + len(labels))
        start += len(labels)
    return columns


def shares(row: TextRow) -> NDArray[np.float32]:
    """Equal shares of the emotions among the seven that the row's labels count as."""
    mapping = SHARED.get(row.corpus, {})
    found = {mapping[label] for label in row.labels if label in mapping}
    return np.array([emotion in found for emotion in EMOTIONS], np.float32) / max(1, len(found))


def encode_rows(
    rows: Sequence[TextRow], tokenizer: Tokenizer, max_tokens: int, seed: int
) -> Encoded:
    """Tokenise all rows, once."""
    columns = own_columns()
    own = np.zeros((len(rows), sum(len(labels) for labels in OWN_LABELS.values())), np.float32)
    for number, row in enumerate(rows):
        for label in row.labels:
            place = columns[row.corpus].start + OWN_LABELS[row.corpus].index(label)
            own[number, place] = 1 / len(row.labels)
    generator = random.Random(seed)
    written = token_ids(tokenizer, [row.text for row in rows], max_tokens)
    plain = token_ids(tokenizer, [spoken(row.text, generator) for row in rows], max_tokens)
    return Encoded(
        variants=(written, plain),
        emotions=np.stack([shares(row) for row in rows]),
        own=own,
        corpus=np.array([CORPORA.index(row.corpus) for row in rows], np.int64),
        affect=np.array([row.affect for row in rows], np.float32),
    )


def allowed_emotions() -> NDArray[np.bool_]:
    """Which of the seven each corpus can tell apart: bool [corpora, 7]."""
    return np.array(
        [[emotion in SHARED.get(corpus, {}).values() for emotion in EMOTIONS] for corpus in CORPORA]
    )


def allowed_own() -> NDArray[np.bool_]:
    """The columns of each corpus among all own labels: bool [corpora, own labels]."""
    columns = own_columns()
    allowed = np.zeros((len(CORPORA), sum(len(labels) for labels in OWN_LABELS.values())), bool)
    for corpus, place in columns.items():
        allowed[CORPORA.index(corpus), place] = True
    return allowed


def label_logs(encoded: Encoded) -> NDArray[np.float32]:
    """Log frequency of each emotion in each corpus, 0 where it has none: float32 [corpora, 7]."""
    logs = np.zeros((len(CORPORA), len(EMOTIONS)), np.float32)
    for number in range(len(CORPORA)):
        total = encoded.emotions[encoded.corpus == number].sum(0)
        if total.sum():
            logs[number] = np.log(np.maximum(total, 1) / total.sum())
    return logs


def corpus_weights(encoded: Encoded, settings: TextSettings) -> NDArray[np.float64]:
    """Chance of each row to be drawn, by the size of its corpus; they sum to 1."""
    counts = np.bincount(encoded.corpus, minlength=len(CORPORA)).astype(float)
    chance = np.maximum(counts, 1) ** (settings.draw_power - 1)
    chance[[CORPORA.index(name) for name in settings.boosted]] *= settings.boost
    out: NDArray[np.float64] = chance[encoded.corpus]
    return out / out.sum()


def batches(
    encoded: Encoded,
    chances: NDArray[np.float64],
    batch_size: int,
    spoken_share: float,
    seed: int,
    first: int = 0,
) -> Iterator[Batch]:
    """Batches without end, from number `first` on; each is a function of the seed and its number.

    Rows of a pool are sorted by length first: a batch is hardly ever padded.
    """
    pool_number = first // _POOL_BATCHES
    skip = first % _POOL_BATCHES
    while True:
        rng = np.random.default_rng((seed, pool_number))
        drawn = rng.choice(len(encoded), _POOL_BATCHES * batch_size, replace=True, p=chances)
        variant = (rng.random(len(drawn)) < spoken_share).astype(int)
        lengths = [len(encoded.variants[v][i]) for v, i in zip(variant, drawn, strict=True)]
        order = np.argsort(lengths, kind="stable").reshape(_POOL_BATCHES, batch_size)
        for chosen in rng.permutation(order)[skip:]:
            yield make_batch(encoded, drawn[chosen], variant[chosen])
        pool_number, skip = pool_number + 1, 0


def make_batch(
    encoded: Encoded, rows: NDArray[np.int64], variant: NDArray[np.int64] | None = None
) -> Batch:
    """The given rows, as written unless `variant` says otherwise."""
    which = np.zeros(len(rows), np.int64) if variant is None else variant
    tokens = [encoded.variants[v][i] for v, i in zip(which, rows, strict=True)]
    input_ids, mask = padded(tokens)
    return Batch(
        torch.from_numpy(input_ids),
        torch.from_numpy(mask),
        torch.from_numpy(encoded.emotions[rows]),
        torch.from_numpy(encoded.own[rows]),
        torch.from_numpy(encoded.corpus[rows]),
        torch.from_numpy(encoded.affect[rows]),
    )


def padded(tokens: Sequence[NDArray[np.int16]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """input_ids and attention_mask, int64 [rows, tokens]; few different widths."""
    width = -(-max(len(ids) for ids in tokens) // _WIDTH_STEP) * _WIDTH_STEP
    input_ids = np.full((len(tokens), width), PAD_ID, np.int64)
    mask = np.zeros_like(input_ids)
    for row, ids in enumerate(tokens):
        input_ids[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return input_ids, mask
