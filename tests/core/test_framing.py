from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from timelines import chunks

from realtime_ser.core.framing import Frame, Framer, Gap
from realtime_ser.core.timeline import Timeline
from realtime_ser.types import FRAME_SAMPLES, AudioChunk


def ramp(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int16)


@given(st.integers(0, 3000), st.lists(st.integers(0, 1200), max_size=12))
def test_chunking_does_not_matter(length: int, sizes: list[int]) -> None:
    framer = Framer()
    frames = [item for chunk in chunks(ramp(length), sizes) for item in framer.push(chunk)]
    frames += framer.flush()
    assert [frame.start for frame in frames] == list(range(0, length, FRAME_SAMPLES))
    assert all(isinstance(frame, Frame) and len(frame.samples) == FRAME_SAMPLES for frame in frames)
    whole = np.concatenate([frame.samples for frame in frames]) if frames else ramp(0)
    np.testing.assert_array_equal(whole[:length], ramp(length))
    assert not whole[length:].any()
    assert framer.position == length


def test_a_gap_flushes_counts_and_realigns() -> None:
    framer = Framer()
    items = list(framer.push(AudioChunk(0, ramp(500))))
    items += framer.push(AudioChunk(700, ramp(480)))
    assert [(i.start, i.end) for i in items] == [(0, 480), (480, 500), (500, 700), (700, 1180)]
    assert isinstance(items[2], Gap)
    assert framer.lost_samples == 200


def test_what_comes_twice_is_taken_once() -> None:
    framer = Framer()
    list(framer.push(AudioChunk(0, ramp(480))))
    items = list(framer.push(AudioChunk(100, ramp(1000)[100:1060])))
    assert [(i.start, i.end) for i in items] == [(480, 960)]
    np.testing.assert_array_equal(items[0].samples, ramp(960)[480:])
    assert framer.repeated_samples == 380
    assert list(framer.push(AudioChunk(0, ramp(10)))) == []


def test_frames_do_not_share_memory_with_the_chunk() -> None:
    framer, source = Framer(), ramp(480)
    (frame,) = framer.push(AudioChunk(0, source))
    source[:] = 7
    assert frame.samples[1] == 1


@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 40_000)), max_size=40))
def test_the_time_line_keeps_what_it_must_and_no_more(steps: list[tuple[int, int]]) -> None:
    timeline, position, forgotten = Timeline(), 0, 0
    for count, keep in steps:
        samples = np.arange(position, position + count).astype(np.int16)
        timeline.append(position, samples)
        position += count
        forgotten = max(forgotten, position - keep)
        timeline.forget_before(forgotten)
        expected = np.arange(forgotten, position).astype(np.int16)
        np.testing.assert_array_equal(timeline.copy(forgotten, position), expected)
    assert len(timeline._buffer) <= max(64_000, 4 * (40_000 + 9000))
