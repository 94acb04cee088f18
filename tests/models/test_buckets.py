"""The sizes that inputs are padded to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.models.buckets import (
    ROWS,
    padded_rows,
    padded_samples,
    sample_sizes,
    token_sizes,
)


@given(rows=st.integers(1, 100))
def test_a_batch_fits_its_bucket_and_no_smaller_one(rows: int) -> None:
    padded = padded_rows(rows, ROWS)
    assert padded >= rows
    assert all(size < rows for size in ROWS if size < padded)
    assert padded == rows if rows > ROWS[-1] else padded in ROWS


@given(
    longest=st.integers(1, 300_000),
    step=st.integers(1, 50_000),
    most=st.integers(1, 300_000),
    share=st.floats(0, 1),
)
def test_every_length_is_padded_to_a_size_that_was_met(
    longest: int, step: int, most: int, share: float
) -> None:
    longest = min(longest, most)
    step = max(step, longest // 100)  # so that the list stays short
    samples = max(1, round(longest * share))
    size = padded_samples(samples, step, most)
    assert samples <= size <= most
    assert size in sample_sizes(longest, step, most)


@given(most=st.integers(1, 5000), share=st.floats(0, 1))
def test_every_text_is_padded_to_less_than_twice_its_tokens(most: int, share: float) -> None:
    tokens = max(1, round(most * share))
    sizes = token_sizes(most)
    padded = padded_rows(tokens, sizes)
    assert tokens <= padded <= most
    assert padded < max(2 * tokens, 9)
    assert list(sizes) == sorted(set(sizes))
