"""The sizes that inputs are padded to where a graph is bound, so that few shapes come up.

Padding changes no answer: audio brings its lengths and text its mask, and rows that fill up a
batch are dropped. It costs the arithmetic on what is not there, and saves what a shape costs that
was never seen: on a GPU a new search for kernels, new memory, and a graph to capture.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime_ser.types import SAMPLE_RATE_HZ

ROWS = (1, 2, 4, 8)
"""Of a batch; the worker makes none larger."""

STEP_SAMPLES = SAMPLE_RATE_HZ
"""Audio is padded to whole seconds: at most 15 lengths for the longest utterance."""

_LEAST_TOKENS = 8


def padded_rows(rows: int, sizes: Sequence[int]) -> int:
    """The smallest of `sizes`, in ascending order, that holds `rows`; `rows` where none does."""
    return next((size for size in sizes if size >= rows), rows)


def token_sizes(most: int) -> tuple[int, ...]:
    """Powers of two from 8 on, and `most` itself, in ascending order."""
    sizes = []
    size = _LEAST_TOKENS
    while size < most:
        sizes.append(size)
        size *= 2
    return (*sizes, most)


def sample_sizes(longest: int, step: int, most: int) -> tuple[int, ...]:
    """What `padded_samples` makes of audio of up to `longest` samples, in ascending order."""
    lengths = range(step, longest + step, step)
    return tuple(sorted({padded_samples(length, step, most) for length in lengths}))


def padded_samples(samples: int, step: int, most: int) -> int:
    """`samples`, no more than `most`, up to the next multiple of `step`, or to `most`."""
    return min(-(-samples // step) * step, most)
