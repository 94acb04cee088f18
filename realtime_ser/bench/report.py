"""Results as Markdown tables: what a README can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from realtime_ser.bench.statistics import QUANTILES, summary
from realtime_ser.bench.steadiness import LIMIT
from realtime_ser.runtime.ledger import CRITICAL_PARTS

Table = list[list[str]]
Result = Mapping[str, Any]

_MEASURES = {
    "felt": "end of speech → final",
    "after_endpoint": "endpoint → final",
    "partial_lag": "partial lag",
    "first_estimate": "start of speech → first estimate",
}
_RANDOM_WEIGHTS = (
    "random-*: random weights of the real size, int8 on CPUs, with 3.3 tokens a second of speech: "
    "they cost what real ones cost."
)


def markdown(results: Sequence[Result]) -> str:
    """All of them, one section each, what they were measured on under each heading."""
    sections = [section for result in results for section in (heading(result), *tables(result))]
    return "\n\n".join(sections) + "\n"


def heading(result: Result) -> str:
    """The kind, and machine, versions and settings in a few lines."""
    machine = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    settings = ", ".join(f"{name} = {value}" for name, value in result["settings"].items())
    gpu = machine["gpu"] or "no GPU: GPU figures *not measured*"
    return (
        f"## {result['kind']}\n\n"
        f"{machine['processor']}, {machine['cores']} cores, {gpu}; "
        f"realtime-ser {machine['realtime_ser']} ({machine['revision']}), "
        f"Python {machine['python']}, {packages}; "
        f"{machine['measured_at']}, load average {machine['load_average']} at the end. "
        f"Settings: {settings or 'defaults'}."
    )


def tables(result: Result) -> Iterator[str]:
    """The tables of one result."""
    yield from _TABLES[result["kind"]](result)


def table(rows: Table) -> str:
    """Rows as Markdown, the first one being the head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def name_of(row: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> str:
    """What tells a row from the others: its models, what was varied, and what `settings` change."""
    config = row["config"]
    told = {**(settings or {}), **config}
    varied = [
        f"{name} {_said(value)}"
        for name, value in told.items()
        if name not in ("utterance_s", "pace", "asr")
    ]
    pace = "compute-unaware" if config["pace"] == "unaware" else f"asr {_short(row['asr'])}"
    return ", ".join([pace, f"{config['utterance_s']:g} s", *varied])


def _short(asr: str) -> str:
    return asr.split(" (", 1)[0]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ms(value: float) -> str:
    """Three digits are all that a measurement on a shared machine is worth."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def _latency(result: Result) -> Iterator[str]:
    rows = result["rows"]
    waits: Table = [["ms", "what", "n", *QUANTILES]]
    for row in rows:
        for measure, what in _MEASURES.items():
            found = summary(row["samples_ms"].get(measure, []))
            if found:
                count = str(len(row["samples_ms"][measure]))
                waits.append([name_of(row), what, count, *map(_ms, found.values())])
    yield table(waits)
    yield "Where the wait after the last speech frame went (means), and what each stage cost:"
    yield table(ledger_rows(rows))
    missed = sum(row["missed"] for row in rows)
    if missed:
        yield f"{missed} utterances had no final of their own: pauses cut them, or joined them."
    if any("random weights" in row["asr"] for row in rows):
        yield _RANDOM_WEIGHTS


def ledger_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The ledger of each row: means over utterances, since means add up."""
    stages = [part for part in CRITICAL_PARTS if any(part in row["compute_ms"] for row in rows)]
    head = ["ms", *CRITICAL_PARTS, "= wait", *(f"cost of {stage}" for stage in stages)]
    found: Table = [head]
    for row in rows:
        parts = row["critical_ms"]
        if not parts:
            continue
        means = [fmean(parts[part]) for part in CRITICAL_PARTS]
        costs = [
            _ms(fmean(row["compute_ms"][stage])) if row["compute_ms"].get(stage) else ""
            for stage in stages
        ]
        found.append([name_of(row), *map(_ms, means), _ms(sum(means)), *costs])
    return found


def capacity_rows(results: Sequence[Result]) -> Table:
    """What each server carried, and what that took: a line for each row of capacity results."""
    table_rows: Table = [
        ["server", "load", "clients carried", "for each core used", "for each core here",
         "MiB without clients", "MiB a client", "GPU MiB"],
    ]  # fmt: skip
    for result in results:
        for row in result["rows"]:
            plan = row["config"]
            table_rows.append(
                [
                    server_name(row, result["settings"]),
                    f"{plan['utterance_s']:g} of {plan['utterance_s'] / plan['duty']:g} s talk, "
                    f"p95 < {plan['limit_ms']:g} ms",
                    knee(row),
                    _told(row["clients_per_core"], ".1f"),
                    _told(row["clients_per_core_of_machine"] or None, ".1f"),
                    f"{row['server_mib_idle']:.0f}",
                    _told(row["mib_per_client"], ".2f"),
                    _told(row["gpu_mib"], ".0f", "*not measured*"),
                ]
            )
    return table_rows


def server_name(row: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The server of a row of a capacity result: its transcription model and what was set."""
    others = [f"{name} {_said(value)}" for name, value in settings.items() if name != "asr"]
    return ", ".join([f"asr {_short(row['asr'])}", *others])


def knee(row: Mapping[str, Any]) -> str:
    """How many clients a server carried, as far as was tried."""
    if not row["clients"]:
        return f"fewer than {min(step['clients'] for step in row['steps'])}"
    return f"{row['clients']}{' or more' if row['reached_most'] else ''}"


def input_size(time: Mapping[str, Any]) -> str:
    """What one measured time of an encoder was given."""
    return f"{time['audio_s']:g} s" if time["audio_s"] else f"{time['tokens']} tokens"


def _told(value: float | None, form: str, otherwise: str = "") -> str:
    return otherwise if value is None else format(value, form)


def _capacity(result: Result) -> Iterator[str]:
    yield table(capacity_rows([result]))
    for row in result["rows"]:
        steps: Table = [
            [f"clients, asr {_short(row['asr'])}", "p50, ms", "p95", "p99", "max",
             "partial lag p95", "finals", "lost", "server cores", "clients' cores", "server MiB"],
        ]  # fmt: skip
        for step in row["steps"]:
            wait = step["wait_ms"] or dict.fromkeys(QUANTILES, float("nan"))
            lag = step["partial_lag_ms"]
            steps.append(
                [
                    f"{step['clients']}{'' if step['carried'] else ' (too many)'}",
                    *map(_ms, wait.values()),
                    _ms(lag["p95"]) if lag else "",
                    str(step["finals"]),
                    str(step["finals_lost"]),
                    f"{step['server_cores']:.2f}",
                    f"{step['clients_cores']:.2f}",
                    f"{step['server_mib']:.0f}",
                ]
            )
        yield table(steps)
    if any("random weights" in row["asr"] for row in result["rows"]):
        yield _RANDOM_WEIGHTS


def _encoders(result: Result) -> Iterator[str]:
    limits = result["limits"]
    yield (
        f"Measured limits: {limits['gflops']:.0f} Gflop/s in a float32 matrix product, "
        f"{limits['gigabytes_per_s']:.1f} GB/s reading and writing, {result['threads']} threads. "
        "Roofline: the larger of arithmetic / rate and weights / bandwidth, as a share of the time "
        "taken; of the float32 rate, also for int8."
    )
    rows: Table = [
        ["model", "parameters", "input", "batch", "ms", "p95", "max", "real-time factor", "Gflop",
         "roofline"],
    ]  # fmt: skip
    for row in result["rows"]:
        for each in row["times"]:
            rows.append(
                [
                    row["model"],
                    f"{row['parameters'] / 1e6:.2f} M" if row["parameters"] else "not said",
                    input_size(each),
                    str(each["batch"]),
                    _ms(each["ms"]),
                    _ms(each["p95_ms"]),
                    _ms(each["max_ms"]),
                    f"{each['real_time_factor']:.4f}" if each["audio_s"] else "",
                    f"{each['gflop']:.3g}" if each["gflop"] else "",
                    f"{each['roofline']:.0%}" if each["roofline"] else "not known",
                ]
            )
    yield table(rows)
    # results of before these were said lack them
    for row in result["rows"]:
        if "execution" in row:
            precision = f", in {row['precision']}" if row["precision"] else ""
            yield f"{row['model']} ran with: {row['execution']}{precision}."
    for each in result.get("steadiness", []):
        yield from _steadiness(each)


def _steadiness(found: Result) -> Iterator[str]:
    rows = found["rows"]
    by_clock = sum(row["slowest"] > LIMIT for row in rows)
    by_cpu = sum(row["slowest_cpu"] > LIMIT for row in rows)
    ways = "; ".join(f"{part}: {how}" for part, how in found["execution"].items())
    yield (
        f"Whole requests to {found['bundle']} after warm-up, the first of each shape included "
        f"({ways}). Slower than {LIMIT:g} times the median of their shape: in {by_clock} of "
        f"{len(rows)} shapes by the clock, in {by_cpu} by the CPU time of the process."
    )
    lines: Table = [
        ["request", "batch", "n", "first, ms", "median", "max", "max / median", "by CPU time"],
    ]
    lines += [
        [
            f"{row['kind']}, {row['audio_s']:g} s",
            str(row["batch"]),
            str(len(row["all_ms"])),
            _ms(row["first_ms"]),
            _ms(row["median_ms"]),
            _ms(row["max_ms"]),
            f"{row['slowest']:.2f}",
            f"{row['slowest_cpu']:.2f}",
        ]
        for row in rows
    ]
    yield table(lines)


def _peers(result: Result) -> Iterator[str]:
    rows: Table = [["system", "model", "end of speech →", "n", *QUANTILES, "times ours"]]
    for row in result["rows"]:
        found = summary(row["ms"])
        if found:
            times = row.get("times_ours")
            said = ""
            if times is not None:
                said = f"{times['value']:.1f} ({times['low']:.1f} to {times['high']:.1f})"
            place = [row["system"], row["model"], row.get("event", "")]
            rows.append([*place, str(len(row["ms"])), *map(_ms, found.values()), said])
    yield table(rows)
    if "threads" in result:
        yield (
            f"ms; all on {result['threads']} CPU threads. Times ours: of the medians, in brackets "
            "the 95 % interval (bootstrap)."
        )
    absent = [f"{row['system']}: {row['why']}" for row in result.get("not_run", [])]
    if absent:
        yield "Not run: " + "; ".join(absent) + "."


_TABLES = {
    "latency": _latency,
    "capacity": _capacity,
    "encoders": _encoders,
    "peers": _peers,
}
