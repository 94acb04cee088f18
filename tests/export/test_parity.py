"""The comparison itself, on graphs whose answers can be worked out by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import AUDIO_MATRIX, TEXT_MATRIX, text_embedding, write_tiny_bundle

pytest.importorskip("soundfile", reason="soundfile is not installed: pip install '.[export]'")

from realtime_ser_export.errors import ExportError
from realtime_ser_export.graphs.parity import (
    EVERYTHING,
    TOLERANCES,
    ParityReport,
    Tolerance,
    check,
    table,
)
from realtime_ser_export.graphs.parity_cases import Case, cases
from realtime_ser_export.graphs.served import read_part

Reference = Any


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", text=True)


def part_of(bundle: Path, modality: str = "audio") -> dict[str, Any]:
    description = json.loads((bundle / "bundle.json").read_text())
    part: dict[str, Any] = description["parts"][modality][0]
    return part


def hear(waveform: Any) -> dict[str, Any]:
    """What the tiny audio graph computes, in float64."""
    x = waveform.astype(np.float64)
    embedding = np.array([x.mean(), (x * x).mean()])
    return {"embedding": embedding, "logits": embedding @ AUDIO_MATRIX}


def read(text: str) -> dict[str, Any]:
    words = re.findall(r"\w+|[^\w\s]+", text)[:8]
    embedding = text_embedding(" ".join(words))
    return {"embedding": embedding, "logits": (embedding @ TEXT_MATRIX)[None]}


def compare(
    bundle: Path, reference: Reference, which: str = "fast", **options: Any
) -> ParityReport:
    """The tiny graph takes zeros as padding, but not noise."""
    part = part_of(bundle) | {"maximum_samples": 480_000}
    chosen = [case for case in cases(read_part(part), which) if not case.garbage]
    return check(bundle / part["file"], part, reference, chosen, **options)


def test_equal_graphs_pass_in_every_case(bundle: Path) -> None:
    report = compare(bundle, hear, "full")
    assert report.passed
    assert report.worst.error < 1e-4
    assert {"0.40 s", "30.00 s", "silence", EVERYTHING} <= {row.case for row in report.rows}
    assert {row.batch for row in report.rows if row.case.endswith("of 1.01 s")} == {*range(2, 9)}
    report.require("the tiny graph")


def test_a_difference_in_one_length_is_found_and_named(bundle: Path) -> None:
    def forgetful(waveform: Any) -> dict[str, Any]:
        values = hear(waveform)
        return values if len(waveform) < 40_000 else {**values, "logits": values["logits"] + 0.01}

    report = compare(bundle, forgetful)
    assert not report.passed
    assert report.worst.output == "logits"
    failed = {row.case for row in report.rows if not row.passed}
    assert "3.01 s" in failed
    assert "0.40 s" not in failed
    with pytest.raises(ExportError, match=r"the tiny graph does not answer.*logits.*0\.01"):
        report.require("the tiny graph")
    assert compare(bundle, forgetful, tolerance=0.02).passed


def test_padding_that_matters_is_found(bundle: Path) -> None:
    """The graph divides by the true length but sums up whatever it is given."""
    part = part_of(bundle)
    report = check(bundle / part["file"], part, hear, "fast")
    failed = {row.case for row in report.rows if not row.passed}
    assert failed == {"1 with noise as padding", "3 with noise as padding"}


def test_exact_lengths_are_not_padded(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", batching="exact_length")
    part = part_of(bundle)
    assert check(bundle / part["file"], part, hear, "fast").passed


def test_lengths_stay_within_those_of_the_part(bundle: Path) -> None:
    part = read_part(part_of(bundle) | {"minimum_samples": 8_000, "maximum_samples": 50_000})
    lengths = {len(waveform) for case in cases(part) for waveform in case.inputs}
    assert min(lengths) == 8_000
    assert max(lengths) == 50_000


def test_texts_are_compared_alone_and_padded(bundle: Path) -> None:
    part = part_of(bundle, "text")
    chosen = [
        Case("one", ("what a lovely day",)),
        Case("three", ("what", "a lovely day", "what a day")),
        Case("noise", ("what", "a lovely day"), garbage=True),
    ]
    assert check(bundle / part["file"], part, read, chosen).passed
    assert not check(
        bundle / part["file"], part, lambda text: read(text.replace("day", "lovely")), chosen
    ).passed


def test_every_built_in_text_is_run(bundle: Path) -> None:
    part = part_of(bundle, "text")
    seen: set[str] = set()

    def remember(text: str) -> dict[str, Any]:
        seen.add(text)
        return read(text)

    chosen = [case for case in cases(read_part(part)) if len(case.inputs) == 1]
    # The tiny graph divides by the number of tokens, and its tokenizer adds none to a text.
    check(bundle / part["file"], part, remember, [case for case in chosen if case.inputs[0]])
    assert any("খুশি" in text for text in seen)


@pytest.mark.parametrize(
    ("flaw", "tolerance", "passes"),
    [
        ("error", Tolerance(error=0.05, cosine=0, labels=0), False),
        ("error", Tolerance(error=0.2, cosine=0, labels=0), True),
        ("turned", Tolerance(error=9, cosine=0.9, labels=0), False),
        ("turned", Tolerance(error=9, cosine=-1.1, labels=0), True),
        ("label", Tolerance(error=99, cosine=0, labels=0.9), False),
        ("label", Tolerance(error=99, cosine=0, labels=0), True),
    ],
)
def test_each_tolerance_is_held(
    bundle: Path, flaw: str, tolerance: Tolerance, passes: bool
) -> None:
    def flawed(waveform: Any) -> dict[str, Any]:
        values = hear(waveform)
        if flaw == "error":
            values["logits"] = values["logits"] + 0.1
        elif flaw == "turned":
            values["embedding"] = -values["embedding"]
        else:
            values["logits"] = np.roll([9.0, 0, 0, 0, 0, 0, 0], int(values["logits"].argmax()) + 1)
        return values

    assert compare(bundle, flawed, tolerance=tolerance).passed is passes


def test_rows_are_json_and_the_table_marks_the_worst(bundle: Path) -> None:
    report = compare(bundle, hear, tolerance=TOLERANCES["float32"])
    rows = json.loads(json.dumps(report.as_json()))
    assert len(rows) == len(report.rows)
    assert rows[0]["case"] == "0.40 s"
    lines = table(report)
    assert sum("<- worst" in line for line in lines) == 1
    assert lines[-1].startswith("passed: error at most 0.001")
    assert max(map(len, lines[:-1])) <= 110


def test_a_model_that_lacks_an_output_is_an_error_of_ours(bundle: Path) -> None:
    with pytest.raises(ExportError, match="the graph logits too"):
        compare(bundle, lambda waveform: {"embedding": hear(waveform)["embedding"]})


def test_a_part_that_lacks_a_field_is_an_error_of_ours(bundle: Path) -> None:
    part = part_of(bundle)
    del part["minimum_samples"]
    with pytest.raises(ExportError, match="minimum_samples"):
        check(bundle / "audio/model.onnx", part, hear)
