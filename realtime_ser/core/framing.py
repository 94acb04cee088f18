"""Any chunking to exact frames of 30 ms, and who judges them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from realtime_ser.types import FRAME_SAMPLES, AudioChunk, Judgement, Samples


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: int16 [FRAME_SAMPLES]; the last one before a gap or the end is zero-padded.

    Attributes:
        start: index of its first sample.
        end: index after its last real sample, padding not counted.
    """

    start: int
    end: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio from `start` to `end` never arrived."""

    start: int
    end: int
    samples: ClassVar[None] = None


class SpeechDetector(Protocol):
    """Says of each frame in turn whether it is speech. One instance a stream."""

    def judge(self, frames: Sequence[Samples | None]) -> list[Judgement]:
        """Judge the next frames, int16 [FRAME_SAMPLES] each.

        None stands for a gap, and is judged to be no speech: what follows it does not follow what
        was before.
        """
        ...


class Framer:
    """Cuts a time line into frames.

    Frames are aligned to the first sample after the start or a gap. Samples that come a second
    time (a chunk that starts before the end of the last one) are dropped: the first copy has
    already been judged.

    Attributes:
        position: index after the last sample taken.
        lost_samples: how many never arrived.
        repeated_samples: how many came twice.
    """

    def __init__(self) -> None:
        self.position = 0
        self.lost_samples = 0
        self.repeated_samples = 0
        self._pending = np.zeros(FRAME_SAMPLES, np.int16)
        self._pending_count = 0

    def push(self, chunk: AudioChunk) -> Iterator[Frame | Gap]:
        """Take a chunk of any length; yields what became whole. Exhaust it before the next."""
        samples = chunk.samples
        if chunk.start > self.position:
            yield from self.flush()
            self.lost_samples += chunk.start - self.position
            yield Gap(self.position, chunk.start)
            self.position = chunk.start
        elif chunk.start < self.position:
            repeated = min(self.position - chunk.start, len(samples))
            self.repeated_samples += repeated
            samples = samples[repeated:]
        taken = 0
        while taken < len(samples):
            count = min(FRAME_SAMPLES - self._pending_count, len(samples) - taken)
            if count == FRAME_SAMPLES:
                # a whole frame in the chunk is copied once, not by way of the pending one
                self.position += count
                frame = samples[taken : taken + count].copy()
                yield Frame(self.position - count, self.position, frame)
            else:
                self._pending[self._pending_count : self._pending_count + count] = samples[
                    taken : taken + count
                ]
                self._pending_count += count
                self.position += count
                if self._pending_count == FRAME_SAMPLES:
                    yield from self.flush()
            taken += count

    def flush(self) -> Iterator[Frame]:
        """Yield the pending frame, padded with zeros, if there is one."""
        if self._pending_count:
            samples = self._pending.copy()
            samples[self._pending_count :] = 0
            start = self.position - self._pending_count
            self._pending_count = 0
            yield Frame(start, self.position, samples)
