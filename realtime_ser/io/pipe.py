"""Raw PCM from standard input, for `arecord | realtime-ser pipe`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
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
    queue: asyncio.Queue[bytes] = asyncio.Queue(_UNREAD_BLOCKS)
    size = round(_BLOCK_S * rate_hz) * channels * _LARGEST_SAMPLE_BYTES
    # A thread, because a file cannot be polled; of our own and a daemon, because one of asyncio's
    # pool would be waited for at exit, and a read from a silent pipe never returns.
    arguments = (file, size, queue, asyncio.get_running_loop())
    threading.Thread(target=_pump, args=arguments, name="stdin", daemon=True).start()
    heard = False
    while data := await queue.get():
        samples = decoder.decode(data)
        if len(samples):
            heard = True
            yield AudioBlock(samples, rate_hz)
    if not heard:
        raise AudioUnsupportedError(
            "standard input ended without audio; does the program before the pipe run?"
        )


def _pump(
    file: RawIOBase, size: int, queue: asyncio.Queue[bytes], loop: asyncio.AbstractEventLoop
) -> None:
    # a closed loop or a cancelled put means that nobody listens any more
    with contextlib.suppress(RuntimeError, CancelledError):
        while True:
            data = file.read(size) or b""
            asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
            if not data:
                return
