"""Keep what a live source gives, for `--save`."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

from realtime_ser.core.pcm import to_int16, to_mono
from realtime_ser.errors import AudioDeviceError
from realtime_ser.runtime.ports import AudioBlock

_BYTES_PER_SAMPLE = 2


async def recorded(source: AsyncIterable[AudioBlock], path: Path) -> AsyncIterator[AudioBlock]:
    """The blocks of `source`, written as they pass to a mono WAV at the source's own rate.

    Lost samples are written as silence, so that times in the file are those of the events. The
    header is right after every block: a crash costs nothing that was written.

    Raises:
        AudioDeviceError: the file cannot be written.
    """
    try:
        with path.open("wb") as raw, contextlib.ExitStack() as closing:
            file: wave.Wave_write | None = None
            async for block in source:
                if file is None:
                    file = closing.enter_context(wave.open(raw, "wb"))
                    file.setnchannels(1)
                    file.setsampwidth(_BYTES_PER_SAMPLE)
                    file.setframerate(block.sample_rate_hz)
                silence = bytes(_BYTES_PER_SAMPLE * block.lost_samples)
                file.writeframes(silence + to_int16(to_mono(block.samples)).tobytes())
                raw.flush()
                yield block
    except OSError as error:
        if isinstance(error, AudioDeviceError):
            raise
        raise AudioDeviceError(f"cannot write {path}: {error.strerror}") from error
