"""Results as pictures; needs matplotlib, `pip install 'realtime-ser[bench]'`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realtime_ser.bench.report import name_of
from realtime_ser.errors import ConfigError

Result = Mapping[str, Any]


def write_plots(results: Sequence[Result], folder: Path) -> list[Path]:
    """A picture for each result that has one, as PNG in `folder`; returns where they are.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib: pip install 'realtime-ser[bench]', or leave out --out and take "
            "the tables"
        ) from error
    matplotlib.use("Agg")
    written = []
    for number, result in enumerate(results):
        draw = _PLOTS.get(result["kind"])
        if draw is not None:
            path = folder / f"{result['kind']}-{number}.png"
            _save(draw, result, path)
            written.append(path)
    return written


def _save(draw: Any, result: Result, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    draw(axes, result)
    axes.grid(alpha=0.3)
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _latency(axes: Any, result: Result) -> None:
    """Distribution functions: every quantile at once."""
    for row in result["rows"]:
        values = np.sort(row["samples_ms"].get("felt", []))
        if len(values):
            shares = np.arange(1, len(values) + 1) / len(values)
            axes.step(values, shares, where="post", label=name_of(row))
    axes.set(xlabel="end of speech → final, ms", ylabel="share of utterances", ylim=(0, 1.02))


def _capacity(axes: Any, result: Result) -> None:
    for row in result["rows"]:
        steps = [step for step in row["steps"] if step["wait_ms"]]
        clients = [step["clients"] for step in steps]
        for quantile in ("p50", "p95"):
            waits = [step["wait_ms"][quantile] for step in steps]
            axes.plot(clients, waits, marker="o", label=f"asr {row['asr']}, {quantile}")
        axes.axhline(row["config"]["limit_ms"], linestyle=":", color="grey")
    axes.set(xlabel="clients", ylabel="endpoint → final, ms", xscale="log", yscale="log")


def _encoders(axes: Any, result: Result) -> None:
    for row in result["rows"]:
        times = [each for each in row["times"] if each["batch"] > 1 or each is row["times"][1]]
        batches = [each["batch"] for each in times]
        axes.plot(batches, [e["ms"] / e["batch"] for e in times], marker="o", label=row["model"])
    axes.set(xlabel="batch", ylabel="ms an utterance", xscale="log", yscale="log")


def _peers(axes: Any, result: Result) -> None:
    rows = [row for row in result["rows"] if row["ms"]]
    axes.boxplot([row["ms"] for row in rows], orientation="horizontal", whis=(5, 95))
    axes.set_yticks(range(1, len(rows) + 1), [f"{row['system']}: {row['what']}" for row in rows])
    axes.set(xlabel="ms")


_PLOTS = {"latency": _latency, "capacity": _capacity, "encoders": _encoders, "peers": _peers}
