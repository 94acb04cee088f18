"""Where the command line takes audio from: WAV files, raw PCM, a microphone."""

from __future__ import annotations

import asyncio
import sys
import wave
from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from realtime_ser_client.samples import BYTES_PER_SAMPLE

BLOCK_MS = 100


class SourceError(Exception):
    """There is no audio to be had; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Format:
    """How the bytes of a source are to be read."""

    encoding: str = "s16le"
    sample_rate_hz: int = 16_000
    channels: int = 1

    @property
    def block_bytes(self) -> int:
        """Of `BLOCK_MS`, in whole samples."""
        frames = self.sample_rate_hz * BLOCK_MS // 1000
        return frames * self.channels * BYTES_PER_SAMPLE[self.encoding]


def open_wav(path: Path) -> tuple[Format, Iterator[bytes]]:
    """The format and the blocks of a WAV file, as s16le.

    Raises:
        SourceError: it is missing, or no PCM.
    """
    try:
        file = wave.open(str(path), "rb")  # noqa: SIM115 - closed by the generator
    except FileNotFoundError:
        raise SourceError(f"no file {path}") from None
    except (wave.Error, EOFError, OSError) as error:
        raise SourceError(
            f"{path}: {error}; `ffmpeg -i {path.name} -ar 16000 -ac 1 speech.wav` makes a WAV file "
            "of it, or pass --raw"
        ) from None
    audio = Format("s16le", file.getframerate(), file.getnchannels())
    return audio, _wav_blocks(file)


def _wav_blocks(file: wave.Wave_read) -> Iterator[bytes]:
    width = file.getsampwidth()
    with file:
        while data := file.readframes(file.getframerate() * BLOCK_MS // 1000):
            yield _to_s16le(data, width)


def _to_s16le(data: bytes, width: int) -> bytes:
    """The upper 16 bits of samples of 8 (unsigned), 16, 24 or 32."""
    if width == 2:
        return data
    if width == 1:
        samples = array("h", ((value - 128) << 8 for value in data))
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes()
    upper = bytearray(len(data) // width * 2)
    upper[0::2], upper[1::2] = data[width - 2 :: width], data[width - 1 :: width]
    return bytes(upper)


def open_raw(path: str, audio: Format) -> Iterator[bytes]:
    """The blocks of a file of bare PCM; `-` is standard input.

    Raises:
        SourceError: it cannot be opened.
    """
    try:
        file = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    return _raw_blocks(file, audio.block_bytes)


def _raw_blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while data := file.read(size):
            yield data


async def from_blocks(blocks: Iterator[bytes], block_s: float | None) -> AsyncIterator[bytes]:
    """Blocks one after the other, each when it would have been spoken; at once without `block_s`.

    They are read in a thread: standard input makes its reader wait.
    """
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    count = 0
    while data := await asyncio.to_thread(next, blocks, b""):
        yield data
        count += 1
        if block_s is not None:
            await asyncio.sleep(started_s + count * block_s - loop.time())


async def from_microphone(device: str | None, sample_rate_hz: int) -> AsyncIterator[bytes]:
    """Blocks of s16le, mono, for as long as they are asked for.

    Raises:
        SourceError: there is no microphone, or no sounddevice.
    """
    try:
        import sounddevice  # type: ignore[import-untyped,unused-ignore]
    except (ImportError, OSError) as error:
        raise SourceError(
            f"no microphone without sounddevice ({error}): pip install sounddevice, and "
            "apt-get install libportaudio2"
        ) from None
    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[bytes] = asyncio.Queue()

    def heard(data: Any, frames: int, time: Any, status: Any) -> None:
        loop.call_soon_threadsafe(blocks.put_nowait, bytes(data))

    try:
        stream = sounddevice.RawInputStream(
            samplerate=sample_rate_hz,
            blocksize=sample_rate_hz * BLOCK_MS // 1000,
            channels=1,
            dtype="int16",
            device=int(device) if device and device.isdigit() else device,
            callback=heard,
        )
        with stream:
            while True:
                yield await blocks.get()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise SourceError(
            f"the microphone cannot be opened: {error}; `python -m sounddevice` lists those "
            "there are, --device chooses one"
        ) from None
