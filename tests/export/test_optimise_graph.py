"""Attention becomes one node a layer, and the answers stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum", reason="optimum is not installed: pip install '.[export]'")
pytest.importorskip("soundfile", reason="soundfile is not installed: pip install '.[export]'")

import onnx
from transformers import AutoConfig

from realtime_ser_export.graphs.fuse_attention import BLOCKED
from realtime_ser_export.graphs.optimise_graph import optimise, optimise_folder
from realtime_ser_export.graphs.parity import check
from realtime_ser_export.huggingface.audio import load_audio
from realtime_ser_export.huggingface.audio_export import write_graph
from realtime_ser_export.huggingface.random_models import random_model
from realtime_ser_export.huggingface.text_export import export_text


@dataclass(frozen=True)
class Exported:
    folder: Path
    part: dict[str, Any]
    config: Any
    reference: Callable[[Any], Any]


def export_speech(family: str, folder: Path, **options: Any) -> Exported:
    source = random_model(family, folder / "source", **options)
    model = load_audio(source)
    write_graph(model, folder / "model.onnx")
    return Exported(folder, dict(model.part), model.config, model.reference)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("hubert", {}),
        ("wavlm", {}),
        ("whisper", {}),
        ("whisper", {"utterance_only": True}),
        ("audio-spectrogram-transformer", {}),
    ],
)
def test_attention_of_speech_models_is_fused(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = export_speech(family, tmp_path, **options)
    counts = optimise_folder(model.folder, model.part, model.config)
    assert counts.attention == 2  # Of two layers.
    assert counts.after < 0.8 * counts.before
    kinds = operators(tmp_path / "model.onnx")
    assert "Softmax" not in kinds
    assert "Erf" not in kinds
    assert kinds.count("MultiHeadAttention") == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("optimised")]
    check(tmp_path, model.part, model.reference, "fast").require(family)


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta"])
def test_attention_of_text_models_is_fused(family: str, tmp_path: Path) -> None:
    source = random_model(family, tmp_path / "source")
    record = export_text(str(source), tmp_path / "encoder")
    counts = optimise_folder(tmp_path / "encoder", record.part, AutoConfig.from_pretrained(source))
    assert counts.attention == 2
    graph = onnx.load(str(tmp_path / "encoder/model.onnx")).graph
    values = [onnx.numpy_helper.to_array(each) for each in graph.initializer]
    if family == "distilbert":  # Which has the least float there, too low for half precision.
        assert min(value.min() for value in values if value.dtype == "float32") == BLOCKED


def test_attention_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    """The conformer splits its scores by position."""
    model = export_speech("wav2vec2-conformer", tmp_path)
    counts = optimise_folder(model.folder, model.part, model.config)
    assert counts.attention == 0
    check(tmp_path, model.part, model.reference, "fast").require("the conformer")


def test_a_wrong_fusion_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = export_speech("hubert", tmp_path)
    before = (tmp_path / "model.onnx").read_bytes()
    model.config.num_attention_heads = 4  # It has two.
    counts = optimise_folder(model.folder, model.part, model.config)
    assert counts.after == counts.before
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.onnx*")] == ["model.onnx"]
    assert "the graph stays as exported" in capsys.readouterr().err


def test_optimising_twice_changes_nothing(tmp_path: Path) -> None:
    model = export_speech("hubert", tmp_path)
    first = optimise(tmp_path / "model.onnx", model.config)
    second = optimise(tmp_path / "model.onnx", model.config)
    assert second.before == second.after == first.after
