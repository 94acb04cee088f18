"""What a system answered, its figures, and the paper's table beside ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..progress import say
from ..training.metrics import (
    area_under_curve,
    class_report,
    confusion,
    macro_f1,
    unweighted_recall,
    weighted_accuracy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scores = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

TITLES = {
    "wa": "WA",
    "ua": "UA",
    "sum": "WA + UA",
    "macro_f1": "macro F1",
    "weighted_precision": "precision",
    "weighted_recall": "recall",
    "weighted_f1": "F1",
    "auc": "AUC",
}
NOT_RUN = "not run yet"


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers for n clips that the system has not learnt from.

    Attributes:
        probabilities: float [n, labels], or any scores that sum to 1 over the labels.
        truth: int64 [n].
        groups: of each clip, to give figures for each group as well (a language, a corpus).
    """

    probabilities: Scores
    truth: Indices
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        system: for people.
        protocol: which clips were trained on and which measured on.
        paper: the paper's figures, in per cent where it gives per cent, by keys of `TITLES`.
        ours: the same keys, in per cent; None where it was not run.
        data: what it was measured on.
        reason: why ours differs, or why there is none.
    """

    system: str
    protocol: str
    paper: Mapping[str, float]
    ours: Mapping[str, Any] | None
    data: str
    reason: str


@dataclass(slots=True)
class Bench:
    """Where systems of one paper are run; each answer is kept, so that a stopped run goes on.

    Attributes:
        out: folder of the paper's results.
        only: pattern of the keys to run; what was run before is shown all the same.
    """

    out: Path
    only: str = "*"
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        key: str,
        system: str,
        protocol: str,
        names: Sequence[str],
        answer: Callable[[Path], Answered] | str,
        *,
        paper: Mapping[str, float] | None = None,
        data: str,
        reason: str,
    ) -> Mapping[str, Any] | None:
        """Run one system, or read what it answered before; returns its figures.

        Args:
            key: name of its folder below `out`.
            answer: given its folder, trains and answers; or, in words, why it cannot run.
        """
        ours: Mapping[str, Any] | None = None
        if isinstance(answer, str):
            reason = f"{NOT_RUN}: {answer}"
        else:
            folder = self.out / key
            path = folder / "figures.json"
            if not path.is_file() and not fnmatchcase(key, self.only):
                reason = f"{NOT_RUN}: --only {self.only} leaves it out"
            elif not path.is_file():
                say(f"{key}: {system}, {protocol}")
                folder.mkdir(parents=True, exist_ok=True)
                given = answer(folder)
                _write(folder / "answers.npz", given)
                found = figures(given, names)
                path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            if path.is_file():
                ours = json.loads(path.read_text(encoding="utf-8"))
        self.rows.append(Row(system, protocol, dict(paper or {}), ours, data, reason))
        return ours


def _write(path: Path, given: Answered) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            probabilities=given.probabilities.astype(np.float32),
            truth=given.truth,
            groups=np.array(given.groups, dtype=np.str_),
        )


def figures(given: Answered, names: Sequence[str]) -> dict[str, Any]:
    """All figures of `TITLES` in per cent, the confusion matrix, and each class's report."""
    found = _figures(given.probabilities, given.truth)
    predicted = given.probabilities.argmax(1).astype(np.int64)
    found |= {
        "labels": list(names),
        "clips": len(given.truth),
        "confusion": confusion(predicted, given.truth, len(names)).tolist(),
        "classes": class_report(predicted, given.truth, names),
    }
    if given.groups:
        groups = np.array(given.groups)
        found["groups"] = {
            group: _figures(given.probabilities[groups == group], given.truth[groups == group])
            | {"clips": int((groups == group).sum())}
            for group in sorted(set(given.groups))
        }
    return found


