"""Replay a bundle's recorded inputs and compare: does this machine compute what the exporter did?

`golden.npz` holds for case 0, 1, ... `case{i}_waveform` (float32 [samples], -1..1), with a text
part `case{i}_text`, and for every output of every part `case{i}_{part}_{output}` without the
batch axis, as the graph gives it.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.errors import BundleFormatError
from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.bundle import Bundle
from realtime_ser.models.experts import ExpertOutput
from realtime_ser.models.fusion import TextAnswers
from realtime_ser.models.ort import choose_provider
from realtime_ser.types import SAMPLE_RATE_HZ

_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one output of one case is from its record.

    Attributes:
        max_abs_error: the largest absolute difference, in the unit of the output.
        scale: the largest absolute value in the record.
    """

    case: int
    part: str
    output: str
    max_abs_error: float
    scale: float

    @property
    def error(self) -> float:
        """What the tolerance is held against: a share of the scale where that is above 1.

        Logits are a few nats. An embedding is in a unit of its own: averaged cepstral coefficients
        are in the hundreds, whose last digits say nothing.
        """
        return self.max_abs_error / max(1.0, self.scale)


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """The result of a replay.

    Attributes:
        provider: ONNX Runtime's name of the execution provider that ran.
        execution: how each part ran, in a few words, by its name.
    """

    deviations: tuple[Deviation, ...]
    tolerance: float
    provider: str
    execution: Mapping[str, str]

    @property
    def worst(self) -> Deviation:
        """The largest deviation."""
        return max(self.deviations, key=lambda deviation: deviation.error)

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return self.worst.error <= self.tolerance

    @property
    def how(self) -> str:
        """The provider, and how the parts ran on it."""
        ways = dict.fromkeys(self.execution.values())
        parts = {way: [name for name, own in self.execution.items() if own == way] for way in ways}
        said = [way if len(ways) == 1 else f"{', '.join(parts[way])}: {way}" for way in ways]
        return f"{self.provider} ({'; '.join(said)})"


def verify_golden(
    bundle: Bundle, *, device: str = "cpu", threads: int = 0, bound: bool | None = None
) -> GoldenReport:
    """Replay all cases of the bundle, as it is served: bound and captured where that is done.

    Args:
        bound: as of `BundleAnalyzer`.

    Raises:
        BundleFormatError: a graph, or the record itself, does not fit the description.
        InferenceError: a graph fails, or `device` does not work.
    """
    analyzer = BundleAnalyzer(bundle, choose_provider(device), threads=threads, bound=bound)
    golden = bundle.description.golden
    path = bundle.file(golden.file)
    record = _read_record(path)
    heard = (array.size for name, array in record.items() if name.endswith("_waveform"))
    analyzer.warm_up(max(heard, default=0) / SAMPLE_RATE_HZ)
    deviations: list[Deviation] = []
    case = 0
    while f"case{case}_waveform" in record:
        for part, values in _replay(analyzer, record, case, path).items():
            for output, value in values.items():
                expected = _take(record, f"case{case}_{part}_{output}", path)
                if expected.shape != value.shape[1:]:
                    raise BundleFormatError(
                        f"{path}, array case{case}_{part}_{output}: has shape {expected.shape}, "
                        f"the graph gives {value.shape[1:]}; re-export the bundle"
                    )
                error = float(np.abs(expected - value[0]).max())
                scale = float(np.abs(expected).max())
                if not np.isfinite(error):
                    # A NaN in the record would compare as no deviation at all.
                    error, scale = float("inf"), 1.0
                deviations.append(Deviation(case, part, output, error, scale))
        case += 1
    if not deviations:
        raise BundleFormatError(f"{path}: has no case0_waveform; re-export the bundle")
    return GoldenReport(
        tuple(deviations), golden.tolerance, analyzer.provider.name, analyzer.execution
    )


def _replay(
    analyzer: BundleAnalyzer, record: _Arrays, case: int, path: Path
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Outputs by part and name, with a batch axis of one."""
    labels = analyzer.bundle.description.labels
    waveform = _take(record, f"case{case}_waveform", path)
    if waveform.dtype != np.float32 or waveform.ndim != 1:
        raise BundleFormatError(
            f"{path}, array case{case}_waveform: must be float32 [samples]; re-export the bundle"
        )
    results = {expert.part.name: expert.run([waveform]) for expert in analyzer.audio}
    audio = [ExpertOutput(e.part, results[e.part.name], labels) for e in analyzer.audio]
    text = TextAnswers((), ())
    if analyzer.text:
        words = str(_take(record, f"case{case}_text", path))
        results |= {expert.part.name: expert.run([words]) for expert in analyzer.text}
        answers = (ExpertOutput(e.part, results[e.part.name], labels) for e in analyzer.text)
        text = TextAnswers((0,), tuple(answers))
    if analyzer.fusion:
        results[analyzer.fusion.part.name] = analyzer.fusion.run(audio, text)
    return results


def _read_record(path: Path) -> _Arrays:
    try:
        # Opened here: np.load leaves the file open when its content is no zip.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return dict(archive.items())
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # TypeError: a bare array came, which is no context manager.
        raise BundleFormatError(
            f"{path}: is not an npz without pickles ({error}); re-export the bundle"
        ) from error


def _take(record: _Arrays, name: str, path: Path) -> NDArray[Any]:
    if name not in record:
        raise BundleFormatError(f"{path}: has no array {name}; re-export the bundle")
    return record[name]
