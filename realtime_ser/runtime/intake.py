"""One thread listens for all live streams: resampling, speech detection, and the sessions.

Speech detection is a network, and hearing one window costs it as much as hearing six of them at
once. So what waits is taken from all streams, a piece from each, and judged in one run. Unlike the
models' batches, a round waits for company, but not for long and never without any about: a round a
message would wake this thread 2500 times a second for 100 clients. A second thread would only take
turns with this one for the interpreter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from realtime_ser.core.framing import SpeechDetector
from realtime_ser.types import Judgement, Samples

Frames = Sequence[Samples | None]
"""What a detector is asked about; see `SpeechDetector.judge`."""

Judge = Callable[[Sequence[tuple[Any, Frames]]], list[list[Judgement]]]
"""Answers for many detectors, of the kind that it knows, what each would answer for itself."""


def judge_each(asked: Sequence[tuple[SpeechDetector, Frames]]) -> list[list[Judgement]]:
    """One after the other, for detectors that gain nothing from company."""
    return [detector.judge(frames) for detector, frames in asked]


class Listening(Protocol):
    """A stream to the intake. All calls come from its thread, and none of them raises."""

    @property
    def detector(self) -> SpeechDetector:
        """Judges what was cut."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether it is to come up again."""
        ...

    def cut(self) -> Frames:
        """Take what waits, a piece of it at most, and cut it into frames."""
        ...

    def take(self, judgements: Sequence[Judgement]) -> None:
        """Go on with what is said of the frames that were cut."""
        ...

    def fail(self, error: Exception) -> None:
        """The frames that were cut could not be judged."""
        ...


_ROUND_S = 0.01
"""Rounds begin this far apart, at least. A stream that is alone never waits, for its messages are
further apart, or it is fed as fast as it is worked off."""


class Intake:
    """The thread; ends with the context.

    Args:
        judge: judges the frames of many streams.
    """

    def __init__(self, judge: Judge = judge_each) -> None:
        self._judge = judge
        self._changed = threading.Condition()
        self._waiting: dict[Listening, None] = {}
        """In the order in which they came; a stream waits once, whatever it has."""
        self._closing = False
        # a daemon: an interpreter that exits on an error must not hang on a stream
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish the round that runs, drop what waits, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def schedule(self, stream: Listening) -> None:
        """Have `stream` in the next round; from any thread."""
        with self._changed:
            if not self._waiting:
                self._changed.notify()
            self._waiting[stream] = None

    def _run(self) -> None:
        streams: list[Listening] = []
        begun_s = 0.0
        while streams := self._next_round(streams, begun_s + _ROUND_S):
            begun_s = time.monotonic()
            self._listen(streams)
            for stream in streams:
                if stream.has_work:
                    self.schedule(stream)

    def _next_round(self, before: list[Listening], earliest_s: float) -> list[Listening]:
        """All that wait, once there is one; empty when the thread is to end.

        After a round for others (`before`) it is not ended ahead of `earliest_s`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting)
            has_company = list(self._waiting) != before
        rest_s = earliest_s - time.monotonic()
        if has_company and rest_s > 0:
            time.sleep(rest_s)  # who comes meanwhile does not even wake us
        with self._changed:
            streams, self._waiting = list(self._waiting), {}
            return [] if self._closing else streams

    def _listen(self, streams: Sequence[Listening]) -> None:
        asked = [(stream.detector, stream.cut()) for stream in streams]
        try:
            judged = self._judge(asked)
        except Exception as error:  # whoever feeds the streams is told
            for stream in streams:
                stream.fail(error)
            return
        for stream, judgements in zip(streams, judged, strict=True):
            stream.take(judgements)
