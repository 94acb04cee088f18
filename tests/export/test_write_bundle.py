"""What the bundle writer leaves behind is what the product's loader reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime_ser.models.bundle import load_bundle
from realtime_ser_export.bundles.golden import GoldenCase, GoldenInput
from realtime_ser_export.bundles.write_bundle import finish_bundle
from realtime_ser_export.errors import ExportError

PARTS = ("audio", "text", "fusion")


@pytest.fixture
def unfinished(small_bundle: Path, tmp_path: Path) -> Path:
    """The graphs of a bundle with audio, text and fusion, and nothing else."""
    folder = tmp_path / "mine"
    for part in PARTS:
        shutil.copytree(small_bundle / part, folder / part)
    return folder


@pytest.fixture
def description(small_bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((small_bundle / "bundle.json").read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key != "files"}


@pytest.fixture
def cases(small_bundle: Path) -> Callable[..., list[GoldenCase]]:
    def read(shift: float = 0.0) -> list[GoldenCase]:
        with np.load(small_bundle / "golden.npz", allow_pickle=False) as golden:
            return [
                GoldenCase(
                    GoldenInput(golden[f"case{i}_waveform"], str(golden[f"case{i}_text"])),
                    {
                        part: {
                            name.removeprefix(f"case{i}_{part}_"): golden[name] + shift
                            for name in golden
                            if name.startswith(f"case{i}_{part}_")
                        }
                        for part in PARTS
                    },
                    has_text=True,
                )
                for i in (0, 1)
            ]

    return read


def test_the_loader_reads_it(
    unfinished: Path, description: dict[str, Any], cases: Callable[..., list[GoldenCase]]
) -> None:
    finish_bundle(unfinished, description, cases(), "# Card\n")
    described = load_bundle(unfinished).description
    assert set(described.files) == {
        *("audio/model.onnx", "text/model.onnx", "text/tokenizer.json", "fusion/model.onnx"),
        *("golden.npz", "MODEL_CARD.md"),
    }
    assert (unfinished / "MODEL_CARD.md").read_text(encoding="utf-8") == "# Card\n"
    with np.load(unfinished / "golden.npz", allow_pickle=False) as golden:
        assert golden["case0_audio_logits"].shape == (7,)
        assert golden["case1_audio_embedding"].shape == (2,)
        assert golden["case1_waveform"].dtype == np.float32


def test_a_graph_that_answers_otherwise_is_no_bundle(
    unfinished: Path, description: dict[str, Any], cases: Callable[..., list[GoldenCase]]
) -> None:
    with pytest.raises(ExportError, match=r"part \w+, output \w+ differs by"):
        finish_bundle(unfinished, description, cases(shift=0.5), "# Card\n")
