"""Settings of torch and of the C library that make training on a CPU fast and repeatable."""

from __future__ import annotations

import torch

from realtime_ser.models.host import keep_freed_memory


def prepare_cpu(threads: int) -> None:
    """Use so many threads, count denormal numbers as 0, keep freed memory; for the whole process.

    Denormals take a hundred times as long to multiply as other numbers, and mean nothing here.
    Clearing fresh pages took up to half of a training step.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
