"""What the C library and numpy's BLAS are told before Whisper runs on a CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from realtime_ser.models.host import one_blas_thread

# A process of its own: what malloc was told holds for all of it.
_FAULTS_OF_A_RUN = """
import resource, sys
import numpy as np
from realtime_ser.models.transcriber import load_transcriber

transcriber = load_transcriber(sys.argv[1], device="cpu", threads=1)
for _ in range(3):
    transcriber.warm_up()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
transcriber.decode(np.zeros(16_000, np.int16))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_later_run_of_whisper_finds_its_memory_where_it_was(tmp_path: Path) -> None:
    from realtime_ser.bench.random_whisper import Architecture, build_whisper

    # One layer with the heads of base: 72 MB of attention, more than malloc's own limits allow.
    folder = build_whisper(tmp_path / "model", architecture=Architecture(heads=8), says="hello")
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS_OF_A_RUN, str(folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # 72 MB are 18,000 pages of 4 KB.
    assert int(done.stdout) < 1_000


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_has_one_thread_while_asked_to_and_its_own_number_afterwards() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(limits=2, user_api="blas"):
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
