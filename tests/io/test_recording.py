from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from realtime_ser.errors import AudioDeviceError
from realtime_ser.io.recording import recorded
from realtime_ser.runtime.ports import AudioBlock


async def source() -> AsyncIterator[AudioBlock]:
    yield AudioBlock(np.full(100, 5, np.int16), 44100)
    yield AudioBlock(np.full(50, 7, np.int16), 44100, lost_samples=30)


def drain(path: Path, stop_after: int = 99) -> list[AudioBlock]:
    async def run() -> list[AudioBlock]:
        passed = []
        async for block in recorded(source(), path):
            passed.append(block)
            if len(passed) == stop_after:
                # the file is whole at any moment, not only when it is closed
                assert read(path).size == 100
        return passed

    return asyncio.run(run())


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getframerate() == 44100
        return np.frombuffer(file.readframes(10**6), "<i2")


def test_what_passes_is_kept_with_silence_for_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    assert len(drain(path, stop_after=1)) == 2
    expected = [5] * 100 + [0] * 30 + [7] * 50
    assert read(path).tolist() == expected


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioDeviceError, match=r"cannot write .*no/a.wav"):
        drain(tmp_path / "no" / "a.wav")
