"""Settings of torch and of the C library that make training on a CPU fast and repeatable."""

from __future__ import annotations

import ctypes
import sys

import torch


def prepare_cpu(threads: int) -> None:
    """Use so many threads, count denormal numbers as 0, keep freed memory; for the whole process.

    Denormals take a hundred times as long to multiply as other numbers, and mean nothing here.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Have glibc reuse large blocks instead of returning them to the system after each operation.

    Clearing fresh pages took up to half of a training step on a CPU. Elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
