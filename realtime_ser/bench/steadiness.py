"""Whether a request after warm-up is ever much slower than usual, whatever its shape.

An analyzer is warmed up as a server's is and then asked for whole jobs: finals with a text, so that
audio encoder, text encoder and fusion run, and batches of partials. Their lengths are not those of
the warm-up. The shapes take turns, so that what else the machine does slows all of them, and the
first run of each counts: that is where a shape that was never seen would cost. Beside the clock
stands the CPU time of the process, to which other programs hardly add.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from realtime_ser.config import Settings
from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.ort import Provider
from realtime_ser.types import (
    SAMPLE_RATE_HZ,
    AnalysisJob,
    JobKind,
    Samples,
    Transcript,
    Utterance,
)

LIMIT = 2.0
"""How many times its median the slowest run of a shape may take."""

_OFF_THE_GRID = 0.83
"""Of each length asked for, so much of it is measured, too: 2.49 s for 3 s."""

_PARTIALS = (3, 8)
"""Sizes of batches; finals with text run alone."""

_MOST_S = 30.0
"""Of all runs together; with large models there are fewer runs, but three of each."""


class _Words:
    """Hears the same words in everything, at no cost."""

    def transcribe(self, samples: Samples) -> Transcript:
        return Transcript("well " * 16, "en", -0.1, 0.0)

    def warm_up(self) -> None:
        pass


@dataclass(slots=True)
class _Shape:
    jobs: list[AnalysisJob]
    wall_ms: list[float]
    cpu_ms: list[float]


def measure_steadiness(
    settings: Settings,
    bundle: str,
    provider: Provider,
    threads: int,
    seconds: Sequence[float],
    runs: int,
) -> dict[str, Any]:
    """Measure one bundle; a row a shape, and how the parts ran.

    Raises:
        BundleError, InferenceError: the bundle or the device cannot be used.
    """
    loaded = load_bundle(bundle)
    analyzer = BundleAnalyzer(loaded, provider, threads=threads, transcriber=_Words())
    analyzer.warm_up(settings.max_utterance_s)
    shapes = [_Shape(jobs, [], []) for jobs in _requests(seconds)]
    started_s = time.perf_counter()
    for turn in range(runs):
        for shape in shapes:
            _measure(analyzer, shape)
        if turn >= 2 and (time.perf_counter() - started_s) * (turn + 2) / (turn + 1) > _MOST_S:
            break
    return {
        "bundle": loaded.description.name,
        "execution": analyzer.execution,
        "rows": [_row(shape) for shape in shapes],
    }


def _requests(seconds: Sequence[float]) -> Iterator[list[AnalysisJob]]:
    lengths = sorted({round(s * share, 3) for s in seconds for share in (_OFF_THE_GRID, 1.0)})
    for length in lengths:
        yield [_job(length, JobKind.FINAL)]
    middle = sorted(seconds)[len(seconds) // 2] * _OFF_THE_GRID
    for batch in _PARTIALS:
        yield [_job(middle, JobKind.PARTIAL)] * batch


def _job(seconds: float, kind: JobKind) -> AnalysisJob:
    count = max(1, round(seconds * SAMPLE_RATE_HZ))
    samples = np.random.default_rng(0).integers(-3000, 3000, count).astype(np.int16)
    return AnalysisJob(0, Utterance(0, 0, count, samples, count), 0, kind)


def _measure(analyzer: BundleAnalyzer, shape: _Shape) -> None:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    analyzer.analyze(shape.jobs)
    shape.cpu_ms.append((time.process_time() - cpu_s) * 1000)
    shape.wall_ms.append((time.perf_counter() - wall_s) * 1000)


def _row(shape: _Shape) -> dict[str, Any]:
    job = shape.jobs[0]
    return {
        "audio_s": len(job.utterance.samples) / SAMPLE_RATE_HZ,
        "batch": len(shape.jobs),
        "kind": str(job.kind),
        "first_ms": shape.wall_ms[0],
        "median_ms": median(shape.wall_ms),
        "max_ms": max(shape.wall_ms),
        "slowest": max(shape.wall_ms) / median(shape.wall_ms),
        "slowest_cpu": max(shape.cpu_ms) / median(shape.cpu_ms),
        "all_ms": [round(each, 3) for each in shape.wall_ms],
    }
