"""Figures of the text encoder, measured through its exported graph and tokenizer, as served.

A row counts where its corpus's labels come to exactly one of the seven: what GoEmotions has after
mapping to Ekman is 92 % such rows, and comparisons of one-label classifiers leave the others out.
The answer is the highest logit among the emotions that the corpus can tell apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.served import serve_folder
from ..training.calibration import fit_temperature
from ..training.metrics import (
    Floats,
    Labels,
    calibration_error,
    class_report,
    confusion,
    pearson,
    restricted,
    softmax,
    unweighted_recall,
    weighted_accuracy,
)
from .batches import allowed_emotions
from .corpora import TextRow
from .labels import CORPORA, EMOTIONS, SHARED, UNDIVIDED
from .network import AFFECT
from .plain_sentences import PLAIN
from .prior import CHOSEN_ON, one_emotion, quick_macro_f1
from .tokens import spoken

_BATCH = 64
_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Answers:
    """What a text encoder said: logits float64 [n, 7], affect float64 [n, 3]."""

    logits: Floats
    affect: Floats


def ask(folder: Path, texts: Sequence[str], threads: int = 1) -> Answers:
    """Answers of an encoder folder through the product's own runtime, in the order of `texts`."""
    expert = serve_folder(folder, threads=threads).expert
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    logits, affect = np.zeros((len(texts), len(EMOTIONS))), np.zeros((len(texts), len(AFFECT)))
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        values = expert.run([texts[place] for place in places])  # type: ignore[arg-type]
        logits[places], affect[places] = values["logits"], values["affect"]
    return Answers(logits, affect)


def interval(
    figure: Callable[[NDArray[np.int64]], float], count: int, seed: int = 0
) -> dict[str, float]:
    """A figure of the rows at given places, with its 95 % percentile interval over resamples."""
    rng = np.random.default_rng(seed)
    values = [figure(rng.integers(count, size=count)) for _ in range(_ROUNDS)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    whole = figure(np.arange(count))
    return {"value": round(whole, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def emotion_figures(logits: Floats, truth: Labels, temperature: float) -> dict[str, Any]:
    """Macro-F1 with its interval, UA, WA, calibration, confusion, a report for each class."""
    predicted = logits.argmax(1)
    return {
        "rows": len(truth),
        "macro_f1": interval(lambda at: quick_macro_f1(predicted[at], truth[at]), len(truth)),
        "unweighted_recall": round(unweighted_recall(predicted, truth), 4),
        "accuracy": round(weighted_accuracy(predicted, truth), 4),
        "calibration_error": round(calibration_error(softmax(logits, temperature), truth), 4),
        "classes": class_report(predicted, truth, EMOTIONS),
        "confusion": confusion(predicted, truth, len(EMOTIONS)).tolist(),
    }


def affect_figures(predicted: Floats, truth: Floats) -> dict[str, Any]:
    """Pearson's correlation of each dimension that was rated, with its interval."""
    figures: dict[str, Any] = {"rows": len(truth)}
    for column, name in enumerate(AFFECT):
        rated = ~np.isnan(truth[:, column])
        if rated.any():
            x, y = predicted[rated, column], truth[rated, column]
            figures[name] = interval(lambda at, x=x, y=y: pearson(x[at], y[at]), len(x))
    return figures


def measure(folder: Path, rows: Sequence[TextRow], threads: int = 1) -> dict[str, Any]:
    """All figures of an encoder folder on the test sets (of MELD, which has none here, dev)."""
    dev = [row for row in rows if row.split == "dev" and row.corpus in CHOSEN_ON]
    places, truth = one_emotion(dev)
    logits = ask(folder, [dev[place].text for place in places], threads).logits
    temperature = fit_temperature(logits, truth)
    out: dict[str, Any] = {
        "temperature": round(temperature, 4),
        "megabytes": round(sum(f.stat().st_size for f in folder.glob("*.*")) / 1e6, 2),
        "emotion": {},
        "emotion_spoken": {},
        "affect": {},
    }
    allowed = allowed_emotions()
    for corpus in SHARED:
        split = "dev" if corpus in ("meld", "semeval_es") else "test"
        kept = [row for row in rows if row.corpus == corpus and row.split == split]
        places, truth = one_emotion(kept)
        if not places:
            continue
        own = allowed[CORPORA.index(corpus)]
        texts = [kept[place].text for place in places]
        generator = random.Random(0)
        plain = [spoken(text, generator) for text in texts]
        for name, asked in (("emotion", texts), ("emotion_spoken", plain)):
            logits = restricted(ask(folder, asked, threads).logits, own)
            out[name][f"{corpus}.{split}"] = emotion_figures(logits, truth, temperature)
    for corpus in ("emobank", "fb"):
        kept = [row for row in rows if row.corpus == corpus and row.split == "test"]
        if kept:
            predicted = ask(folder, [row.text for row in kept], threads).affect
            truth_affect = np.array([row.affect for row in kept])
            out["affect"][f"{corpus}.test"] = affect_figures(predicted, truth_affect)
    out["plain"] = {
        name: plain_figures(ask(folder, sentences, threads).logits, temperature)
        for name, sentences in PLAIN.items()
    }
    return out


def bundle_metrics(figures: Mapping[str, Any], folds: int) -> list[dict[str, Any]]:
    """The figures that targets are set for, as rows of a bundle's `metrics`."""
    rows = []
    one_label = "rows with one of the seven emotions"
    for key, emotion in figures["emotion"].items():
        corpus, split = key.split(".")
        if corpus in _PUBLISHED:
            fold = f"; one of {folds} stratified folds" if corpus in UNDIVIDED else ""
            rows.append(
                _metric("macro_f1", emotion["macro_f1"], corpus, split, one_label + fold, emotion)
            )
    for key, ratings in figures["affect"].items():
        corpus, split = key.split(".")
        rows.extend(
            _metric(f"pearson_{name}", ratings[name], corpus, split, "own or hashed split", ratings)
            for name in AFFECT
            if name in ratings
        )
    return rows


_PUBLISHED = ("goemotions", "meacorpus", "meld", "emorynlp", "emoevent_es", "brighter_es")


def _metric(
    name: str,
    value: Mapping[str, float],
    corpus: str,
    split: str,
    protocol: str,
    rows: Mapping[str, Any],
) -> dict[str, Any]:
    classes = {"classes": len(rows["classes"])} if "classes" in rows else {}
    return {
        "name": name,
        "value": value["value"],
        "dataset": corpus,
        "split": split,
        "protocol": protocol,
        "count": rows["rows"],
        **classes,
    }


def plain_figures(logits: Floats, temperature: float) -> dict[str, Any]:
    """Of sentences that carry no emotion: how often which answer, and how sure."""
    probabilities = softmax(logits, temperature)
    said = probabilities.argmax(1)
    neutral = EMOTIONS.index("neutral")
    return {
        "sentences": len(said),
        "said": {name: int((said == number).sum()) for number, name in enumerate(EMOTIONS)},
        "neutral_share": round(float(np.mean(said == neutral)), 3),
        "neutral_probability": round(float(probabilities[:, neutral].mean()), 3),
        "other_over_half": round(
            float(np.mean((said != neutral) & (probabilities.max(1) > 0.5))), 3
        ),
    }
