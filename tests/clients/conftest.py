"""Shared by the tests of clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime_ser.recognizer import Recognizer


@pytest.fixture(scope="session")
def recognizer(small_bundle: Path) -> Iterator[Recognizer]:
    """A real recognizer with a tiny bundle, to be served."""
    with Recognizer(bundle=str(small_bundle), asr="off", threads=1) as recognizer:
        yield recognizer
