"""Writes the figures of the README's section *How fast* from the committed results.

python -m benchmarks.readme
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from realtime_ser.bench.report import name_of, table
from realtime_ser.bench.results import read_results
from realtime_ser.bench.statistics import summary

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "latency"
_MEASURES = ("after_endpoint", "partial_lag", "first_estimate")
BEGIN, END = "<!-- figures: python -m benchmarks.readme -->", "<!-- end of figures -->"


def figures(results: list[dict[str, Any]]) -> str:
    """The tables, with what they were measured on."""
    latency = [
        (name_of(row, result["settings"]), row)
        for result in results
        if result["kind"] == "latency"
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
    steps = [["server", "clients", "median / p95 / max, ms", "server cores", "MiB"]]
    for result in results:
        if result["kind"] == "capacity":
            for row in result["rows"]:
                server = _server(row, result["settings"])
                steps += [[server, *_step(step)] for step in row["steps"]]
    machine = results[0]["machine"]
    revisions = sorted({result["machine"]["revision"] for result in results})
    loads = [result["machine"]["load_average"] for result in results]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, load average {min(loads):g} to "
        f"{max(loads):g}, {machine['measured_at'][:10]}, revisions {', '.join(revisions)}; "
        "GPU: *not measured*."
    )
    return "\n\n".join([where, table(waits), table(steps)])


def in_readme(text: str, tables: str) -> str:
    """The README with its figures replaced."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: f"{BEGIN}\n{tables}\n{END}", text, flags=re.DOTALL)


def _pair(row: dict[str, Any], measure: str) -> str:
    found = summary(row["samples_ms"].get(measure, []))
    return f"{found['p50']:.0f} / {found['p95']:.0f}" if found else ""


def _server(row: dict[str, Any], settings: dict[str, Any]) -> str:
    others = [f"{name} {value}" for name, value in settings.items() if name != "asr"]
    return ", ".join([f"asr {row['asr'].split(' (')[0]}", *others])


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
    text = path.read_text(encoding="utf-8")
    path.write_text(in_readme(text, figures(read_results([RESULTS]))), encoding="utf-8")


if __name__ == "__main__":
    main()
