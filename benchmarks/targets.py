"""What was aimed at in speed, beside what the committed results say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peer_systems import COMPLETED, TEXT
from realtime_ser.bench.report import knee, table
from realtime_ser.bench.statistics import summary
from realtime_ser.bench.steadiness import LIMIT

Result = Mapping[str, Any]
TINY = "random-tiny"
_MIB_IN_MB = 2**20 / 1e6


@dataclass(frozen=True, slots=True)
class Target:
    """One of them.

    Attributes:
        aim: in words.
        reached: in words; empty where nothing was measured.
        met: whether it is reached.
    """

    aim: str
    reached: str
    met: bool


def target_table(
    latency: Sequence[Result],
    capacity: Sequence[Result],
    steadiness: Sequence[Result],
    peers: Sequence[Result],
) -> str:
    """All targets, as Markdown."""
    targets = [
        *_waits(latency),
        *_clients(capacity),
        *_steady(steadiness),
        *_beside_others(peers),
    ]
    rows = [["aimed at, 2 shared cores", "measured", ""]]
    rows += [[each.aim, each.reached, "yes" if each.met else "no"] for each in targets]
    return table(rows)


def _paced(latency: Sequence[Result], asr: str) -> Iterator[Mapping[str, Any]]:
    """Rows of a transcription model with the settings that we ship."""
    for result in latency:
        if set(result["settings"]) <= {"asr"}:
            for row in result["rows"]:
                if row["config"]["pace"] == "paced" and row["asr"].startswith(asr):
                    yield row


def _worst(rows: Iterator[Mapping[str, Any]], measure: str) -> tuple[float, float]:
    """The largest median and 95th percentile of some rows."""
    found = [found for row in rows if (found := summary(row["samples_ms"].get(measure, [])))]
    return max(each["p50"] for each in found), max(each["p95"] for each in found)


def _waits(latency: Sequence[Result]) -> Iterator[Target]:
    _, p95 = _worst(_paced(latency, "off"), "after_endpoint")
    yield Target("endpoint → final without transcripts: p95 ≤ 20 ms", f"{p95:.0f}", p95 <= 20)
    p50, p95 = _worst(_paced(latency, TINY), "after_endpoint")
    yield Target(
        "endpoint → final with Whisper tiny, utterances of 2 to 6 s: median ≤ 30, p95 ≤ 120 ms",
        f"{p50:.0f}, {p95:.0f} (the worst length)",
        p50 <= 30 and p95 <= 120,
    )
    for measure, aim, limit in (
        ("partial_lag", "partial lag: p95 ≤ 60 ms", 60),
        ("first_estimate", "start of speech → first estimate: p95 ≤ 700 ms", 700),
    ):
        p95 = max(_worst(_paced(latency, asr), measure)[1] for asr in ("off", TINY))
        yield Target(aim, f"{p95:.0f}", p95 <= limit)


def _clients(capacity: Sequence[Result]) -> Iterator[Target]:
    rows = [(result["settings"], row) for result in capacity for row in result["rows"]]
    for asr, wanted, what in (("off", 100, "without transcripts"), (TINY, 24, "with Whisper tiny")):
        found = [(s, row) for s, row in rows if row["asr"].startswith(asr)]
        said = [knee(row) + _but(settings) for settings, row in found]
        shipped = max(row["clients"] for s, row in found if set(s) <= {"asr"})
        yield Target(
            f"clients {what} at p95 < 500 ms, 50 % talk: ≥ {wanted}",
            "; ".join(said),
            shipped >= wanted,
        )
    held = max(
        step["server_peak_mib"] * _MIB_IN_MB
        for _, row in rows
        if row["asr"].startswith(TINY)
        for step in row["steps"]
    )
    yield Target("resident memory with Whisper tiny: ≤ 600 MB", f"{held:.0f}", held <= 600)
    slopes = [row["mib_per_client"] for _, row in rows if row["mib_per_client"] is not None]
    more = max(slopes) * _MIB_IN_MB if slopes else None
    yield Target(
        "a client: + ≤ 1 MB",
        "*not measured*" if more is None else f"{more:.2f}",
        more is not None and more <= 1,
    )


def _but(settings: Mapping[str, Any]) -> str:
    said = [f"{name} {value:g}" for name, value in settings.items() if name != "asr"]
    return f" with {', '.join(said)}" if said else ""


def _steady(results: Sequence[Result]) -> Iterator[Target]:
    rows = [row for result in results for each in result["steadiness"] for row in each["rows"]]
    clock, cpu = (max(row[name] for row in rows) for name in ("slowest", "slowest_cpu"))
    above = sum(row["slowest"] > LIMIT for row in rows)
    yield Target(
        f"no request slower than {LIMIT:g} times the median of its shape once warm",
        f"{clock:.2f} by the clock, in {above} of {len(rows)} shapes above {LIMIT:g}; "
        f"{cpu:.2f} by CPU time (load {results[0]['machine']['load_average']:g})",
        clock <= LIMIT,
    )


def _beside_others(peers: Sequence[Result]) -> Iterator[Target]:
    for system, event in (("RealtimeSTT", TEXT), ("WhisperLive", COMPLETED)):
        said, values = [], []
        for result in peers:
            for row in result["rows"]:
                name = row["system"].rsplit(" ", 1)[0]
                if name == system and row.get("event") == event and row["times_ours"]:
                    values.append(row["times_ours"]["value"])
                    said.append(f"{values[-1]:.1f} ({row['model']})")
        yield Target(
            f"end of speech → text: {system} ≥ 3 times ours",
            ", ".join(said),
            bool(values) and min(values) >= 3,
        )
