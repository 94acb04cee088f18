"""How fast a bundle's encoders are, and how near to what the machine could do at best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.bench.results import new_result
from realtime_ser.bench.roofline import Limits, count_gflop, measure_limits, median_ms
from realtime_ser.bench.statistics import summary
from realtime_ser.bench.steadiness import measure_steadiness
from realtime_ser.config import Settings
from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle import Bundle, load_bundle
from realtime_ser.models.bundle_description import Part
from realtime_ser.models.ort import choose_provider, thread_count
from realtime_ser.models.text import TextExpert
from realtime_ser.types import SAMPLE_RATE_HZ

_TOKENS = 16
"""Words of a text: five seconds of talk."""

_MOST_MS = 6000.0
"""What takes longer than this is measured in few runs, not in all."""


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """What to measure."""

    bundles: tuple[str, ...] = ("default",)
    seconds: tuple[float, ...] = (1.0, 3.0, 10.0)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    runs: int = 15


def bench_encoders(settings: Settings, plan: EncoderPlan) -> dict[str, Any]:
    """Measure every audio and text part of each bundle, and whether a whole request is ever much
    slower than usual; gives the result.

    Batches above 1 are of the middle length. On CUDA each size is prepared and then runs as it is
    served: bound, as a captured graph where the part allows it.

    Raises:
        BundleError, InferenceError: a bundle or the device cannot be used.
    """
    provider = choose_provider(settings.device)
    threads = thread_count(settings.threads)
    limits = measure_limits(provider, threads)
    rows = []
    # first, while every shape is new
    steadiness = [
        measure_steadiness(settings, name, provider, threads, plan.seconds, plan.runs)
        for name in plan.bundles
    ]
    for name in plan.bundles:
        bundle = load_bundle(name)
        analyzer = BundleAnalyzer(bundle, provider, threads=threads)
        for audio in analyzer.audio:
            times = list(_audio_times(bundle, audio, plan, limits))
            rows.append(_row(analyzer, audio.part, times))
        for text in analyzer.text:
            times = list(_text_times(bundle, text, plan, limits))
            rows.append(_row(analyzer, text.part, times))
    return new_result(
        "encoders",
        settings,
        threads=threads,
        providers=[provider.name],
        limits=asdict(limits),
        rows=rows,
        steadiness=steadiness,
    )


def _row(analyzer: BundleAnalyzer, part: Part, times: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": f"{analyzer.bundle.description.name}/{part.name}",
        "parameters": part.parameters,
        "precision": part.precision,
        "execution": analyzer.execution[part.name],
        "times": times,
    }


def _audio_times(
    bundle: Bundle, expert: AudioExpert, plan: EncoderPlan, limits: Limits
) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(0)
    middle = sorted(plan.seconds)[len(plan.seconds) // 2]
    sizes = [(seconds, 1) for seconds in plan.seconds]
    sizes += [(middle, batch) for batch in plan.batches if batch > 1]
    names = [spec.name for spec in expert.part.inputs]
    graph = bundle.file(expert.part.file)
    for seconds, batch in sizes:
        samples = min(
            max(round(seconds * SAMPLE_RATE_HZ), expert.part.minimum_samples),
            expert.part.maximum_samples,
        )
        waves = [random.normal(0, 0.1, samples).astype(np.float32) for _ in range(batch)]
        feeds: dict[str, NDArray[Any]] = {
            "waveform": np.stack(waves)[:1],
            "lengths": np.full(1, samples, np.int64),
        }
        gflop = count_gflop(graph, {name: feeds[name] for name in names})
        expert.prepare(waves)
        ms, every = _timed(lambda waves=waves: expert.run(waves), plan.runs)
        yield {
            "audio_s": samples / SAMPLE_RATE_HZ,
            "tokens": None,
            "batch": batch,
            **_figures(ms, every, gflop, batch, graph.stat().st_size, limits),
            "real_time_factor": ms / 1000 / (samples / SAMPLE_RATE_HZ * batch),
        }


def _text_times(
    bundle: Bundle, expert: TextExpert, plan: EncoderPlan, limits: Limits
) -> Iterator[dict[str, Any]]:
    graph = bundle.file(expert.part.file)
    text = "well " * _TOKENS
    for batch in sorted({1, *plan.batches}):
        expert.prepare([text] * batch)
        ms, every = _timed(lambda batch=batch: expert.run([text] * batch), plan.runs)
        ids = np.ones((1, _TOKENS), np.int64)
        gflop = count_gflop(graph, {"input_ids": ids, "attention_mask": ids})
        yield {
            "audio_s": None,
            "tokens": _TOKENS,
            "batch": batch,
            **_figures(ms, every, gflop, batch, graph.stat().st_size, limits),
            "real_time_factor": None,
        }


def _timed(run: Any, runs: int) -> tuple[float, list[float]]:
    first, every = median_ms(run, 1)
    if first * runs > _MOST_MS:
        runs = max(2, math.floor(_MOST_MS / first))
    return median_ms(run, runs) if runs > 1 else (first, every)


def _figures(
    ms: float,
    every: Sequence[float],
    gflop: float | None,
    batch: int,
    weight_bytes: int,
    limits: Limits,
) -> dict[str, Any]:
    found = summary(every)
    assert found is not None  # there was a run
    total = None if gflop is None else gflop * batch
    least = None if total is None else limits.least_ms(total, weight_bytes / 1e9)
    return {
        "ms": ms,
        "p95_ms": found["p95"],
        "max_ms": found["max"],
        "all_ms": [round(each, 3) for each in every],
        "gflop": total,
        "roofline": None if least is None else least / ms,
    }
