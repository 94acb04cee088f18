"""Arrays to bytes, with numpy and without."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser_client.samples import _convert, _convert_fast, pcm_bytes

INT16 = st.lists(st.integers(-32768, 32767), max_size=20)
FLOATS = st.lists(st.floats(-1.5, 1.5, width=32), max_size=20)


@given(INT16)
def test_int16_goes_as_it_is(samples: list[int]) -> None:
    expected = np.array(samples, "<i2").tobytes()
    for audio in (np.array(samples, np.int16), array("h", samples), expected):
        assert pcm_bytes(audio, "s16le", 1) == expected


@given(FLOATS, st.sampled_from(["s16le", "f32le"]), st.sampled_from(["f", "d"]))
def test_floats_are_the_same_with_and_without_numpy(
    samples: list[float], encoding: str, kind: str
) -> None:
    audio = array(kind, samples)
    assert _convert(audio, encoding) == _convert_fast(memoryview(audio), encoding)


@given(INT16, st.sampled_from(["s16le", "f32le"]))
def test_int16_is_the_same_with_and_without_numpy(samples: list[int], encoding: str) -> None:
    audio = array("h", samples)
    assert _convert(audio, encoding) == _convert_fast(memoryview(audio), encoding)


@given(INT16)
def test_int16_survives_the_way_through_floats(samples: list[int]) -> None:
    floats = np.array(samples, np.float32) / 32768
    assert pcm_bytes(floats, "s16le", 1) == np.array(samples, "<i2").tobytes()


def test_rows_and_columns_are_interleaved() -> None:
    columns = np.array([[1, 2, 3], [4, 5, 6]], np.int16).T
    assert np.frombuffer(pcm_bytes(columns, "s16le", 2), "<i2").tolist() == [1, 4, 2, 5, 3, 6]


@pytest.mark.parametrize(
    ("audio", "encoding", "error", "complaint"),
    [
        ("text", "s16le", TypeError, "str is no audio"),
        ([0.1], "s16le", TypeError, "list is no audio"),
        (np.zeros(3, np.int32), "s16le", TypeError, "pass int16, float32 or float64"),
        (np.zeros(3, np.int16), "mulaw", TypeError, "the session takes mulaw"),
        (np.zeros((3, 2), np.int16), "s16le", ValueError, r"shape \(3, 2\) do not fit 1 channels"),
        (np.array([0, np.nan]), "s16le", ValueError, "NaN or infinite"),
        (np.array([np.inf], np.float32), "f32le", ValueError, "NaN or infinite"),
    ],
)
def test_what_is_no_audio_is_said(
    audio: Any, encoding: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        pcm_bytes(audio, encoding, 1)
