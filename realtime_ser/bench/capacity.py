"""How many clients one server carries: more and more of them until answers come late.

The server is a process of its own and the clients send at the pace of a microphone over real
sockets, so that what is measured is what an operator gets. The wait is the client's: from when it
sent the audio in which the end was decided to when the final came. Clients and server share the
machine; what the clients cost stands beside the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from realtime_ser.bench.latency import RANDOM, resolve_asr
from realtime_ser.bench.machine import cores, cpu_seconds, gpu_mib, peak_mib, resident_mib
from realtime_ser.bench.material import Material, conversation
from realtime_ser.bench.statistics import summary
from realtime_ser.config import SPECS, Settings
from realtime_ser.errors import InferenceError
from realtime_ser.types import SAMPLE_RATE_HZ

_CHUNK_S = 0.04
_RAMP_S = 2.0
"""Clients come one after the other within this time, as they do in life."""
_SETTLE_S = 3.0
"""Finals of the first seconds are not counted: everybody comes at once only in a benchmark."""
_WATCH_S = 0.5
_TURNS = 20
"""Utterances in the recording that all clients play, each from a place of its own."""
_REFINEMENTS = 2
"""Steps between the last number that was carried and the first that was not."""


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """What to try.

    Attributes:
        utterance_s: length of an utterance, about.
        duty: share of the time in which a client talks, 0..1.
        seconds: how long each number of clients is held.
        start, most: the first number of clients, and the largest one tried.
        limit_ms: the 95th percentile of the wait that is still carried.
    """

    utterance_s: float = 3.0
    duty: float = 0.5
    seconds: float = 30.0
    start: int = 4
    most: int = 1024
    limit_ms: float = 500.0

    @property
    def silence_s(self) -> float:
        """Between two utterances."""
        return self.utterance_s * (1 / self.duty - 1)


@dataclass(slots=True)
class Tally:
    """What one client met."""

    started: int = 0
    finals: int = 0
    waits_ms: list[float] = field(default_factory=list)
    ledger_ms: list[float] = field(default_factory=list)
    partial_lag_ms: list[float] = field(default_factory=list)
    failed: int = 0
    late_sends_ms: float = 0.0
    error: str | None = None


def measure_capacity(
    settings: Settings,
    plan: CapacityPlan,
    work: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Double the clients until the limit is left, then look between the last two numbers.

    Args:
        work: a folder for random models.
        progress: told of each step in one line.

    Raises:
        InferenceError: the server does not start.
    """
    resolved = replace(settings, asr=resolve_asr(settings.asr, plan.utterance_s, work))
    material = conversation(plan.utterance_s, plan.silence_s, _TURNS, lead_in_s=0.0)
    steps: list[dict[str, Any]] = []
    with serving(resolved, plan.most) as (server, address):
        idle_mib, gpu_before = resident_mib(server.pid), gpu_mib()

        def hold(clients: int) -> bool:
            step = _hold(server.pid, address, material, plan, clients)
            steps.append(step)
            progress(_line(step))
            return bool(step["carried"])

        knee = find_knee(hold, plan.start, plan.most)
        gpu_after = gpu_mib()
    asr = settings.asr
    if asr.startswith(RANDOM):
        asr += " (random weights, 3.3 tokens a second of speech)"
    at_knee = next((step for step in steps if step["clients"] == knee), None)
    return {
        "config": asdict(plan),
        "asr": asr,
        "clients": knee,
        "reached_most": knee >= plan.most,
        "clients_per_core": round(knee / at_knee["server_cores"], 1) if at_knee else None,
        "clients_per_core_of_machine": round(knee / cores(), 1),
        "mib_per_client": _mib_per_client(steps),
        "server_mib_idle": round(idle_mib, 1),
        "gpu_mib": None if gpu_after is None or gpu_before is None else gpu_after,
        "steps": sorted(steps, key=lambda step: int(step["clients"])),
    }


def find_knee(carried: Callable[[int], bool], start: int, most: int) -> int:
    """The largest number found for which `carried` holds: by doubling, then by halving the gap.

    0 when not even `start` is carried.
    """
    good, bad = 0, start
    while bad <= most and carried(bad):
        good, bad = bad, bad * 2
        if good < most < bad:
            bad = most
        elif good == most:
            return good
    for _ in range(_REFINEMENTS):
        middle = (good + bad) // 2
        if not good or middle in (good, bad):
            break
        if carried(middle):
            good = middle
        else:
            bad = middle
    return good


