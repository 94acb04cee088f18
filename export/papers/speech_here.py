"""What papers 1, 3, 4 and 5 are run on here, in place of corpora that are not to be had.

The default bundle's speech encoder has learnt from the training speakers of the five corpora that
it names. What it says of the dev and test speakers is what it would say of anybody, so figures on
frozen encoders are taken among those: in folds, as the papers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ..bundles.centroids import centroids
from ..errors import ExportError
from ..training.corpora import LABELS, TRAINING_CORPORA
from .prepare import Sounds, store
from .recordings import Recording, provided, read_sound

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """Places among the clips: int64 each."""

    train: Indices
    dev: Indices
    test: Indices


def unheard(data: Path) -> list[Recording]:
    """Clips of speakers that the default bundle's encoder was not trained on, calm as neutral."""
    return [clip for clip in everybody(data) if clip.split in ("dev", "test")]


def everybody(data: Path) -> list[Recording]:
    """All clips of the five corpora with one of seven emotions, calm as neutral."""
    found = []
    for recording in provided(data, TRAINING_CORPORA):
        if recording.emotion == "calm":
            found.append(replace(recording, emotion="neutral"))
        elif recording.emotion != "boredom":
            found.append(recording)
    return found


def sounds_of(recordings: Sequence[Recording], cache: Path) -> Sounds:
    """Their sounds at 16 kHz, as they are.

    Raises:
        ExportError: one of them cannot be read.
    """
    key = "\n".join(f"{recording.corpus}/{recording.path.name}" for recording in recordings)
    waves = (read_sound(recording.path) for recording in recordings)
    return store(cache, "sounds", key, len(recordings), waves)


def folds(
    labels: Indices, count: int, seed: int, groups: Sequence[str] | None = None
) -> list[Fold]:
    """Stratified folds: one tested on, the next chosen on, the others trained on.

    Args:
        groups: of each clip (its speaker); no group is then on two sides.

    Raises:
        ExportError: a class has fewer clips than there are folds.
    """
    rarest = int(np.bincount(labels)[np.unique(labels)].min())
    if rarest < count:
        raise ExportError(f"a class has {rarest} clips, too few for {count} folds; give more data")
    nothing = np.zeros(len(labels))
    if groups is None:
        cutter = StratifiedKFold(count, shuffle=True, random_state=seed)
        cut = cutter.split(nothing, labels)
    else:
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        cut = grouped.split(nothing, labels, groups)
    tests = [test.astype(np.int64) for _, test in cut]
    made = []
    for number, test in enumerate(tests):
        dev = tests[(number + 1) % count]
        others = [part for part in tests if part is not test and part is not dev]
        made.append(Fold(np.sort(np.concatenate(others)), dev, test))
    return made


def label_affect() -> Mapping[str, list[float]]:
    """Valence, arousal, dominance of each emotion, 0..1, as the bundles here have them."""
    return centroids(LABELS)


def few(recordings: Sequence[Recording], most: int, seed: int = 0) -> list[Recording]:
    """At most so many, drawn evenly from all corpora and emotions."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(recordings))
    counts: dict[tuple[str, str], int] = {}
    ranked = []
    for place in order:
        key = (recordings[int(place)].corpus, recordings[int(place)].emotion)
        counts[key] = counts.get(key, 0) + 1
        ranked.append((counts[key], int(place)))
    return [recordings[place] for place in sorted(place for _, place in sorted(ranked)[:most])]
