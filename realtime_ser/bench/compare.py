"""Two measurements beside each other: ratios with intervals, and whether one got worse.

What counts as worse: the whole 95 % interval of the ratio lies above 1, the ratio itself is above
the tolerance, and the difference is one that somebody could notice. Two runs on a shared machine
differ by more than their own samples tell; both runs' time for the same fixed piece of arithmetic
stands beside the ratios, so that a machine that was slower is not taken for code that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime_ser.bench.report import input_size, name_of, server_name, table
from realtime_ser.bench.statistics import Ratio, ratio

_NOTICEABLE_MS = 2.0
"""Less is no regression, whatever the ratio: nobody feels it, and the clock hardly does."""

_QUANTILES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of one row, in both runs.

    Attributes:
        before, after: the quantile, in ms.
        worse: beyond noise and tolerance.
    """

    row: str
    measure: str
    before: float
    after: float
    ratio: Ratio
    worse: bool


def differences(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    tolerance: float,
) -> list[Difference]:
    """All measures that both have; rows with the same settings belong together.

    Args:
        tolerance: how much slower is still no regression: 0.1 lets ratios up to 1.1 pass.
    """
    old, new = dict(_measures(before)), dict(_measures(after))
    return [
        difference
        for key in old
        if key in new
        for difference in _differences(key, old[key], new[key], tolerance)
    ]


def comparison(found: Sequence[Difference]) -> str:
    """The differences as a Markdown table."""
    rows = [["row", "measure", "before, ms", "after, ms", "ratio", "95 % interval", ""]]
    rows += [
        [
            each.row,
            each.measure,
            f"{each.before:.1f}",
            f"{each.after:.1f}",
            f"{each.ratio.value:.2f}",
            f"{each.ratio.low:.2f} to {each.ratio.high:.2f}",
            _verdict(each),
        ]
        for each in found
    ]
    return table(rows)


def circumstances(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What is to be known of two results before their ratios are believed, a line each."""
    old, new = dict(_measures(before)), dict(_measures(after))
    lost = sorted({row for row, _ in old} - {row for row, _ in new})
    if lost:
        yield f"only before, and not compared: {'; '.join(lost)}"
    machines = [
        f"{result['machine']['processor']}, {result['machine']['cores']} cores"
        for result in (before[0], after[0])
    ]
    if machines[0] != machines[1]:
        yield f"NOT the same machine: {machines[0]} before and {machines[1]} after"
    references = [result["machine"]["reference_ms"] for result in (before[0], after[0])]
    yield (
        f"the same arithmetic took {references[0]:.1f} ms before and {references[1]:.1f} ms after: "
        "where these differ, so did the machine"
    )


def _verdict(difference: Difference) -> str:
    if difference.worse:
        return "**slower**"
    return "faster" if difference.ratio.high < 1 else ""


def _differences(
    key: tuple[str, str], before: list[float], after: list[float], tolerance: float
) -> Iterator[Difference]:
    for name, quantile in _QUANTILES.items():
        found = ratio(before, after, quantile)
        if found is None:
            continue
        old, new = float(np.quantile(before, quantile)), float(np.quantile(after, quantile))
        worse = found.low > 1 and found.value > 1 + tolerance and new - old > _NOTICEABLE_MS
        yield Difference(key[0], f"{key[1]} {name}", old, new, found, worse)


def _measures(
    results: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[tuple[str, str], list[float]]]:
    """Every measure of every row, of all results of a kind together, by what they are called."""
    gathered: dict[tuple[str, str], list[float]] = {}
    for result in results:
        for row, measure, values in _rows(result):
            gathered.setdefault((f"{result['kind']}: {row}", measure), []).extend(values)
    yield from gathered.items()


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str, list[float]]]:
    for row in result["rows"]:
        if result["kind"] == "latency":
            for measure, values in row["samples_ms"].items():
                yield name_of(row, result["settings"]), measure, values
        elif result["kind"] == "encoders":
            for each in row["times"]:
                size = input_size(each)
                yield f"{row['model']}, {size} x {each['batch']}", "run", each["all_ms"]
        elif result["kind"] == "peers":
            yield f"{row['system']}, {row['model']}", row.get("event", "run"), row["ms"]
        else:
            server = server_name(row, result["settings"])
            for step in row["steps"]:
                if step["waits_ms"]:
                    yield f"{server}, {step['clients']} clients", "wait", step["waits_ms"]
