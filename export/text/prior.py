"""How common each emotion is taken to be when served; and what checkpoints are chosen by.

Training takes the frequency of emotions in a corpus out of the logits (`train_text`); what is left
calls every emotion as often as it is right for a world where all are equally common. The prior
that is put back is the one with the highest macro-F1 on the dev set of GoEmotions, the largest set
that has all seven. No other set has a say in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..training.metrics import Floats, Labels, pearson
from .batches import shares
from .corpora import TextRow
from .labels import EMOTIONS
from .network import AFFECT

CHOSEN_ON = ("goemotions", "meld")
"""Their dev sets choose checkpoint and temperature: Reddit comments and television dialogue."""

_PRIOR_ON = "goemotions"

_STEPS = (0.4, 0.2, 0.1)


def one_emotion(rows: Sequence[TextRow]) -> tuple[list[int], Labels]:
    """Places of the rows that mean exactly one of the seven, and which."""
    of_rows = np.stack([shares(row) for row in rows]) if rows else np.zeros((0, len(EMOTIONS)))
    clear = of_rows.max(1, initial=0) == 1
    return [int(place) for place in np.flatnonzero(clear)], of_rows[clear].argmax(1)


def quick_macro_f1(predicted: Labels, truth: Labels) -> float:
    """`metrics.macro_f1` without its checks, which take a thousand times as long as the sums."""
    counts = np.bincount(truth * len(EMOTIONS) + predicted, minlength=len(EMOTIONS) ** 2)
    table = counts.reshape(len(EMOTIONS), len(EMOTIONS))
    found, true, said = table.diagonal(), table.sum(1), table.sum(0)
    present = true > 0
    return float(np.mean(2 * found[present] / (true + said)[present]))


def dev_sets(rows: Sequence[TextRow], logits: Floats) -> dict[str, tuple[Floats, Labels]]:
    """Logits and truth of the rows of each corpus of `CHOSEN_ON`, where there are any."""
    sets = {}
    for corpus in CHOSEN_ON:
        at = np.array([place for place, row in enumerate(rows) if row.corpus == corpus], np.int64)
        places, truth = one_emotion([rows[place] for place in at])
        if places:
            sets[corpus] = (logits[at[places]], truth)
    return sets


def fit_prior(sets: Mapping[str, tuple[Floats, Labels]]) -> NDArray[np.float32]:
    """Coordinate search, in steps that shrink, for the best macro-F1: float32 [7], mean 0.

    Args:
        sets: of `dev_sets`; without GoEmotions among them, all of them count alike.
    """
    chosen = [sets[_PRIOR_ON]] if _PRIOR_ON in sets else [*sets.values()]
    if not chosen:
        return np.zeros(len(EMOTIONS), np.float32)
    prior = np.zeros(len(EMOTIONS))

    def value(candidate: NDArray[np.float64]) -> float:
        scores = [quick_macro_f1((x + candidate).argmax(1), y) for x, y in chosen]
        return float(np.mean(scores))

    best = value(prior)
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for place in range(len(EMOTIONS)):
                for change in (step, -step):
                    candidate = prior.copy()
                    candidate[place] += change
                    found = value(candidate)
                    if found > best + 1e-5:
                        prior, best, improved = candidate, found, True
    return (prior - prior.mean()).astype(np.float32)


def dev_score(
    rows: Sequence[TextRow], logits: Floats, affect: Floats
) -> tuple[float, dict[str, float]]:
    """Mean of the macro-F1 of `CHOSEN_ON`, with the best prior, and of EmoBank's correlations."""
    sets = dev_sets(rows, logits)
    prior = fit_prior(sets)
    emotions = {name: quick_macro_f1((x + prior).argmax(1), y) for name, (x, y) in sets.items()}
    at = [place for place, row in enumerate(rows) if row.corpus == "emobank"]
    truth = np.array([rows[place].affect for place in at])
    ratings = {
        name: pearson(affect[at, column], truth[:, column])
        for column, name in enumerate(AFFECT)
        if len(at) > 2
    }
    means = [float(np.mean([*values.values()])) for values in (emotions, ratings) if values]
    figures = {name: round(float(value), 4) for name, value in (emotions | ratings).items()}
    return float(np.nan_to_num(np.mean(means))) if means else 0.0, figures
