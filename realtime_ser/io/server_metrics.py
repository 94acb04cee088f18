"""What the server says of itself to Prometheus."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from realtime_ser.core.events import EmotionFinal, ErrorEvent, Event
from realtime_ser.runtime.stream import StreamDescription
from realtime_ser.types import Answer, JobKind

CONTENT_TYPE = CONTENT_TYPE_LATEST

_LATENCIES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_LOOP_INTERVAL_S = 0.25


class Metrics:
    """One registry a server, so that several can live in one process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        name = "realtime_ser_"
        self._sessions = Gauge(
            f"{name}sessions", "Sessions now, detached ones included", registry=registry
        )
        self._connections = Gauge(f"{name}connections", "WebSockets now", registry=registry)
        self.sessions_started = Counter(f"{name}sessions_started", "Sessions", registry=registry)
        self.sessions_resumed = Counter(
            f"{name}sessions_resumed", "Clients that came back", registry=registry
        )
        self._refused = Counter(
            f"{name}refused", "Connections refused, by error code", ["code"], registry=registry
        )
        self._closed = Counter(
            f"{name}sessions_closed", "Sessions that ended, by reason", ["reason"],
            registry=registry,
        )  # fmt: skip
        self.audio_seconds = Counter(f"{name}audio_seconds", "Audio taken", registry=registry)
        self._events = Counter(f"{name}events", "Events told, by type", ["type"], registry=registry)
        self._errors = Counter(f"{name}errors", "Errors told, by code", ["code"], registry=registry)
        self._partials_dropped = Counter(
            f"{name}partials_dropped", "Partials that a slow reader did not take",
            registry=registry,
        )  # fmt: skip
        self._queue = Gauge(
            f"{name}queue_depth", "Jobs that wait, by kind", ["kind"], registry=registry
        )
        self._final_wait = Gauge(
            f"{name}final_wait_seconds", "How long the next final of a stream has waited",
            registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            f"{name}batch_size", "Jobs that ran together, by kind", ["kind"],
            buckets=_BATCH_SIZES, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            f"{name}stage_seconds", "Compute, by stage", ["stage"], buckets=_LATENCIES_S,
            registry=registry,
        )  # fmt: skip
        self._waits = Histogram(
            f"{name}final_latency_seconds",
            "From the end of speech to the final, by what the time went for (and whole)", ["part"],
            buckets=_LATENCIES_S, registry=registry,
        )  # fmt: skip
        self._loop_delay = Histogram(
            f"{name}event_loop_delay_seconds", "How late the event loop wakes",
            buckets=_LATENCIES_S, registry=registry,
        )  # fmt: skip
        self._ready = Gauge(f"{name}ready", "1 once the models are warm", registry=registry)
        self._provider = Gauge(
            f"{name}provider", "What executes the models", ["provider", "bundle", "version", "asr"],
            registry=registry,
        )  # fmt: skip

    def watch(
        self,
        *,
        sessions: Callable[[], float],
        connections: Callable[[], float],
        waiting: Callable[[JobKind], float],
        final_wait_s: Callable[[], float],
    ) -> None:
        """Where to look when somebody asks."""
        self._sessions.set_function(sessions)
        self._connections.set_function(connections)
        self._final_wait.set_function(final_wait_s)
        for kind in JobKind:
            self._queue.labels(kind).set_function(functools.partial(waiting, kind))

    def ready(self, description: StreamDescription) -> None:
        """The models are warm."""
        self._ready.set(1)
        bundle = description.bundle
        for provider in description.providers:
            self._provider.labels(provider, bundle["name"], bundle["version"], description.asr).set(
                1
            )

    def ran(self, kind: JobKind, answers: Sequence[Answer]) -> None:
        """A batch was answered; called on the worker's thread."""
        self._batches.labels(kind).observe(len(answers))
        stages = {timing for answer in answers for timing in answer.timings}
        for timing in stages:
            self._stages.labels(timing.stage).observe(timing.ended_s - timing.started_s)

    def told(self, event: Event) -> None:
        """An event of a session came up."""
        self._events.labels(event.type).inc()
        if isinstance(event, ErrorEvent):
            self._errors.labels(event.code).inc()
        if isinstance(event, EmotionFinal) and event.timings is not None:
            self._waits.labels("whole").observe(event.timings.end_of_speech_to_emit / 1000)
            for part, value_ms in event.timings.critical.items():
                self._waits.labels(part).observe(value_ms / 1000)

    def refused(self, code: str) -> None:
        """A connection was refused."""
        self._refused.labels(code).inc()

    def closed(self, reason: str, dropped_partials: int) -> None:
        """A session ended."""
        self._closed.labels(reason).inc()
        self._partials_dropped.inc(dropped_partials)

    async def watch_loop(self) -> None:
        """Measure the event loop until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _LOOP_INTERVAL_S
            await asyncio.sleep(_LOOP_INTERVAL_S)
            self._loop_delay.observe(max(0.0, loop.time() - due_s))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
