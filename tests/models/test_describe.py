"""A bundle in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.describe import describe, format_bytes


def test_everything_that_a_user_must_know_is_said(tiny_bundle: Callable[..., Path]) -> None:
    bundle = load_bundle(tiny_bundle(text=True, fusion=True))
    text = describe(bundle)
    for said in (
        "tiny 0.0.1: A bundle for tests.",
        bundle.hash,
        "CC0-1.0 (the weights)",
        "none, CC0-1.0: nothing",
        "angry, disgust, fearful, happy, neutral, sad, surprised",
        "audio (audio/model.onnx): 14 parameters; 571 B; 0.025 to 2 s of audio",
        "fusion (fusion/model.onnx): 624 B; gives logits",
        "label centroids (made up)",
        "temperature 2; abstains when the top one is below 0.3",
        "0.5 on none test (speaker-independent, n = 10, 7 classes)",
    ):
        assert said in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_affect_of_a_graph_and_no_measurements(tiny_bundle: Callable[..., Path]) -> None:
    path = tiny_bundle(affect_output=True, edit=lambda description: description["metrics"].clear())
    text = describe(load_bundle(path))
    assert "directly, from audio" in text
    assert text.splitlines()[-1].split() == ["measured", "none"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (11_900_000, "11.9 MB"), (2_340_000_000, "2.3 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert format_bytes(count) == text
