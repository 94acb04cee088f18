"""What a driver needs of the world; the adapters live in `models` and `io`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from realtime_ser.types import Analysis, AnalysisJob, Answer, JobKind, Transcription


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """What a source gives: a run of samples at the source's own rate.

    Attributes:
        samples: [samples] or [samples, channels]; dtypes as `core.pcm.to_mono` takes them.
        sample_rate_hz: the same for all blocks of a source.
        lost_samples: how many are missing between the previous block and this one.
        captured_at_s: `time.perf_counter()` when the last sample was captured; None where it
            means nothing (a file read as fast as it can be).
    """

    samples: NDArray[Any]
    sample_rate_hz: int
    lost_samples: int = 0
    captured_at_s: float | None = None


class Analyzer(Protocol):
    """Answers jobs. One instance a process.

    Called from one thread at a time, but for partials: these may come on a second one.
    """

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        """Answer `jobs` in their order, which want estimates: all of them partials, or none.

        Raises:
            InferenceError: the models failed; none of the jobs is answered.
        """
        ...

    def transcribe(self, jobs: Sequence[AnalysisJob]) -> list[Transcription]:
        """Answer `jobs` that want words alone; as `analyze`."""
        ...


def answers(analyzer: Analyzer, jobs: Sequence[AnalysisJob]) -> Sequence[Answer]:
    """Ask `analyzer` for what `jobs`, which all want the same, want; errors as its own."""
    if jobs and jobs[0].kind is JobKind.PARTIAL_TRANSCRIPT:
        return analyzer.transcribe(jobs)
    return analyzer.analyze(jobs)
