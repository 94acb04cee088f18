"""Results as pictures; needs matplotlib, `pip install 'realtime-ser[bench]'`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realtime_ser.bench.report import input_size, name_of, server_name
from realtime_ser.errors import ConfigError

Result = Mapping[str, Any]


def write_plots(results: Sequence[Result], folder: Path) -> list[Path]:
    """A picture for each result, as PNG in `folder`; returns where they are.

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
        path = folder / f"{result['kind']}-{number}.png"
        _save(_PLOTS[result["kind"]], result, path)
        written.append(path)
    return written


def _save(draw: Any, result: Result, path: Path) -> None:
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(8, 4.5), layout="constrained")
    draw(figure, result)
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            axes.legend(fontsize=8)
    machine = result["machine"]
    figure.suptitle(
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_average']:g}; "
        f"{machine['measured_at'][:10]}, {machine['revision']}",
        fontsize=8,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _latency(figure: Any, result: Result) -> None:
    """Distribution functions: every quantile at once."""
    axes = figure.subplots()
    for row in result["rows"]:
        values = np.sort(row["samples_ms"].get("felt", []))
        if len(values):
            # from 0 on: a step function that starts at the first value hides it
            shares = np.arange(len(values) + 1) / len(values)
            name = name_of(row, result["settings"])
            axes.step([values[0], *values], shares, where="post", label=name)
    axes.set(xlabel="end of speech → final, ms", ylabel="share of utterances", ylim=(0, 1.02))


def _capacity(figure: Any, result: Result) -> None:
    axes = figure.subplots()
    numbers: set[int] = set()
    for row in result["rows"]:
        steps = [step for step in row["steps"] if step["wait_ms"]]
        clients = [step["clients"] for step in steps]
        numbers.update(clients)
        name = server_name(row, result["settings"])
        for quantile in ("p50", "p95"):
            waits = [step["wait_ms"][quantile] for step in steps]
            axes.plot(clients, waits, marker="o", label=f"{name}, {quantile}")
    limit = result["rows"][0]["config"]["limit_ms"]
    axes.axhline(limit, linestyle=":", color="grey", label=f"p95 that is carried, {limit:g} ms")
    axes.set(xlabel="clients", ylabel="endpoint → final, ms", xscale="log", yscale="log")
    _plain_ticks(axes.xaxis, sorted(numbers))
    _plain_ticks(axes.yaxis)


def _encoders(figure: Any, result: Result) -> None:
    """One by one, by length; and in batches, where there were any."""
    rows = result["rows"]
    audio = [row for row in rows if row["times"][0]["audio_s"]]
    batched = [row for row in rows if any(each["batch"] > 1 for each in row["times"])]
    panels = iter(np.atleast_1d(figure.subplots(1, bool(audio) + bool(batched) or 1)))
    if audio:
        axes = next(panels)
        for row in audio:
            alone = [each for each in row["times"] if each["batch"] == 1]
            lengths = [each["audio_s"] for each in alone]
            axes.plot(lengths, [e["ms"] for e in alone], marker="o", label=row["model"])
        axes.set(xlabel="audio, s; one at a time", ylabel="ms", xlim=(0, None), ylim=(0, None))
    if batched:
        axes = next(panels)
        sizes: set[int] = set()
        for row in batched:
            times = _of_one_length(row["times"])
            batches = [each["batch"] for each in times]
            sizes.update(batches)
            axes.plot(
                batches,
                [each["ms"] / each["batch"] for each in times],
                marker="o",
                label=f"{row['model']}, {input_size(times[0])}",
            )
        axes.set(xlabel="batch", ylabel="ms an utterance", xscale="log", yscale="log")
        _plain_ticks(axes.xaxis, sorted(sizes))
        _plain_ticks(axes.yaxis)


def _of_one_length(times: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the length that batches were made of, one at a time included."""
    length = next(each["audio_s"] for each in times if each["batch"] > 1)
    return [each for each in times if each["audio_s"] == length]


def _peers(figure: Any, result: Result) -> None:
    """Every wait as a point, medians as lines; a panel for each model."""
    rows = [row for row in result["rows"] if row["ms"]]
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure.set_size_inches(9, 1.2 + 0.32 * len(rows) + 0.5 * len(models))
    counts = [sum(row["model"] == model for row in rows) for model in models]
    panels = figure.subplots(len(models), 1, height_ratios=counts, sharex=True, squeeze=False)
    for axes, model in zip(panels[:, 0], models, strict=True):
        names = []
        for place, row in enumerate(row for row in rows if row["model"] == model):
            axes.plot(row["ms"], [place] * len(row["ms"]), "o", alpha=0.4, color=f"C{place}")
            middle = float(np.median(row["ms"]))
            axes.plot(middle, place, "|", markersize=18, markeredgewidth=2, color=f"C{place}")
            names.append(f"{row['system']}, {row['event']}" if "event" in row else row["system"])
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(model, fontsize=9, loc="left")
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    waits = any("event" in row for row in rows)
    panels[-1, 0].set_xlabel("ms, end of speech → ..." if waits else "ms")


def _plain_ticks(axis: Any, places: Sequence[float] | None = None) -> None:
    """Numbers as people write them on a logarithmic axis; at `places`, if they are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    if places is not None and len(places) <= _MOST_TICKS:
        axis.set_major_locator(FixedLocator(list(places)))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(labelsize=8)  # four digits beside four others


_MOST_TICKS = 9


_PLOTS = {"latency": _latency, "capacity": _capacity, "encoders": _encoders, "peers": _peers}
