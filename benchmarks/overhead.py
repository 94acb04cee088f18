"""What a live stream costs besides its models, and whether memory stays flat.

    python -m benchmarks.overhead --json benchmarks/results/overhead.json

CPU time is the process's own (other programs do not count), so it holds on a busy machine. The
analyzer answers at once with a fixed estimate: what remains is framing, resampling, speech
detection (Silero included), the session, the rolling state, and JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from realtime_ser.bench.latency import InstantAnalyzer
from realtime_ser.bench.machine import describe_machine
from realtime_ser.config import Settings
from realtime_ser.core.events import EmotionFinal
from realtime_ser.core.wire import event_to_json
from realtime_ser.io.file import AudioFile
from realtime_ser.models.speech import create_speech_detector
from realtime_ser.runtime.offline import AudioClock, run_offline
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Stream, StreamDescription
from realtime_ser.samples import sample_path
from realtime_ser.types import SAMPLE_RATE_HZ

BLOCK_S = 0.02


def blocks(rate_hz: int, seconds: float) -> Iterator[AudioBlock]:
    """The demo recording at `rate_hz`, over and over, in blocks of 20 ms."""
    demo = np.concatenate([block.samples for block in AudioFile(sample_path("demo"))])[:, 0]
    if rate_hz != SAMPLE_RATE_HZ:
        resampled = soxr.resample(demo.astype(np.float32), SAMPLE_RATE_HZ, rate_hz)
        demo = np.clip(resampled, -32768, 32767).astype(np.int16)
    size = round(BLOCK_S * rate_hz)
    position = 0
    for _ in range(round(seconds / BLOCK_S)):
        position = position if position + size <= len(demo) else 0
        yield AudioBlock(demo[position : position + size], rate_hz)
        position += size


def run_stream(settings: Settings, rate_hz: int, seconds: float) -> tuple[int, float]:
    """Drive one stream; returns how many finals came and the peak memory afterwards in MiB."""
    description = StreamDescription(bundle={}, providers=(), asr="off")
    stream = Stream("overhead", settings, create_speech_detector, description, AudioClock())
    finals = 0
    for event in run_offline(blocks(rate_hz, seconds), stream, InstantAnalyzer()):
        event_to_json(event)
        finals += isinstance(event, EmotionFinal)
    return finals, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def share_of_a_core(settings: Settings, rate_hz: int, seconds: float) -> dict[str, Any]:
    """CPU time per second of audio, in percent; the best of three, as noise only adds."""
    run_stream(settings, rate_hz, 5)
    costs = []
    for _ in range(3):
        started = time.process_time()
        finals, _ = run_stream(settings, rate_hz, seconds)
        costs.append((time.process_time() - started) / seconds * 100)
    return {"percent_of_a_core": round(min(costs), 3), "finals": finals, "audio_s": seconds}


def memory_over_an_hour(settings: Settings) -> list[dict[str, float]]:
    """Peak memory after each sixth of an hour of audio, fed as fast as possible in one stream."""
    readings = []
    description = StreamDescription(bundle={}, providers=(), asr="off")
    stream = Stream("memory", settings, create_speech_detector, description, AudioClock())
    next_s = 0.0
    for event in run_offline(blocks(SAMPLE_RATE_HZ, 3600), stream, InstantAnalyzer()):
        event_to_json(event)
        if event.audio_end / SAMPLE_RATE_HZ >= next_s:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            readings.append({"audio_s": round(next_s), "peak_mib": round(peak, 1)})
            next_s += 600
    return readings


def start_up_s(bundle: str) -> float:
    """From the start of the process to the first event of a file without transcripts; best of 3."""
    command = [sys.executable, "-m", "realtime_ser", "file", str(sample_path("short"))]
    command += ["--json", "--asr", "off", "--bundle", bundle]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            times.append(time.perf_counter() - started)
            process.stdout.read()
    return round(min(times), 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=300.0, help="audio per cost measurement")
    parser.add_argument("--bundle", default="default")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_machine(), "cost": {}}
    print("| stream | % of one core |\n|---|---|")
    for name, settings, rate_hz in (
        ("webrtcvad alone, 16 kHz", Settings(speech_detector="webrtc"), 16000),
        ("both detectors, 16 kHz (default)", Settings(), 16000),
        ("both detectors, resampled from 48 kHz", Settings(), 48000),
    ):
        cost = share_of_a_core(settings, rate_hz, arguments.seconds)
        result["cost"][name] = cost
        print(f"| {name} | {cost['percent_of_a_core']:.2f} |", flush=True)
    result["memory"] = memory_over_an_hour(Settings())
    print("\n| audio heard, s | peak memory, MiB |\n|---|---|")
    for reading in result["memory"]:
        print(f"| {reading['audio_s']:.0f} | {reading['peak_mib']:.1f} |")
    result["start_up_s"] = start_up_s(arguments.bundle)
    print(f"\nstart to first event, no transcripts: {result['start_up_s']:.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
