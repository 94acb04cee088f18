"""The replay of recorded cases."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle as tiny

from realtime_ser.errors import BundleFormatError
from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.golden import Deviation, GoldenReport, verify_golden

Write = Callable[..., Path]


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record and hash the bundle again, as a wrong exporter would."""
    with np.load(path / "golden.npz") as archive:
        record = dict(archive.items())
    change(record)
    np.savez(path / "golden.npz", **record)
    reseal(path)


def reseal(path: Path) -> None:
    description = json.loads((path / "bundle.json").read_text())
    description["files"] = tiny.file_records(path)
    tiny.seal(path, description)


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("batching", ["masked", "exact_length"])
def test_a_good_bundle_passes(tiny_bundle: Write, batching: str, bound: bool) -> None:
    path = tiny_bundle(batching=batching, text=True, fusion=True)
    report = verify_golden(load_bundle(path), threads=1, bound=bound)
    assert report.passed
    how = "bound" if bound else "arrays in and out"
    assert report.execution == dict.fromkeys(("audio", "text", "fusion"), how)
    assert report.provider == "CPUExecutionProvider"
    assert {(d.case, d.part, d.output) for d in report.deviations} == {
        (case, part, output)
        for case in (0, 1)
        for part, output in [
            ("audio", "logits"),
            ("audio", "embedding"),
            ("text", "logits"),
            ("text", "embedding"),
            ("fusion", "logits"),
        ]
    }


def test_audio_alone_with_affect_passes(tiny_bundle: Write) -> None:
    report = verify_golden(load_bundle(tiny_bundle(affect_output=True)), threads=1)
    assert report.passed
    assert "affect" in {deviation.output for deviation in report.deviations}


@pytest.mark.parametrize("error", [0.01, np.nan, np.inf])
def test_a_deviation_is_found_and_named(tiny_bundle: Write, error: float) -> None:
    path = tiny_bundle(text=True, fusion=True)

    def change(record: dict[str, Any]) -> None:
        record["case1_text_logits"][3] += error

    rewrite(path, change)
    report = verify_golden(load_bundle(path), threads=1)
    assert not report.passed
    assert (report.worst.case, report.worst.part, report.worst.output) == (1, "text", "logits")
    assert sum(d.error > report.tolerance for d in report.deviations) == 1


def test_large_values_are_held_to_the_same_share_of_themselves() -> None:
    logits = Deviation(0, "audio", "logits", max_abs_error=2e-3, scale=0.5)
    embedding = Deviation(0, "audio", "embedding", max_abs_error=2e-2, scale=300.0)
    assert not GoldenReport((logits, embedding), 1e-3, "CPUExecutionProvider", {}).passed
    assert GoldenReport((embedding,), 1e-3, "CPUExecutionProvider", {}).passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("case0_waveform"), "has no case0_waveform"),
        (lambda record: record.pop("case1_audio_logits"), "has no array case1_audio_logits"),
        (lambda record: record.pop("case1_text"), "has no array case1_text"),
        (
            lambda record: record.update(case0_audio_logits=np.zeros(6, np.float32)),
            r"case0_audio_logits: has shape \(6,\), the graph gives \(7,\)",
        ),
        (
            lambda record: record.update(case0_waveform=np.zeros(4000)),
            r"case0_waveform: must be float32 \[samples\]",
        ),
    ],
)
def test_a_record_that_does_not_fit(
    tiny_bundle: Write, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = tiny_bundle(text=True, fusion=True)
    rewrite(path, change)
    with pytest.raises(BundleFormatError, match=message):
        verify_golden(load_bundle(path), threads=1)


def pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, case0_waveform=np.array([{"code": "here"}], dtype=object))
    return stream.getvalue()


def bare() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no zip", b"no zip", pickled(), bare()])
def test_a_file_that_is_no_record(tiny_bundle: Write, content: bytes) -> None:
    path = tiny_bundle()
    (path / "golden.npz").write_bytes(content)
    reseal(path)
    with pytest.raises(BundleFormatError, match="is not an npz without pickles"):
        verify_golden(load_bundle(path), threads=1)
