"""Two habits of the host's libraries that make networks slow on a CPU, and how they are left off.

glibc gives each large block back to the kernel as soon as it is freed. Whisper's encoder asks for
the same ones in every layer (the attention of one layer of tiny is 54 MB), so that a run on the
30-s window met 53,000 page faults; training is no different. numpy's BLAS shares even the small
product of the log-mel out among all cores, and those threads then spin, in case another follows,
while CTranslate2 wants the cores. Each cost a run of 415 ms more than 50 ms on 2 quiet cores
(benchmarks/NOTES.md).
"""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

# mallopt's parameters (malloc.h of glibc).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Whisper large: 20 heads, 1500 by 1500 places, 4 bytes: 180 MB. All of a run is a few of these.
_LARGEST_BLOCK_BYTES = 256 << 20
_LARGEST_REST_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed, for the whole process: the peak stays, faults do not recur.

    To be called before the threads that are to profit begin: the arenas of threads other than the
    first are made of pieces of 64 MB, above which a block is mapped anew whatever the thresholds;
    with one arena for all this cannot happen, and the process is smaller.

    Returns:
        False where the C library is not glibc, and nothing was changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(parameter, value) == 1
        for parameter, value in (
            (_M_ARENA_MAX, 1),
            (_M_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES),
            (_M_TRIM_THRESHOLD, _LARGEST_REST_BYTES),
        )
    )


def one_blas_thread() -> AbstractContextManager[object]:
    """While entered, numpy's products of matrices stay on the thread that asks for them."""
    limit: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limit


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries: milliseconds
