"""What may be trained on: nothing that a dev or test set holds, of whatever corpus.

Sentences recur between corpora (MELD and EmoryNLP are the same television series, XED and its
neutral part the same films), and short ones recur within one. A row of training whose letters and
digits are those of a row of any dev or test set is dropped, a row of dev that is in a test set too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .corpora import TextRow, folded, read_corpora
from .labels import CORPORA


def read_rows(data: Path, corpora: Sequence[str] = CORPORA) -> list[TextRow]:
    """The given corpora, without what would leak and without copies within a split of a corpus."""
    return without_leaks(read_corpora(data, corpora))


def without_leaks(rows: Sequence[TextRow]) -> list[TextRow]:
    """Drop rows of train that are in dev or test, and rows of dev that are in test."""
    test = {folded(row.text) for row in rows if row.split == "test"}
    dev = {folded(row.text) for row in rows if row.split == "dev"}
    annotated = {folded(row.text) for row in rows if row.corpus == "xed_en" and not _calm(row)}
    kept, seen = [], set()
    for row in rows:
        key = folded(row.text)
        if row.split != "test" and (key in test or (row.split == "train" and key in dev)):
            continue
        if row.corpus == "xed_en" and _calm(row) and key in annotated:
            continue  # It was annotated with an emotion after all.
        copy = (row.corpus, row.split, key, row.labels)
        if row.split == "train" and copy in seen:
            continue
        seen.add(copy)
        kept.append(row)
    return kept


def _calm(row: TextRow) -> bool:
    return row.labels == ("neutral",)


def folds(rows: Iterable[TextRow], corpus: str, count: int, seed: int) -> dict[str, int]:
    """Stratified folds over the training rows of `corpus`: folded text -> 0..count-1.

    Copies of a text fall into one fold.
    """
    label_of: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if row.corpus == corpus and row.split == "train":
            label_of.setdefault(folded(row.text), row.labels)
    keys = sorted(label_of)
    order = np.random.default_rng(seed).permutation(len(keys))
    dealt: Counter[tuple[str, ...]] = Counter()
    fold_of = {}
    for place in order:
        key = keys[int(place)]
        fold_of[key] = dealt[label_of[key]] % count
        dealt[label_of[key]] += 1
    return fold_of


def hold_out(
    rows: Sequence[TextRow], corpus: str, fold_of: dict[str, int], fold: int
) -> list[TextRow]:
    """The rows with one fold of `corpus` made its test set, leak-free again."""
    moved = [
        replace(row, split="test")
        if row.corpus == corpus and fold_of.get(folded(row.text)) == fold
        else row
        for row in rows
    ]
    return without_leaks(moved)
