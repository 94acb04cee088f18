"""Many live sessions at once: does every one keep its connection and get every final in time?

    python -m benchmarks.sessions --sessions 32 --minutes 2 --asr off

Starts the server in a process of its own, so that clients and server meet over real sockets, and
streams the demo recording at the pace of a microphone, over and over, each client at a place of its
own. Both processes share the machine: what the clients cost is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from benchmarks.machine import describe_machine
from realtime_ser.io.file import AudioFile
from realtime_ser.samples import sample_path

_CHUNK_S = 0.04
_RATE_HZ = 16_000


@dataclass
class Tally:
    """What one client met."""

    started: set[int] = field(default_factory=set)
    finals: list[int] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    """From the endpoint decision to the final, by the server's ledger."""
    failed: int = 0
    warnings: list[str] = field(default_factory=list)
    closed: dict[str, Any] | None = None
    close_code: int | None = None


async def run_client(address: str, audio: bytes, offset: int, seconds: float) -> Tally:
    """Stream at the pace of a microphone, and read."""
    tally = Tally()
    async with connect(address) as websocket:

        async def send() -> None:
            size = round(_CHUNK_S * _RATE_HZ) * 2
            started_s = time.monotonic()
            for number in range(round(seconds / _CHUNK_S)):
                await asyncio.sleep(max(0.0, started_s + number * _CHUNK_S - time.monotonic()))
                place = (offset + number * size) % (len(audio) - size)
                await websocket.send(audio[place : place + size])
            await websocket.send('{"type": "session.close"}')

        sending = asyncio.create_task(send())
        async for text in websocket:
            _count(tally, json.loads(text))
        await sending
        tally.close_code = websocket.close_code
    return tally


def _count(tally: Tally, event: dict[str, Any]) -> None:
    match event["type"]:
        case "utterance.start":
            tally.started.add(event["utterance_id"])
        case "emotion.final":
            tally.finals.append(event["utterance_id"])
            tally.failed += event["emotion"] is None
            timings = event["timings"]
            tally.late_ms.append(timings["end_of_speech_to_emit"] - timings["critical"]["hangover"])
        case "warning":
            tally.warnings.append(event["code"])
        case "session.closed":
            tally.closed = event


async def run_clients(address: str, sessions: int, seconds: float) -> list[Tally]:
    """All clients at once, each at its own place in the recording."""
    samples = np.concatenate([block.samples for block in AudioFile(sample_path("demo"))])[:, 0]
    audio = samples.astype("<i2").tobytes()
    step = len(audio) // sessions // 2 * 2
    clients = [run_client(address, audio, n * step, seconds) for n in range(sessions)]
    return await asyncio.gather(*clients)


def metric(metrics: str, pattern: str) -> float:
    """The sum of the samples whose name matches."""
    values = re.findall(rf"^realtime_ser_{pattern} (\S+)$", metrics, re.MULTILINE)
    return sum(map(float, values))


def loop_delay_below(metrics: str, share: float) -> str:
    """The bucket of the event loop's delay below which `share` of the measurements lie."""
    name = "event_loop_delay_seconds"
    total = metric(metrics, f"{name}_count")
    for bound, count in re.findall(
        rf'^realtime_ser_{name}_bucket{{le="(\S+)"}} (\S+)$', metrics, re.MULTILINE
    ):
        if float(count) >= share * total:
            return f"{bound} s"
    return "?"


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - procfs
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """Peak memory of a process so far."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123 - procfs
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", status.read())
    return int(kilobytes) / 1024


def main() -> int:
    """Run, print JSON, and fail if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--asr", default="off")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    command = [sys.executable, "-m", "realtime_ser", "serve", "--port", "0"]
    command += ["--asr", options.asr, "--max-sessions", str(options.sessions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.findall(r"ws://\S+(?=,)", line)[0]
        page = re.findall(r"http://\S+(?=;)", line)[0]
        before_s, started_s = cpu_seconds(server.pid), time.monotonic()
        tallies = asyncio.run(run_clients(address, options.sessions, options.minutes * 60))
        wall_s = time.monotonic() - started_s
        with urllib.request.urlopen(page + "metrics") as response:
            metrics = response.read().decode()
        cores = (cpu_seconds(server.pid) - before_s) / wall_s
        peak = peak_mib(server.pid)
        server.terminate()
    late_ms = sorted(late for tally in tallies for late in tally.late_ms)
    lost = sum(len(tally.started) - len(tally.finals) for tally in tallies)
    dropped = sum(tally.close_code != 1000 or tally.closed is None for tally in tallies)
    report = {
        "machine": describe_machine(),
        "load_average_before": round(load_before, 2),
        "sessions": options.sessions,
        "minutes": options.minutes,
        "asr": options.asr,
        "finals": len(late_ms),
        "finals_lost": lost,
        "finals_failed": sum(tally.failed for tally in tallies),
        "connections_lost": dropped,
        "warnings": sorted(code for tally in tallies for code in tally.warnings),
        "final_after_endpoint_ms": {
            name: round(float(np.quantile(late_ms, share)), 1) if late_ms else None
            for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
        },
        "event_loop_delay": {
            "p50_below": loop_delay_below(metrics, 0.5),
            "p99_below": loop_delay_below(metrics, 0.99),
        },
        "partials_told": metric(metrics, r'events_total{type="emotion.partial"}'),
        "server_cores_used": round(cores, 2),
        "server_peak_mib": round(peak, 1),
    }
    print(json.dumps(report, indent=2))
    return 1 if lost or dropped else 0


if __name__ == "__main__":
    raise SystemExit(main())
