from __future__ import annotations

import asyncio
import os
from io import FileIO

import numpy as np
import pytest

from realtime_ser.errors import AudioUnsupportedError
from realtime_ser.io.pipe import read_pcm
from realtime_ser.runtime.ports import AudioBlock


def read(data: bytes, **options: object) -> list[AudioBlock]:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)

    async def collect() -> list[AudioBlock]:
        with FileIO(reader) as file:
            chosen = {"rate_hz": 16000, "encoding": "s16le", "channels": 1, **options}
            return [block async for block in read_pcm(file, **chosen)]  # type: ignore[arg-type]

    return asyncio.run(collect())


def test_stereo_floats_come_as_they_are() -> None:
    sound = np.linspace(-1, 1, 4000, dtype="<f4").reshape(-1, 2)
    blocks = read(sound.tobytes(), encoding="f32le", channels=2, rate_hz=8000)
    np.testing.assert_array_equal(np.concatenate([block.samples for block in blocks]), sound)
    assert {block.sample_rate_hz for block in blocks} == {8000}


def test_half_a_sample_at_the_end_is_dropped() -> None:
    (block,) = read(b"\x01\x00\x02")
    assert block.samples.tolist() == [[1]]


@pytest.mark.parametrize("data", [b"", b"\x01"])
def test_a_pipe_without_audio_is_an_error(data: bytes) -> None:
    with pytest.raises(AudioUnsupportedError, match="does the program before the pipe run"):
        read(data)


@pytest.mark.parametrize(
    "options", [{"rate_hz": 100}, {"channels": 0}, {"channels": 99}, {"encoding": "mp3"}]
)
def test_impossible_formats_are_refused_before_anything_is_read(options: dict[str, object]) -> None:
    with pytest.raises(AudioUnsupportedError, match="use"):
        read(b"1234", **options)


def test_a_reader_that_stops_early_leaves_no_thread_in_the_way() -> None:
    reader, writer = os.pipe()
    file = FileIO(reader)

    async def first() -> AudioBlock:
        blocks = read_pcm(file, rate_hz=16000, encoding="s16le", channels=1)
        async for block in blocks:
            return block
        raise AssertionError

    os.write(writer, bytes(64))
    assert len(asyncio.run(first()).samples) == 32
    os.close(writer)
    file.close()