def _figures(probabilities: Scores, truth: Indices) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_fscore_support

    predicted = probabilities.argmax(1).astype(np.int64)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, average="weighted", zero_division=0
    )
    wa, ua = weighted_accuracy(predicted, truth), unweighted_recall(predicted, truth)
    area = area_under_curve(probabilities, truth)
    values = {
        "wa": wa, "ua": ua, "sum": wa + ua, "macro_f1": macro_f1(predicted, truth),
        "weighted_precision": precision, "weighted_recall": recall, "weighted_f1": f1, "auc": area,
    }  # fmt: skip
    return {
        key: None if value is None else round(100 * float(value), 2)
        for key, value in values.items()
    }


def table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Markdown: the paper's figures and ours side by side."""
    heads = [f"{TITLES[key]}, {whose}" for key in metrics for whose in ("paper", "ours")]
    lines = [
        f"| system | protocol | {' | '.join(heads)} | clips |",
        "|---|---|" + "---|" * (len(heads) + 1),
    ]
    for row in rows:
        cells = []
        for key in metrics:
            cells.append(f"{row.paper[key]:.2f}" if key in row.paper else "")
            value = row.ours.get(key) if row.ours else None
            cells.append(NOT_RUN if row.ours is None else "" if value is None else f"{value:.2f}")
        count = str(row.ours["clips"]) if row.ours else ""
        lines.append(f"| {row.system} | {row.protocol} | {' | '.join(cells)} | {count} |")
    return "\n".join(lines)


def reasons(rows: Sequence[Row]) -> str:
    """Markdown: of each row the data it was measured on, and why it differs; equal ones once."""
    of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        of.setdefault((row.data, row.reason), []).append(f"{row.system} ({row.protocol})")
    lines = [
        f"- **{'; '.join(dict.fromkeys(systems))}**: on {data}. {reason}"
        for (data, reason), systems in of.items()
    ]
    return "\n".join(lines)


def write_report(bench: Bench, title: str, metrics: Sequence[str], notes: Sequence[str]) -> str:
    """Write results.json, report.md and the plots; returns the report's text."""
    text = "\n\n".join(
        [
            f"# {title}",
            table(bench.rows, metrics),
            "## Why they differ",
            reasons(bench.rows),
            *(["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []),
        ]
    )
    bench.out.mkdir(parents=True, exist_ok=True)
    document = {"title": title, "metrics": list(metrics), "rows": [asdict(r) for r in bench.rows]}
    (bench.out / "results.json").write_text(
        json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (bench.out / "report.md").write_text(text + "\n", encoding="utf-8")
    measured = [row for row in bench.rows if row.ours]
    if measured:
        _save(_bars(measured, metrics[0]), bench.out / "table.png")
        _save(_confusions(measured), bench.out / "confusion.png")
    return text


def _bars(rows: Sequence[Row], metric: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    assert all(row.ours for row in rows)
    ours = [row.ours[metric] or 0.0 if row.ours else 0.0 for row in rows]
    axes.barh(places - 0.2, [row.paper.get(metric, 0.0) for row in rows], 0.38, label="paper")
    axes.barh(places + 0.2, ours, 0.38, label="ours")
    axes.set_yticks(places, [f"{row.system}, {row.protocol}" for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"{TITLES[metric]}, %")
    axes.legend(fontsize=8)
    return figure


def _confusions(rows: Sequence[Row]) -> Figure:
    from matplotlib.figure import Figure

    # A row that looks closer at a part of another has that one's matrix.
    first = {str(row.ours and row.ours["confusion"]): row for row in reversed(rows)}
    rows = list(reversed(first.values()))
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.3 * lines), layout="constrained")
    places = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in places[len(rows) :]:
        axes.set_axis_off()
    for axes, row in zip(places, rows, strict=False):
        assert row.ours is not None
        counts = np.array(row.ours["confusion"], float)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = row.ours["labels"]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), names, fontsize=6)
        axes.set_title(f"{row.system}\n{row.protocol}", fontsize=7)
        for (i, j), value in np.ndenumerate(shares):
            colour = "white" if value > 0.5 else "black"
            axes.text(
                j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=5, color=colour
            )
    figure.supylabel("acted or labelled", fontsize=8)
    figure.supxlabel("answered, % of the row", fontsize=8)
    return figure


def _save(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    # Without the library's version in it the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
