"""How fast graphs run beside each other, on a machine that may be doing other things.

Candidates take turns, run by run, so that whatever else the machine does slows all of them. On a
CPU what is compared is the time that the process itself computed: waiting for a core that another
program holds is no property of a graph.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from realtime_ser.models.bundle_description import TextPart
from realtime_ser.types import SAMPLE_RATE_HZ

from .parity_cases import speech
from .served import ServedEncoder

_AUDIO_S = (1.0, 3.0)
_WORDS = 12


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over the runs of one candidate, in ms: on the clock, and of computing on the CPU."""

    wall_ms: float
    cpu_ms: float


def alternate(candidates: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, Timing]:
    """Time candidates in turns; one run of each is not counted."""
    for run in candidates.values():
        run()
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(runs):
        for name, run in candidates.items():
            started, computed = time.perf_counter(), time.process_time()
            run()
            cpu[name].append((time.process_time() - computed) * 1000)
            wall[name].append((time.perf_counter() - started) * 1000)
    return {name: Timing(median(wall[name]), median(cpu[name])) for name in candidates}


def speed_rows(
    before: ServedEncoder, after: ServedEncoder, *, threads: int, device: str = "cpu", runs: int = 5
) -> tuple[dict[str, Any], ...]:
    """Rows for `EncoderRecord.speed`: the time of a graph against that in float32."""
    rows: list[dict[str, Any]] = []
    for name, each in _inputs(before):
        times = alternate(
            {
                "before": lambda each=each: before.expert.run([each]),
                "after": lambda each=each: after.expert.run([each]),
            },
            runs,
        )
        old, new = times["before"], times["after"]
        ratio = old.cpu_ms / new.cpu_ms if device == "cpu" else old.wall_ms / new.wall_ms
        rows.append(
            {
                "device": device,
                "threads": threads,
                "input": name,
                "float32_ms": round(old.wall_ms, 2),
                "ms": round(new.wall_ms, 2),
                "times_as_fast": round(ratio, 2),
                "load_average": round(os.getloadavg()[0], 2),
            }
        )
    return tuple(rows)


def _inputs(served: ServedEncoder) -> list[tuple[str, Any]]:
    part = served.part
    if isinstance(part, TextPart):
        return [(f"{_WORDS} words", "well " * _WORDS)]
    found = []
    for seconds in _AUDIO_S:
        samples = min(
            max(round(seconds * SAMPLE_RATE_HZ), part.minimum_samples), part.maximum_samples
        )
        found.append((f"{samples / SAMPLE_RATE_HZ:g} s", speech(samples, 0)))
    return found
