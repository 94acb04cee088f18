"""Plots of one evaluation, and of several beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .corpora import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Document = Mapping[str, Any]

CONFUSION, RELIABILITY, EARLY = "confusion.png", "reliability.png", "after_seconds.png"
COMPARED = "comparison.png"


def draw(document: Document, folder: Path) -> list[Path]:
    """Write the plots of an evaluation into `folder`; returns their paths."""
    made = {
        CONFUSION: _confusions(document),
        RELIABILITY: _reliability({"": document}),
        EARLY: _early(_measured(document)),
    }
    if len(document["mean"].get("after_seconds", [])) < 2:  # sentences have no seconds
        del made[EARLY]
    return [_save(figure, folder / name) for name, figure in made.items()]


def draw_comparison(documents: Mapping[str, Document], folder: Path) -> list[Path]:
    """Write the plots of several evaluations by name; returns their paths."""
    made = {
        COMPARED: _bars(documents),
        RELIABILITY: _reliability(documents),
        EARLY: _early({name: document["mean"] for name, document in documents.items()}),
    }
    return [_save(figure, folder / name) for name, figure in made.items()]


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    # Figure, not pyplot: no window system is looked for, and nothing global is left behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def _save(figure: Figure, path: Path) -> Path:
    # Without the library's version in it the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def _measured(document: Document) -> dict[str, Document]:
    return {title(name): found for name, found in document["corpora"].items() if found["classes"]}


def _confusions(document: Document) -> Figure:
    corpora, labels = _measured(document), document["labels"]
    columns = max(1, min(3, len(corpora)))
    rows = max(1, -(-len(corpora) // columns))
    figure, axes = _figure(rows, columns, 4.2 * columns, 3.9 * rows)
    for axis in axes[len(corpora) :]:
        axis.set_axis_off()
    for axis, (name, found) in zip(axes, corpora.items(), strict=False):
        counts = np.array(found["confusion"])
        shown = np.flatnonzero(counts.sum(0) + counts.sum(1))
        inside = counts[np.ix_(shown, shown)]
        shares = inside / np.maximum(1, inside.sum(1, keepdims=True))
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [labels[i] for i in shown]
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axis.set_yticks(range(len(names)), names)
        for row, column in np.ndindex(*shares.shape):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            axis.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour, size=7)
        recall = found["unweighted_average_recall"]["value"]
        axis.set_title(f"{name}, UA {recall:.1%}")
        axis.set_ylabel("acted")
        axis.set_xlabel("heard")
    return figure


def _reliability(documents: Mapping[str, Document]) -> Figure:
    figure, (axis,) = _figure(1, 1, 4.6, 4.4)
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, document in documents.items():
        bins = document["pooled"]["reliability"]
        error = document["pooled"]["calibration_error"]
        label = f"{name} ECE {error:.3f}".strip()
        confidence = [row["confidence"] for row in bins]
        accuracy = [row["accuracy"] for row in bins]
        (line,) = axis.plot(confidence, accuracy, label=label)
        # As large as the share of the clips: a bin of three says little.
        areas = [400 * row["count"] / document["pooled"]["count"] for row in bins]
        axis.scatter(confidence, accuracy, s=areas, color=line.get_color(), zorder=3)
    axis.set_xlabel("confidence")
    axis.set_ylabel("share of right answers")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.legend()
    return figure


def _early(lines: Mapping[str, Document]) -> Figure:
    """One line each; the whole utterance stands at the right, with no number of seconds."""
    figure, (axis,) = _figure(1, 1, 5.6, 4.0)
    names: list[str] = []
    for label, found in lines.items():
        points = found.get("after_seconds", [])
        names = ["all" if p["seconds"] is None else f"{p['seconds']:g}" for p in points]
        values = [100 * p["unweighted_average_recall"] for p in points]
        axis.plot(range(len(points)), values, marker="o", label=label)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlabel("seconds of speech heard")
    axis.set_ylabel("UA, %")
    axis.set_ylim(0, 100)
    if lines:
        axis.legend(fontsize=7)
    return figure


def _bars(documents: Mapping[str, Document]) -> Figure:
    """UA of each corpus, one bar a run, with its interval over clips."""
    names = corpora_of(documents.values())
    figure, (axis,) = _figure(1, 1, 2.0 + 1.1 * max(1, len(names)), 4.0)
    width = 0.8 / len(documents)
    for number, (label, document) in enumerate(documents.items()):
        found = {name: document["corpora"].get(name) for name in names}
        shown = [(i, f) for i, f in enumerate(found.values()) if f and f["classes"]]
        recalls = [f["unweighted_average_recall"] for _, f in shown]
        places = [i + number * width for i, _ in shown]
        below = [100 * (r["value"] - r["low"]) for r in recalls]
        above = [100 * (r["high"] - r["value"]) for r in recalls]
        # A percentile interval need not hold its value.
        spread = np.maximum(0, np.array([below, above]))
        axis.bar(places, [100 * r["value"] for r in recalls], width, yerr=spread, label=label)
    middle = 0.4 - width / 2
    axis.set_xticks([i + middle for i in range(len(names))], [title(name) for name in names])
    axis.set_ylabel("UA, %")
    axis.legend(fontsize=7)
    return figure


def corpora_of(documents: Sequence[Document] | Any) -> list[str]:
    """Names of the corpora in any of the evaluations, in their first order."""
    return list(dict.fromkeys(name for document in documents for name in document["corpora"]))
