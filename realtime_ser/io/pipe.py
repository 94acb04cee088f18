"""Raw PCM from standard input, for `arecord | realtime-ser pipe`."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator
from io import RawIOBase

from realtime_ser.core.pcm import PcmDecoder, require_format
from realtime_ser.errors import AudioUnsupportedError
from realtime_ser.runtime.ports import AudioBlock

_BLOCK_S = 0.02
_UNREAD_BLOCKS = 50
_LARGEST_SAMPLE_BYTES = 4


async def read_pcm(
    file: RawIOBase, *, rate_hz: int, encoding: str, channels: int
) -> AsyncIterator[AudioBlock]:
    """The blocks of a raw stream, each as soon as it is there.

    Args:
        file: unbuffered, so that a read returns what there is.

    Raises:
        AudioUnsupportedError: an unknown encoding, an impossible rate or channel count, or a
            stream without a single whole sample.
    """
    require_format(rate_hz, channels)
    decoder = PcmDecoder(encoding, channels)
    size = round(_BLOCK_S * rate_hz) * channels * _LARGEST_SAMPLE_BYTES
    heard = False
    async for data in _pieces(file, size):
        samples = decoder.decode(data)
        if len(samples):
            heard = True
            yield AudioBlock(samples, rate_hz)
    if not heard:
        raise AudioUnsupportedError(
            "standard input ended without audio; does the program before the pipe run?"
        )


async def _pieces(file: RawIOBase, size: int) -> AsyncIterator[bytes]:
    """What reads of at most `size` bytes bring, until the end of the file."""
    pieces: queue.Queue[bytes] = queue.Queue(_UNREAD_BLOCKS)
    arrived = asyncio.Event()
    # A thread, because a file cannot be polled; of our own and a daemon, because one of asyncio's
    # pool would be waited for at exit, and a read from a silent pipe never returns.
    arguments = (file, size, pieces, arrived, asyncio.get_running_loop())
    threading.Thread(target=_pump, args=arguments, name="stdin", daemon=True).start()
    while True:
        arrived.clear()
        try:
            data = pieces.get_nowait()
        except queue.Empty:
            await arrived.wait()
            continue
        if not data:
            return
        yield data


def _pump(
    file: RawIOBase,
    size: int,
    pieces: queue.Queue[bytes],
    arrived: asyncio.Event,
    loop: asyncio.AbstractEventLoop,
) -> None:
    # a closed loop (RuntimeError) or a closed file (ValueError, OSError): nobody listens any more
    with contextlib.suppress(RuntimeError, ValueError, OSError):
        while True:
            data = file.read(size) or b""
            pieces.put(data)
            loop.call_soon_threadsafe(arrived.set)
            if not data:
                return
