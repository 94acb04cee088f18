"""Levels against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from realtime_ser.io.level import FLOOR_DBFS, level_dbfs


def test_level_of_known_signals() -> None:
    square = np.array([16_384, -16_384] * 100, np.int16)
    assert level_dbfs(square) == pytest.approx(-6.02, abs=0.01)
    assert level_dbfs(square.astype(np.float32) / 32_768) == pytest.approx(-6.02, abs=0.01)
    assert level_dbfs(np.full(480, -32_768, np.int16)) == 0


def test_silence_and_nothing_read_the_floor() -> None:
    assert level_dbfs(np.zeros(480, np.int16)) == FLOOR_DBFS
    assert level_dbfs(np.zeros(0, np.int16)) == FLOOR_DBFS
