"""A bundle in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realtime_ser.errors import ModelUnavailableError
from realtime_ser.models.bundle import load_bundle
from realtime_ser.models.describe import describe, describe_transcriber, format_bytes


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
        "none test, n = 10, 7 classes",
        "0.5     ",
        ": speaker-independent",
    ):
        assert said in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_precision_is_said_where_it_is_known(tiny_bundle: Callable[..., Path]) -> None:
    def in_half(description: dict[str, Any]) -> None:
        description["parts"]["audio"][0]["precision"] = "float16"

    text = describe(load_bundle(tiny_bundle(edit=in_half)))
    assert (
        "audio (audio/model.onnx): 14 parameters; 571 B; 0.025 to 2 s of audio; in float16" in text
    )


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


def test_a_transcription_model_says_what_it_is_for(whisper_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kiosk"
    shutil.copytree(whisper_folder, folder)
    assert "nothing is said about it" in describe_transcriber("kiosk", folder)
    (folder / "realtime_ser.json").write_text(
        json.dumps(
            {
                "description": "knows the orders of our kiosk",
                "languages": ["en", "pl"],
                "license": "CC-BY-4.0",
                "measured": ["word error rate 2 %", "unknown sentences dropped 91 %"],
                "gates": {"min_avg_logprob": -0.25, "min_token_logprob": -0.9},
            }
        )
    )
    lines = describe_transcriber("kiosk", folder).splitlines()
    assert lines[0] == "transcription kiosk: knows the orders of our kiosk"
    assert "licence       CC-BY-4.0 (the weights)" in lines
    assert "languages     en, pl" in lines
    assert (
        "dropped       texts of a mean log probability under -0.25, with a token under -0.9, "
        "or that repeat themselves 2.4 times"
    ) in lines
    assert lines[-2:] == [
        "measured      word error rate 2 %",
        "              unknown sentences dropped 91 %",
    ]
    (folder / "realtime_ser.json").write_text('{"gates": 3}')
    with pytest.raises(ModelUnavailableError, match=r"damaged profile: .*gates is no JSON object"):
        describe_transcriber("kiosk", folder)
