"""The inline driver: the specification of what a stream says.

Audio is worked off as fast as the models go. Its clock is the audio's own: the ledger and the lag
say what they would have been had the audio come in real time on this machine, with one worker
that does one job after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from realtime_ser.core.events import Event
from realtime_ser.errors import AudioError, InferenceError
from realtime_ser.runtime.ports import Analyzer, AudioBlock, answers
from realtime_ser.runtime.stream import Stream
from realtime_ser.types import SAMPLE_RATE_HZ, AudioChunk


class AudioClock:
    """The clock of this driver: sample i sounds, and arrives, at i / 16000 s."""

    def heard_at(self, sample: int) -> float:
        """See `Clock`."""
        return sample / SAMPLE_RATE_HZ

    arrived_at = heard_at


def run_offline(
    blocks: Iterable[AudioBlock], stream: Stream, analyzer: Analyzer
) -> Iterator[Event]:
    """Drive `stream`, whose clock must be an `AudioClock`, through `blocks` to its end.

    Raises:
        AudioError: the source failed, after everything that was recognised before it and a
            closing `session.closed` have been given out.
    """
    driver = _Driver(stream, analyzer)
    yield from stream.opening()
    failure: AudioError | None = None
    try:
        for block in blocks:
            yield from driver.take(stream.cut(block))
    except AudioError as error:
        failure = error
    yield from driver.take(stream.remainder())
    stream.session.receive_eof()
    yield from driver.work()
    yield from stream.closing("eof", failure)
    if failure:
        raise failure


class _Driver:
    def __init__(self, stream: Stream, analyzer: Analyzer) -> None:
        self._stream = stream
        self._analyzer = analyzer
        self._worker_free_s = 0.0

    def take(self, chunks: Iterable[AudioChunk]) -> Iterator[Event]:
        # Judged at once, which is cheaper, and taken frame by frame, whatever the source gives:
        # jobs come up at their time, and a long chunk does not pile up a dozen with their audio.
        session = self._stream.session
        for chunk in chunks:
            frames = session.cut(chunk)
            judgements = session.detector.judge([frame.samples for frame in frames])
            for frame, judgement in zip(frames, judgements, strict=True):
                session.receive_frames([frame], [judgement])
                yield from self.work()

    def work(self) -> Iterator[Event]:
        stream = self._stream
        asked_s = stream.session.judged / SAMPLE_RATE_HZ
        while jobs := stream.session.jobs_to_run():
            for job in jobs:
                try:
                    [answer] = answers(self._analyzer, [job])
                except InferenceError as error:
                    stream.fail(job.id, error)
                    continue
                timings = answer.timings
                if timings:
                    # from the machine's clock to the audio's
                    shift_s = max(asked_s, self._worker_free_s) - timings[0].started_s
                    timings = tuple(
                        replace(t, started_s=t.started_s + shift_s, ended_s=t.ended_s + shift_s)
                        for t in timings
                    )
                    self._worker_free_s = timings[-1].ended_s
                stream.answer(answer, timings)
        now_s = asked_s
        for event in stream.session.events_received():
            now_s = max(now_s, stream.finished_s(event))
            yield from stream.stamped([event], now_s)
