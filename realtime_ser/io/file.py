"""Recorded audio: whatever PyAV (FFmpeg's libraries) can decode, at its own rate."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.errors import AudioUnsupportedError
from realtime_ser.runtime.ports import AudioBlock

_PACED_BLOCK_S = 0.02
_TOLERATED_SHORTFALL_S = 0.5
"""Encoders round the length that they declare, and trim their own padding."""

_EXACT_LENGTH_FORMATS = {"flac", "mov,mp4,m4a,3gp,3g2,mj2", "wav", "aiff", "au"}
"""Containers that declare their length; others' is an estimate (MP3 without a Xing header)."""


class AudioFile:
    """An audio file, or the sound of a video; iterate over its blocks.

    Attributes:
        path: where it is.

    Raises:
        AudioUnsupportedError: it is missing, unreadable, no audio, or its sound cannot be decoded.
            The last two may only show while iterating, after the blocks before the fault.
    """

    def __init__(self, path: Path | str) -> None:
        import av  # brings all of FFmpeg: half a second that other commands need not wait

        self.path = Path(path)
        self._errors: type[Exception] = av.error.FFmpegError
        if self.path.is_dir():
            raise AudioUnsupportedError(f"{self.path} is a folder; name the files in it")
        try:
            self._container = av.open(str(self.path), mode="r")
        except FileNotFoundError:
            raise AudioUnsupportedError(f"no file {self.path}; check the path") from None
        except PermissionError:
            raise AudioUnsupportedError(f"no permission to read {self.path}") from None
        except (self._errors, OSError, ValueError) as error:
            raise self._not_audio(error) from error
        if not self._container.streams.audio:
            self._container.close()
            raise AudioUnsupportedError(f"{self.path} holds no sound; choose another file")
        self._track = self._container.streams.audio[0]

    @property
    def declared_s(self) -> float | None:
        """How long the file says it is, in seconds; None when it does not say."""
        if self._track.duration is not None and self._track.time_base is not None:
            return float(self._track.duration * self._track.time_base)
        duration = self._container.duration
        return None if duration is None else duration / 1_000_000

    def __iter__(self) -> Iterator[AudioBlock]:
        """The blocks in order; once."""
        decoded_s = 0.0
        try:
            for frame in self._container.decode(self._track):
                block = AudioBlock(_samples_of(frame), frame.sample_rate)
                decoded_s += len(block.samples) / block.sample_rate_hz
                yield block
        except (self._errors, OSError, ValueError) as error:
            if not decoded_s:
                raise self._not_audio(error) from error
            raise AudioUnsupportedError(
                f"{self.path} is damaged after {decoded_s:.1f} s ({_reason(error)}); "
                "what came before was used"
            ) from error
        finally:
            self._container.close()
        self._require_whole(decoded_s)

    def _require_whole(self, decoded_s: float) -> None:
        if not decoded_s:
            raise AudioUnsupportedError(f"{self.path} holds no samples; record it again")
        declared_s = self._declared_exactly()
        if declared_s is not None and decoded_s < declared_s - _TOLERATED_SHORTFALL_S:
            raise AudioUnsupportedError(
                f"{self.path} is cut short: it should hold {declared_s:.1f} s and has "
                f"{decoded_s:.1f} s; what there is was used"
            )

    def _declared_exactly(self) -> float | None:
        name = self._container.format.name
        if name not in _EXACT_LENGTH_FORMATS:
            return None
        # FFmpeg trims the length of a cut WAV to the file's size, so its header is asked
        return _wav_declared_s(self.path) if name == "wav" else self.declared_s

    def _not_audio(self, error: Exception) -> AudioUnsupportedError:
        return AudioUnsupportedError(
            f"{self.path} is not audio that can be decoded ({_reason(error)}); "
            "convert it to WAV or FLAC"
        )


async def paced(blocks: Iterable[AudioBlock]) -> AsyncIterator[AudioBlock]:
    """`blocks` in pieces of 20 ms, each when a microphone would have given it."""
    started_s = time.perf_counter()
    played_s = 0.0
    for block in blocks:
        size = max(1, round(_PACED_BLOCK_S * block.sample_rate_hz))
        for start in range(0, len(block.samples), size):
            piece = block.samples[start : start + size]
            played_s += len(piece) / block.sample_rate_hz
            due_s = started_s + played_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            yield replace(block, samples=piece, captured_at_s=due_s)


def _samples_of(frame: Any) -> NDArray[Any]:
    """The samples of a PyAV frame as [samples, channels]."""
    array = frame.to_ndarray()
    channels = frame.layout.nb_channels
    return array.T if frame.format.is_planar else np.reshape(array, (-1, channels))


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _wav_declared_s(path: Path) -> float | None:
    """What the header of a WAV promises; None where it does not know (a stream, saved)."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or len(file.read(8)) < 8:
            return None
        bytes_per_second = 0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                known = bytes_per_second and 0 < size < 0xFFFFFF00
                return size / bytes_per_second if known else None
            body = file.read(size + size % 2) if name == b"fmt " else b""
            if len(body) >= 12:
                bytes_per_second = struct.unpack("<I", body[8:12])[0]
            elif not body:
                file.seek(size + size % 2, 1)
    return None
