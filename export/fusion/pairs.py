"""Clips and sentences become pairs to learn fusion from.

No corpus here has emotional speech that says emotional words: the actors of the speech corpora
speak given sentences, whose words say nothing, and the sentences of the text corpora were never
spoken. So pairs are made, of six kinds:

    real           a clip with its own transcript; the words say nothing, or are in a language that
                   the text encoder does not know
    matched        a clip of an emotion with some sentence of the same emotion
    neutral        a clip with some neutral sentence; the voice's emotion is the right answer
    calm           a neutral clip with some sentence of an emotion; that of the words is right
    contradicting  an emotional clip with some sentence of another emotion; the voice's is right
    missing        a clip without any text

To match by label takes voice and words to be independent once the emotion is known. They are not:
what one says and how one says it have more in common than the emotion. Figures on matched pairs
therefore say what the head can do with two independent witnesses, not what it does in a
conversation. What is right where the two disagree is a decision. Neutral contradicts nothing: who
is sad in a flat voice is sad, and so is who says in a sad voice what time it is. Where both tell an
emotion it is the voice's: sarcasm is heard, not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..text.corpora import TextRow, folded
from ..text.labels import SHARED
from ..training.corpora import Clip

Indices = NDArray[np.int64]

REAL, MATCHED, NEUTRAL, CALM, CONTRADICTING, MISSING = KINDS = (
    *("real", "matched", "neutral", "calm", "contradicting", "missing"),
)
FIT, CHOOSE, TEST = "fit", "choose", "test"
NO_TEXT = -1


@dataclass(frozen=True, slots=True)
class Sentences:
    """All texts that clips are paired with: transcripts of clips, and sentences of text corpora.

    Attributes:
        texts: n, all different in letters and digits within a side.
        label: int64 [n], place among the emotions; -1 of transcripts.
        side: fit, choose or test. Of the transcripts, those of one half are on the side fit (the
            head may learn them), all others on none: they are what is measured on.
        corpora: of text, that the sentences are from.
    """

    texts: tuple[str, ...]
    label: Indices
    side: NDArray[np.str_]
    corpora: tuple[str, ...]

    def of(self, side: str, label: int) -> Indices:
        """Places of the sentences of one side and emotion."""
        return np.flatnonzero((self.side == side) & (self.label == label))


def gather(
    clips: Sequence[Clip],
    rows: Sequence[TextRow],
    emotions: Sequence[str],
    most: int,
) -> Sentences:
    """The transcripts of all clips, and the sentences of dev and test that have one emotion.

    Sentences of dev are divided: three quarters are learnt from, one quarter chooses.

    Args:
        most: of each corpus, side and emotion; the first by a hash of the text.
    """
    spoken = sorted({clip.text for clip in clips if clip.text})
    texts = list(spoken)
    label = [-1] * len(spoken)
    side = [FIT if _share(text) < 0.5 else "" for text in spoken]
    chosen: dict[tuple[str, str, int], list[str]] = {}
    known: set[tuple[str, str]] = set()
    for row in sorted(rows, key=lambda row: _share(row.text)):
        emotion = _emotion(row, emotions)
        if emotion is None or row.split == "train":
            continue
        where = TEST if row.split == "test" else CHOOSE if _share(row.text) < 0.25 else FIT
        group = chosen.setdefault((row.corpus, where, emotion), [])
        if len(group) < most and (where, folded(row.text)) not in known:
            known.add((where, folded(row.text)))
            group.append(row.text)
    for (_, where, emotion), group in sorted(chosen.items()):
        texts += group
        label += [emotion] * len(group)
        side += [where] * len(group)
    used = tuple(sorted({corpus for corpus, _, _ in chosen}))
    return Sentences(tuple(texts), np.array(label, np.int64), np.array(side), used)


def _emotion(row: TextRow, emotions: Sequence[str]) -> int | None:
    """The one emotion of a row; None where it has none or several."""
    shared = SHARED.get(row.corpus, {})
    found = {shared[label] for label in row.labels if label in shared}
    return emotions.index(found.pop()) if len(found) == 1 else None


def side_of(clip: Clip) -> str:
    """Whether a dev clip is learnt from or chooses."""
    return CHOOSE if _share(clip.file) < 0.25 else FIT


def _share(name: str) -> float:
    """A number in 0..1 that is always the same for a name, in letters and digits."""
    digest = hashlib.sha256(folded(name).encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32


def drawn_by(
    keys: Indices, among: Callable[[int], Sequence[int] | Indices], rng: np.random.Generator
) -> Indices:
    """For each of n keys one of those that are `among` its like, evenly: int64 [n]."""
    drawn = np.empty(len(keys), np.int64)
    for key in np.unique(keys):
        rows = keys == key
        drawn[rows] = rng.choice(among(int(key)), int(rows.sum()))
    return drawn


class Pairing:
    """Draws texts for clips.

    Args:
        clips: n clips of one side.
        sentences: that may be paired with them.
        side: fit, choose or test.
        neutral: place of *neutral* among the emotions.

    Attributes:
        label: int64 [n], the emotion of each clip.
        transcript: int64 [n], place of its transcript among the sentences; `NO_TEXT` without one.
        learnt: bool [n], whether that transcript is one that the head learns from.
        sentences: int64 [m], places of the sentences that clips of this side are paired with.
        sentence_label: int64, emotion of each of all sentences, as `Sentences.label`.
    """

    def __init__(
        self, clips: Sequence[Clip], sentences: Sentences, side: str, neutral: int
    ) -> None:
        place = {text: i for i, text in enumerate(sentences.texts) if sentences.label[i] < 0}
        self.label = np.array([clip.label for clip in clips], np.int64)
        self.transcript = np.array([place.get(clip.text, NO_TEXT) for clip in clips], np.int64)
        self.learnt = (self.transcript != NO_TEXT) & (sentences.side[self.transcript] == FIT)
        self.neutral = neutral
        labels = range(int(max(self.label.max(), sentences.label.max())) + 1)
        self._of_label = {label: sentences.of(side, label) for label in labels}
        self.sentences = np.concatenate(list(self._of_label.values()))
        self.sentence_label = sentences.label

    def can(self, kind: str) -> NDArray[np.bool_]:
        """The clips that a pair of this kind can be made of, bool [n]."""
        if kind == REAL:
            return self.transcript != NO_TEXT
        if kind == MISSING:
            return np.ones(len(self.label), bool)
        if kind == MATCHED:
            there = [label for label, rows in self._of_label.items() if len(rows)]
            return np.isin(self.label, there)
        if kind == NEUTRAL:
            return np.full(len(self.label), len(self._of_label[self.neutral]) > 0)
        able = np.array([len(self._others(label)) > 0 for label in self.label], bool)
        return able & ((self.label == self.neutral) == (kind == CALM))

    def truth(self, kind: str, clips: Indices, texts: Indices) -> Indices:
        """What is right of some pairs: the voice's emotion, of calm ones that of the words."""
        return self.sentence_label[texts] if kind == CALM else self.label[clips]

    def texts(self, kind: str, clips: Indices, rng: np.random.Generator) -> Indices:
        """A text for each of some clips (which `can`): places among the sentences."""
        if kind == REAL:
            return self.transcript[clips]
        if kind == MISSING:
            return np.full(len(clips), NO_TEXT, np.int64)
        said = self.label[clips]
        if kind == NEUTRAL:
            said = np.full(len(clips), self.neutral)
        elif kind in (CALM, CONTRADICTING):
            said = drawn_by(said, self._others, rng)
        return drawn_by(said, self._of_label.__getitem__, rng)

    def _others(self, label: int) -> list[int]:
        """Emotions of sentences other than this and neutral."""
        skip = (label, self.neutral)
        return [other for other, rows in self._of_label.items() if len(rows) and other not in skip]
