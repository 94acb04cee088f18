"""What `realtime-ser bench` and its verbs do."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from realtime_ser.bench.capacity import CapacityPlan, measure_capacity
from realtime_ser.bench.compare import circumstances, comparison, differences
from realtime_ser.bench.encoders import EncoderPlan, bench_encoders
from realtime_ser.bench.latency import RANDOM, as_row, cases, measure_paced, measure_unaware
from realtime_ser.bench.report import heading, markdown, tables
from realtime_ser.bench.results import new_result, read_results, write_results
from realtime_ser.config import SPECS, Settings
from realtime_ser.errors import ConfigError

REGRESSION = 1
"""Exit code of `compare` when something got slower."""


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """What `bench latency` is to measure.

    Attributes:
        varied: values by setting; all combinations are measured.
        unaware: "no", "only" or "also" the wait that the policy alone makes.
    """

    lengths_s: tuple[float, ...]
    utterances: int
    varied: Mapping[str, tuple[Any, ...]]
    paced: bool = True
    unaware: bool = False


def bench_latency(settings: Settings, plan: LatencyPlan) -> dict[str, Any]:
    """Measure, and give the result."""
    wanted = cases(settings, plan.varied, plan.lengths_s)
    rows = []
    if plan.unaware:
        # models do not matter to it: one row for each length and for what else is varied
        policies = cases(settings, _without_models(plan.varied), plan.lengths_s)
        found = measure_unaware(policies, plan.utterances)
        rows += [as_row(c, o, pace="unaware") for c, o in zip(policies, found, strict=True)]
    if plan.paced:
        with tempfile.TemporaryDirectory(prefix="realtime-ser-bench-") as work:
            seen = measure_paced(wanted, plan.utterances, Path(work))
        rows += [as_row(c, o, pace="paced") for c, o in zip(wanted, seen, strict=True)]
    return new_result("latency", settings, rows=rows)


def bench_capacity(settings: Settings, plan: CapacityPlan, asr: Sequence[str]) -> dict[str, Any]:
    """Measure for each transcription model, and give the result."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="realtime-ser-bench-") as work:
        for name in asr:
            _say(f"capacity with asr {name}:")
            rows.append(measure_capacity(replace(settings, asr=name), plan, Path(work), _say))
    return new_result("capacity", settings, rows=rows)


def bench_everything(settings: Settings, *, quick: bool) -> list[dict[str, Any]]:
    """Latency without transcripts and with them, and unless `quick` capacity and encoders.

    Where `settings` name no transcription model of their own, a random one of Whisper's size tiny
    is taken: it needs no download.
    """
    asr = RANDOM + "tiny" if settings.asr == SPECS["asr"].default else settings.asr
    both = tuple(dict.fromkeys(("off", asr)))
    lengths_s, utterances = ((3.0,), 6) if quick else ((2.0, 4.0, 6.0), 12)
    plan = LatencyPlan(lengths_s, utterances, {"asr": both}, unaware=True)
    _say(f"latency, at the pace of speech, with asr {' and '.join(both)}")
    results = [bench_latency(settings, plan)]
    if not quick:
        results.append(bench_capacity(settings, CapacityPlan(), both))
        _say("encoders")
        results.append(bench_encoders(settings, EncoderPlan((settings.bundle,))))
    return results


def finish(results: list[dict[str, Any]], path: Path | None) -> int:
    """Print them for people, and write them for programs."""
    for result in results:
        print(heading(result), *tables(result), sep="\n\n", end="\n\n")
    if path is not None:
        write_results(path, results)
    return 0


def report(paths: list[Path], out: Path | None) -> int:
    """Print results as Markdown, or write it with its plots into a folder."""
    results = read_results(paths)
    if out is None:
        print(markdown(results), end="")
        return 0
    from realtime_ser.bench.plots import write_plots

    try:
        out.mkdir(parents=True, exist_ok=True)
        pictures = write_plots(results, out)
        sections = [
            f"{markdown([result])}\n![{path.stem}]({path.name})\n"
            for result, path in zip(results, pictures, strict=True)
        ]
        (out / "report.md").write_text("\n".join(sections), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror or error}") from None
    print(out / "report.md")
    return 0


def compare(before: Path, after: Path, tolerance: float) -> int:
    """Print ratios; 1 when something got slower beyond noise.

    Raises:
        ConfigError: they have no row in common, or cannot be read.
    """
    old, new = read_results([before]), read_results([after])
    found = differences(old, new, tolerance)
    if not found:
        raise ConfigError(
            f"nothing to compare: no row of {before} ({_kinds(old)}) has the settings of a row of "
            f"{after} ({_kinds(new)}); measure the same twice, as with `bench latency --json FILE`"
        )
    print(comparison(found), end="\n\n")
    for line in circumstances(old, new):
        print(line)
    worse = [each for each in found if each.worse]
    print(f"{len(worse)} of {len(found)} measures got slower beyond noise and {tolerance:.0%}")
    return REGRESSION if worse else 0


def _kinds(results: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(result["kind"] for result in results))


def _without_models(varied: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    models = ("bundle", "asr", "asr_window_s", "language", "device", "threads", "speculation")
    return {name: values for name, values in varied.items() if name not in models}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
