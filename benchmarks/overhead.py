"""What a live stream costs besides its models, and whether memory stays flat.

    python -m benchmarks.overhead --json benchmarks/results/overhead.json

CPU time is the process's own (other programs do not count), so it holds on a busy machine. The
analyzer answers at once with a fixed estimate: what remains is framing, resampling, speech
detection (Silero included), the session, the rolling state, and JSON. One to two minutes;
`python -m benchmarks.readme` puts the figures into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import soxr

from realtime_ser.bench.latency import InstantAnalyzer
from realtime_ser.bench.machine import describe_machine, peak_mib
from realtime_ser.config import Settings
from realtime_ser.core.events import EmotionFinal, Event
from realtime_ser.core.wire import event_to_json
from realtime_ser.io.file import AudioFile
from realtime_ser.models.speech import create_speech_detector
from realtime_ser.runtime.offline import AudioClock, run_offline
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.runtime.stream import Stream, StreamDescription
from realtime_ser.samples import sample_path
from realtime_ser.types import SAMPLE_RATE_HZ

BLOCK_S = 0.02
_LAST_EVENTS_S = 20.0
"""Longer than the recording is silent: an event tells that all before it was heard."""
COSTS = (
    ("webrtcvad alone, 16 kHz", Settings(speech_detector="webrtc"), 16000),
    ("both detectors, 16 kHz (default)", Settings(), 16000),
    ("both detectors, resampled from 48 kHz", Settings(), 48000),
)


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


def run_stream(settings: Settings, rate_hz: int, seconds: float) -> int:
    """Drive one stream; returns how many finals came."""
    return sum(isinstance(event, EmotionFinal) for event in _events(settings, rate_hz, seconds))


def _events(settings: Settings, rate_hz: int, seconds: float) -> Iterator[Event]:
    description = StreamDescription(bundle={}, providers=(), asr="off")
    stream = Stream("overhead", settings, create_speech_detector, description, AudioClock())
    for event in run_offline(blocks(rate_hz, seconds), stream, InstantAnalyzer()):
        event_to_json(event)
        yield event


def share_of_a_core(settings: Settings, rate_hz: int, seconds: float) -> dict[str, Any]:
    """CPU time per second of audio, in percent; the best of three, as noise only adds."""
    run_stream(settings, rate_hz, 5)
    costs = []
    for _ in range(3):
        started = time.process_time()
        finals = run_stream(settings, rate_hz, seconds)
        costs.append((time.process_time() - started) / seconds * 100)
    return {"percent_of_a_core": round(min(costs), 3), "finals": finals, "audio_s": seconds}


def memory_over_time(settings: Settings, seconds: float) -> list[dict[str, float]]:
    """Peak memory at the first event and after each sixth of the audio, in one stream that is fed
    as fast as possible."""
    readings = []
    next_s = 0.0
    for event in _events(settings, SAMPLE_RATE_HZ, seconds + _LAST_EVENTS_S):
        if event.audio_end / SAMPLE_RATE_HZ >= next_s and next_s <= seconds:
            held = round(peak_mib(os.getpid()), 1)
            readings.append({"audio_s": round(next_s), "peak_mib": held})
            next_s += seconds / 6
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


def tables(result: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| one live stream | % of one core |", "|---|---|"]
    lines += [f"| {name} | {c['percent_of_a_core']:.2f} |" for name, c in result["cost"].items()]
    # at the very first event the detectors are not loaded yet
    _, first, *_, last = result["memory"]
    machine = result["machine"]
    told = (
        f"Peak memory of a process fed {last['audio_s'] / 60:.0f} minutes of audio as fast as it "
        f"goes: {first['peak_mib']:.0f} MiB after {first['audio_s'] / 60:.0f} and "
        f"{last['peak_mib']:.0f} MiB after the last. From start to the first event of a file, "
        f"without transcripts: {result['start_up_s']:.1f} s. "
        f"{machine['processor']}, {machine['cores']} cores, load average "
        f"{machine['load_average']}, {machine['measured_at'][:10]}, revision {machine['revision']}."
    )
    return "\n".join([*lines, "", *wrap(told, 100)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--seconds", type=float, default=120.0, metavar="S", help="for each cost, three times (120)"
    )
    parser.add_argument(
        "--memory-s", type=float, default=3600.0, metavar="S", help="for the memory (3600)"
    )
    parser.add_argument("--bundle", default="default")
    arguments = parser.parse_args()
    # the hour first: what the other streams hold is not its memory
    memory = memory_over_time(Settings(), arguments.memory_s)
    cost = {name: share_of_a_core(*of, arguments.seconds) for name, *of in COSTS}
    result = {
        "machine": describe_machine(),
        "cost": cost,
        "memory": memory,
        "start_up_s": start_up_s(arguments.bundle),
    }
    print(tables(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
