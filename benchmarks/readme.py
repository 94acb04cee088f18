"""Writes the figures of the README's sections on speed and cost from the committed results.

python -m benchmarks.readme
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import overhead
from benchmarks.peer_systems import TEXT
from benchmarks.targets import target_table
from realtime_ser.bench.report import capacity_rows, name_of, server_name, table
from realtime_ser.bench.results import read_results
from realtime_ser.bench.statistics import summary

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_MEASURES = ("after_endpoint", "partial_lag", "first_estimate")


def figures(results: list[dict[str, Any]]) -> str:
    """The tables, with what they were measured on."""
    latency = [
        (name_of(row, result["settings"]), row)
        for result in _of_kind(results, "latency")
        for row in result["rows"]
    ]
    waits = [["median / p95, ms", "endpoint → final", "partial lag", "first estimate", "n"]]
    waits += [
        [
            name,
            *(_pair(row, measure) for measure in _MEASURES),
            str(row["utterances"]),
        ]
        for name, row in latency
        if row["config"]["pace"] == "paced"
    ]
    carried = capacity_rows(_of_kind(results, "capacity"))
    steps = [["server", "clients", "median / p95 / max, ms", "server cores", "MiB"]]
    for result in _of_kind(results, "capacity"):
        for row in result["rows"]:
            server = server_name(row, result["settings"])
            steps += [[server, *_step(step)] for step in row["steps"]]
    machine = results[0]["machine"]
    revisions = sorted({result["machine"]["revision"] for result in results})
    loads = [result["machine"]["load_average"] for result in results]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, load average {min(loads):g} to "
        f"{max(loads):g}, {machine['measured_at'][:10]}, revisions {', '.join(revisions)}; "
        "GPU: *not measured*."
    )
    return "\n\n".join([where, table(waits), table(carried), table(steps)])


def peer_figures(results: list[dict[str, Any]]) -> str:
    """Every other's wait and time beside ours."""
    rows = [["ms", "model", "n", "median", "p95", "times ours", "95 % interval"]]
    for result in results:
        for row in result["rows"]:
            found, times = summary(row["ms"]), row["times_ours"]
            if found is None:
                continue
            event = row.get("event", TEXT)
            rows.append(
                [
                    row["system"] if event == TEXT else f"{row['system']}, {event}",
                    row["model"],
                    str(len(row["ms"])),
                    f"{found['p50']:.0f}",
                    f"{found['p95']:.0f}",
                    f"{times['value']:.1f}" if times else "",
                    f"{times['low']:.1f} to {times['high']:.1f}" if times else "",
                ]
            )
    return table(rows)


def in_readme(text: str, tables: str, name: str) -> str:
    """The README with the figures between the marks of that name replaced."""
    begin, end = f"<!-- {name}: python -m benchmarks.readme -->", f"<!-- end of {name} -->"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    return re.sub(pattern, lambda _: f"{begin}\n{tables}\n{end}", text, flags=re.DOTALL)


def with_figures(text: str) -> str:
    """The README with all figures as they were measured."""
    measured = read_results([RESULTS / "latency"])
    peers = read_results([RESULTS / "peers.json"])
    targets = target_table(
        _of_kind(measured, "latency"),
        _of_kind(measured, "capacity"),
        read_results([RESULTS / "steadiness.json"]),
        peers,
    )
    text = in_readme(text, figures(measured), "figures")
    text = in_readme(text, peer_figures(peers), "peers")
    text = in_readme(text, targets, "targets")
    cost = json.loads((RESULTS / "overhead.json").read_text(encoding="utf-8"))
    return in_readme(text, overhead.tables(cost), "cost")


def _of_kind(results: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [result for result in results if result["kind"] == kind]


def _pair(row: dict[str, Any], measure: str) -> str:
    found = summary(row["samples_ms"].get(measure, []))
    return f"{found['p50']:.0f} / {found['p95']:.0f}" if found else ""


def _step(step: dict[str, Any]) -> list[str]:
    wait = step["wait_ms"]
    said = (
        " / ".join(f"{wait[name]:.0f}" for name in ("p50", "p95", "max")) if wait else "no finals"
    )
    more = "" if step["carried"] else " (too many)"
    return [
        f"{step['clients']}{more}",
        said,
        f"{step['server_cores']:.2f}",
        f"{step['server_mib']:.0f}",
    ]


def main() -> None:
    """Rewrite the README."""
    path = ROOT / "README.md"
    path.write_text(with_figures(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