@contextlib.contextmanager
def serving(settings: Settings, sessions: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process; gives it and its address.

    Raises:
        InferenceError: it does not start; it has said why on standard error.
    """
    command = [sys.executable, "-m", "realtime_ser", "serve", "--port", "0"]
    command += ["--max-sessions", str(max(sessions, 1)), *as_flags(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"(ws://\S+),", server.stdout.readline())
        if found is None:
            server.wait()
            raise InferenceError(
                "the server does not start; run: " + " ".join(["realtime-ser", *command[3:]])
            )
        try:
            yield server, found[1]
        finally:
            server.terminate()


def as_flags(settings: Settings) -> list[str]:
    """The flags that make `settings` out of the defaults."""
    flags = []
    for name, spec in SPECS.items():
        value = getattr(settings, name)
        if value == spec.default:
            continue
        if spec.type is bool:
            flags.append(spec.flag if value else spec.flag.replace("--", "--no-", 1))
        else:
            flags += [spec.flag, str(value)]
    return flags


def _hold(
    pid: int, address: str, material: Material, plan: CapacityPlan, clients: int
) -> dict[str, Any]:
    """Hold a number of clients for a while."""
    server_s, own_s, wall_s = cpu_seconds(pid), time.process_time(), time.monotonic()
    tallies, held_mib = asyncio.run(_watched(pid, address, material, clients, plan.seconds))
    passed_s = time.monotonic() - wall_s
    waits = [wait for tally in tallies for wait in tally.waits_ms]
    lost = sum(tally.started - tally.finals for tally in tallies)
    errors = sorted({tally.error for tally in tallies if tally.error})
    wait = summary(waits)
    step = {
        "clients": clients,
        "wait_ms": wait,
        "waits_ms": [round(value, 2) for value in waits],
        "ledger_ms": summary([value for tally in tallies for value in tally.ledger_ms]),
        "partial_lag_ms": summary([value for tally in tallies for value in tally.partial_lag_ms]),
        "finals": len(waits),
        "finals_lost": lost,
        "finals_failed": sum(tally.failed for tally in tallies),
        "errors": errors,
        "server_cores": round((cpu_seconds(pid) - server_s) / passed_s, 3),
        "clients_cores": round((time.process_time() - own_s) / passed_s, 3),
        "latest_send_ms": round(max(tally.late_sends_ms for tally in tallies), 1),
        "server_mib": round(held_mib, 1),
        "server_peak_mib": round(peak_mib(pid), 1),
        "load_average": round(os.getloadavg()[0], 2),
    }
    carried = wait is not None and wait["p95"] < plan.limit_ms and not lost and not errors
    return step | {"carried": carried}


def _mib_per_client(steps: list[dict[str, Any]]) -> float | None:
    """The slope from the fewest clients to the most: what the first one warmed up is not theirs."""
    few = min(steps, key=lambda step: int(step["clients"]))
    many = max(steps, key=lambda step: int(step["clients"]))
    if few["clients"] == many["clients"]:
        return None
    slope: float = (many["server_mib"] - few["server_mib"]) / (many["clients"] - few["clients"])
    return round(slope, 3)


async def _watched(
    pid: int, address: str, material: Material, clients: int, seconds: float
) -> tuple[list[Tally], float]:
    """What the clients met, and the memory that the server held while they were there."""
    running = asyncio.ensure_future(run_clients(address, material, clients, seconds))
    held_mib = 0.0
    while not running.done():
        await asyncio.wait({running}, timeout=_WATCH_S)
        held_mib = max(held_mib, resident_mib(pid))
    return running.result(), held_mib


def _line(step: dict[str, Any]) -> str:
    wait = step["wait_ms"]
    said = f"p50 {wait['p50']:.0f}, p95 {wait['p95']:.0f} ms" if wait else "no finals"
    return (
        f"{step['clients']:5} clients: {said}; {step['server_cores']:.2f} cores, "
        f"{step['server_mib']:.0f} MiB{'' if step['carried'] else '; too many'}"
    )


async def run_clients(
    address: str, material: Material, clients: int, seconds: float
) -> list[Tally]:
    """All clients at once, each at its own place in the recording."""
    audio = material.samples.astype("<i2").tobytes()
    # places spread by the golden ratio: no two clients speak in step, however many there are
    places = [(n * 0.618034) % 1 for n in range(clients)]
    started_s = time.monotonic()
    tasks = [
        _run_client(address, audio, place, started_s + _RAMP_S * n / clients, seconds)
        for n, place in enumerate(places)
    ]
    return await asyncio.gather(*tasks)


async def _run_client(
    address: str, audio: bytes, place: float, start_s: float, seconds: float
) -> Tally:
    tally = Tally()
    await asyncio.sleep(max(0.0, start_s - time.monotonic()))
    try:
        async with connect(
            address, compression=None, open_timeout=60, ping_interval=None, close_timeout=20
        ) as websocket:
            begun_s = time.monotonic()
            sending = asyncio.create_task(_send(websocket, audio, place, begun_s, seconds, tally))
            async for text in websocket:
                _count(tally, json.loads(text), begun_s)
            await sending
    except (OSError, WebSocketException, TimeoutError) as error:
        tally.error = f"{type(error).__name__}: {error}"
    return tally


async def _send(
    websocket: ClientConnection,
    audio: bytes,
    place: float,
    begun_s: float,
    seconds: float,
    tally: Tally,
) -> None:
    size = round(_CHUNK_S * SAMPLE_RATE_HZ) * 2
    offset = round(place * len(audio) / size) * size
    for number in range(round((_SETTLE_S + seconds) / _CHUNK_S)):
        # a microphone gives a chunk when its last sample has been heard
        due_s = begun_s + (number + 1) * _CHUNK_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        late_ms = (time.monotonic() - due_s) * 1000
        tally.late_sends_ms = max(tally.late_sends_ms, late_ms)
        start = (offset + number * size) % (len(audio) - size)
        await websocket.send(audio[start : start + size])
    await websocket.send('{"type": "session.close"}')


def _count(tally: Tally, event: dict[str, Any], begun_s: float) -> None:
    """Note an event; waits count from when the chunk with the audio in question was due."""
    kind = event["type"]
    if kind == "error":
        tally.error = f"{event['code']}: {event['message']}"
    tally.started += kind == "utterance.start"
    tally.finals += kind == "emotion.final"
    if kind not in ("emotion.partial", "emotion.final") or event["audio_end_ms"] < (
        _SETTLE_S * 1000
    ):
        return
    if kind == "emotion.partial":
        tally.partial_lag_ms.append(event["lag_ms"])
    elif event["closed_by"] == "silence":
        chunk_ms = _CHUNK_S * 1000
        due_ms = -(-event["endpoint_ms"] // chunk_ms) * chunk_ms
        tally.waits_ms.append((time.monotonic() - begun_s) * 1000 - due_ms)
        account = event["timings"]
        tally.ledger_ms.append(account["end_of_speech_to_emit"] - account["critical"]["hangover"])
        tally.failed += event["emotion"] is None
