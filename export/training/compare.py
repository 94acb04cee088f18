"""Several evaluations beside each other: a table, plots, and what a difference is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from . import metrics
from .corpora import title
from .evaluation import FILE as METRICS_FILE
from .evaluation import FORMAT_VERSION
from .plots import corpora_of
from .predictions import FILE as PREDICTIONS_FILE
from .predictions import load
from .report import percent
from .run_folder import EVALUATION

Document = Mapping[str, Any]


def read_evaluation(folder: Path) -> tuple[Document, dict[str, np.ndarray]]:
    """The document and the predictions of an evaluation; `folder` may be the run above it.

    Raises:
        ExportError: nothing was evaluated there.
    """
    place = folder / EVALUATION if (folder / EVALUATION).is_dir() else folder
    path = place / METRICS_FILE
    if not path.is_file():
        raise ExportError(
            f"{folder} holds no {METRICS_FILE}; run `realtime-ser-export evaluate` first"
        )
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("format_version") != FORMAT_VERSION:
        raise ExportError(f"{path} is of another version of this program; evaluate again")
    return document, load(place / PREDICTIONS_FILE)


def table(documents: Mapping[str, Document]) -> str:
    """Markdown: a row a figure, a column an evaluation."""
    rows = [f"| | {' | '.join(documents)} |", f"|---|{'---|' * len(documents)}"]

    def add(name: str, values: list[str]) -> None:
        rows.append(f"| {name} | {' | '.join(values)} |")

    found = list(documents.values())
    add("protocol", [_protocol(document) for document in found])
    for corpus in corpora_of(found):
        add(f"UA {title(corpus)}", [_recall(document, corpus) for document in found])
    for key, name in (
        ("unweighted_average_recall", "mean UA"),
        ("weighted_accuracy", "mean WA"),
        ("gap", "best corpus - worst"),
    ):
        add(name, [percent(d["mean"][key]) if d["mean"] else "" for d in found])
    add("mean macro-F1", [f"{d['mean']['macro_f1']:.3f}" if d["mean"] else "" for d in found])
    for number, point in enumerate(found[0]["mean"].get("after_seconds", [])):
        if point["seconds"] is not None:
            name = f"mean UA after {point['seconds']:g} s"
            add(name, [_after(document, number) for document in found])
    add("WA + UA, as served", [f"{d['pooled']['sum_of_both'] * 100:.2f}" for d in found])
    add("calibration error", [f"{d['pooled']['calibration_error']:.3f}" for d in found])
    for key, label in (("noise", None), ("silence", None), ("read_speech", "neutral")):
        name = f"{key.replace('_', ' ')}: abstains" + (f" or {label}" if label else "")
        add(name, [_share(document, key, label) for document in found])
    return "\n".join(rows)


def differences(
    documents: Mapping[str, Document], predictions: Mapping[str, dict[str, np.ndarray]]
) -> str:
    """Markdown: by how much the mean UA of each differs from that of the first.

    On the clips that both answered, with the 95 % interval over resampled speakers (the same for
    both: a paired bootstrap), so that it says whether one is better and not only luckier.
    """
    first, *others = documents
    rows = ["| against " + first + " | clips | mean UA | 95 % interval |", "|---|---|---|---|"]
    for name in others:
        compared = _paired(predictions[first], predictions[name])
        if compared is None:
            rows.append(f"| {name} | 0 | no clip was answered by both | |")
            continue
        count, value, low, high = compared
        rows.append(
            f"| {name} | {count} | {value * 100:+.1f} | {low * 100:+.1f} to {high * 100:+.1f} |"
        )
    return "\n".join(rows)


def _paired(
    one: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    rounds: int = 1000,
) -> tuple[int, float, float, float] | None:
    shared, rows, columns = np.intersect1d(one["clip"], other["clip"], return_indices=True)
    if not len(shared):
        return None
    truth, corpora = one["label"][rows], one["corpus"][rows]
    allowed = one["allowed"][rows] & other["allowed"][columns]
    known = allowed[np.arange(len(truth)), truth]
    if not known.any():
        return None
    right = [
        metrics.restricted(each["scores"][places], allowed).argmax(1) == truth
        for each, places in ((one, rows), (other, columns))
    ]
    # A class of a corpus counts as much as another; a corpus as much as another.
    _, classes = np.unique(
        [f"{c} {t}" for c, t in zip(corpora, truth, strict=True)][:], return_inverse=True
    )
    names, of_corpus = np.unique(corpora, return_inverse=True)
    _, speakers = np.unique(one["speaker"][rows], return_inverse=True)
    units, kinds = speakers.max() + 1, classes.max() + 1
    total, gained = np.zeros((units, kinds)), np.zeros((units, kinds))
    np.add.at(total, (speakers[known], classes[known]), 1)
    np.add.at(gained, (speakers[known], classes[known]), right[1][known] * 1.0 - right[0][known])
    corpus_of_class = np.zeros(kinds, int)
    corpus_of_class[classes] = of_corpus
    drawn = np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), rounds)
    weights = np.concatenate([np.ones((1, units), int), drawn])
    with np.errstate(invalid="ignore"):
        of_class = (weights @ gained) / (weights @ total)
    of_each = [_mean_of(of_class[:, corpus_of_class == i]) for i in range(len(names))]
    means = _mean_of(np.stack(of_each, axis=1))
    low, high = np.nanpercentile(means[1:], [2.5, 97.5])
    return int(known.sum()), float(means[0]), float(low), float(high)


def _mean_of(values: np.ndarray) -> np.ndarray:
    """Mean along each row of what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    counts = there.sum(1)
    sums = np.where(there, values, 0).sum(1)
    return np.where(counts > 0, sums / np.maximum(1, counts), np.nan)


def _protocol(document: Document) -> str:
    marked = " (speaker-dependent)" if document["protocol"]["speaker_dependent"] else ""
    return f"{document['protocol']['kind']}{marked}"


def _recall(document: Document, corpus: str) -> str:
    found = document["corpora"].get(corpus)
    if not found or not found["classes"]:
        return ""
    recall = found["unweighted_average_recall"]
    marked = " (never seen)" if found["unseen"] else ""
    return (
        f"{percent(recall['value'])} ({recall['low'] * 100:.1f}-{recall['high'] * 100:.1f}){marked}"
    )


def _after(document: Document, number: int) -> str:
    points = document["mean"].get("after_seconds", [])
    return percent(points[number]["unweighted_average_recall"]) if number < len(points) else ""


def _share(document: Document, key: str, label: str | None) -> str:
    found = document["sounds"].get(key)
    if found is None:
        return ""
    return percent(found["abstained"] + (found["answered"][label] if label else 0))
