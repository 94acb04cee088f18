"""The flags of `realtime-ser bench`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime_ser.config import Settings
from realtime_ser.errors import ConfigError

AddFlags = Callable[[argparse.ArgumentParser], None]
ReadSettings = Callable[[argparse.Namespace], Settings]

_EPILOG = """\
without a verb: latency, capacity and encoders one after the other; --quick: latency alone, little
of it, in under two minutes

  realtime-ser bench --quick
  realtime-ser bench latency --asr random-tiny --vary speculation=true,false --lengths 2,4,6
  realtime-ser bench capacity --asr off --json here.json
  realtime-ser bench compare before.json here.json || echo slower

--asr random-tiny, random-base, random-small: random weights of Whisper's real sizes, which cost
what real ones do and need no download
"""


def add_bench(subparsers: Any, add_settings: AddFlags, settings_of: ReadSettings) -> None:
    """Add the command.

    Args:
        add_settings: adds the flags of all settings to a parser.
        settings_of: reads them back.
    """
    parser = subparsers.add_parser(
        "bench",
        help="measure latency and capacity on this machine",
        description="Measure latency and capacity on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # the flags of a verb are looked up here first, and must not be taken for short ones of ours
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="little, in under two minutes")
    _add_json(parser)
    add_settings(parser)
    parser.set_defaults(run=lambda options: _everything(options, settings_of))
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    _add_latency(verbs, add_settings, settings_of)
    _add_capacity(verbs, add_settings, settings_of)
    _add_encoders(verbs, add_settings, settings_of)
    _add_reading(verbs)


def _add(verbs: Any, name: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=description, description=description
    )
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")


def _add_latency(verbs: Any, add_settings: AddFlags, settings_of: ReadSettings) -> None:
    parser = _add(verbs, "latency", "how long after the end of speech the final comes")
    parser.add_argument(
        "--lengths", default="2,4,6", metavar="S,S", help="lengths of utterances, s (2,4,6)"
    )
    parser.add_argument("--utterances", type=int, default=20, metavar="N", help="each row (20)")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="SETTING=A,B",
        help="a row for each value; again for another setting",
    )
    parser.add_argument(
        "--compute-unaware",
        choices=("also", "only", "no"),
        nargs="?",
        const="only",
        default="also",
        help="the wait that the policy alone makes, with models that cost nothing (also)",
    )
    _add_json(parser)
    add_settings(parser)

    def run(options: argparse.Namespace) -> int:
        from realtime_ser.bench.latency import parse_varied
        from realtime_ser.bench.run import LatencyPlan, bench_latency, finish

        plan = LatencyPlan(
            _numbers(options.lengths, "--lengths"),
            options.utterances,
            parse_varied(options.vary),
            paced=options.compute_unaware != "only",
            unaware=options.compute_unaware != "no",
        )
        return finish([bench_latency(settings_of(options), plan)], options.json)

    parser.set_defaults(run=run)


def _add_capacity(verbs: Any, add_settings: AddFlags, settings_of: ReadSettings) -> None:
    parser = _add(verbs, "capacity", "how many clients a server carries here")
    numbers = {
        "--utterance-s": (3.0, "length of an utterance"),
        "--duty": (0.5, "share of the time in which a client talks"),
        "--seconds": (30.0, "how long each number of clients is held"),
        "--limit-ms": (500.0, "the p95 from endpoint to final that is still carried"),
    }
    for flag, (default, what) in numbers.items():
        parser.add_argument(
            flag, type=float, default=default, metavar="N", help=f"{what} ({default:g})"
        )
    parser.add_argument("--start", type=int, default=4, metavar="N", help="first clients (4)")
    parser.add_argument("--most", type=int, default=1024, metavar="N", help="last clients (1024)")
    _add_json(parser)
    add_settings(parser)

    def run(options: argparse.Namespace) -> int:
        from realtime_ser.bench.capacity import CapacityPlan
        from realtime_ser.bench.run import bench_capacity, finish

        if not 0 < options.duty <= 1:
            raise ConfigError(f"--duty must lie above 0 and up to 1, not {options.duty:g}")
        if not 1 <= options.start <= options.most or options.seconds < 1:
            raise ConfigError("--start must be 1 to --most, and --seconds 1 or more")
        plan = CapacityPlan(
            options.utterance_s,
            options.duty,
            options.seconds,
            options.start,
            options.most,
            options.limit_ms,
        )
        settings = settings_of(options)
        return finish([bench_capacity(settings, plan, [settings.asr])], options.json)

    parser.set_defaults(run=run)


def _add_encoders(verbs: Any, add_settings: AddFlags, settings_of: ReadSettings) -> None:
    parser = _add(verbs, "encoders", "how fast bundles' encoders are, against what is possible")
    parser.add_argument(
        "bundles", nargs="*", metavar="BUNDLE", help="names or folders (the one of --bundle)"
    )
    parser.add_argument(
        "--batches", default="1,2,4,8,16,32,64", metavar="N,N", help="(1,2,4,8,16,32,64)"
    )
    parser.add_argument("--lengths", default="1,3,10", metavar="S,S", help="of audio, s (1,3,10)")
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="of each (15)")
    _add_json(parser)
    add_settings(parser)

    def run(options: argparse.Namespace) -> int:
        from realtime_ser.bench.encoders import EncoderPlan, bench_encoders
        from realtime_ser.bench.run import finish

        settings = settings_of(options)
        plan = EncoderPlan(
            tuple(options.bundles) or (settings.bundle,),
            _numbers(options.lengths, "--lengths"),
            tuple(round(number) for number in _numbers(options.batches, "--batches")),
            options.runs,
        )
        return finish([bench_encoders(settings, plan)], options.json)

    parser.set_defaults(run=run)


def _add_reading(verbs: Any) -> None:
    report = _add(verbs, "report", "results as Markdown tables, and as plots")
    report.add_argument("paths", nargs="+", type=Path, metavar="JSON", help="files, or folders")
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md and plots (matplotlib) there"
    )
    compare = _add(verbs, "compare", "ratios of two results; exit code 1 when something got slower")
    compare.add_argument("before", type=Path, help="a JSON file, or a folder of them")
    compare.add_argument("after", type=Path, help="likewise")
    compare.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="how much slower is no regression, beyond noise (0.1)",
    )

    def run_report(options: argparse.Namespace) -> int:
        from realtime_ser.bench import run

        return run.report(options.paths, options.out)

    def run_compare(options: argparse.Namespace) -> int:
        from realtime_ser.bench import run

        return run.compare(options.before, options.after, options.tolerance)

    report.set_defaults(run=run_report)
    compare.set_defaults(run=run_compare)


def _everything(options: argparse.Namespace, settings_of: ReadSettings) -> int:
    from realtime_ser.bench import run

    settings = settings_of(options)
    return run.finish(run.bench_everything(settings, quick=options.quick), options.json)


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) <= 0:
        raise ConfigError(f"{flag} takes numbers above 0 such as 1,3,10, not {text!r}")
    return numbers
