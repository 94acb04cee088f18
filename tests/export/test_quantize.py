"""Encoder folders in other precisions, and the verbs that make and compare them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum", reason="optimum is not installed: pip install '.[export]'")
pytest.importorskip("soundfile", reason="soundfile is not installed: pip install '.[export]'")

import onnx
import soundfile

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.buckets import STEP_SAMPLES
from realtime_ser.models.bundle_description import AudioPart
from realtime_ser.models.graph import Graph
from realtime_ser.models.ort import choose_provider
from realtime_ser.models.ort_bound import bound_device
from realtime_ser_export.cli import main
from realtime_ser_export.encoder_folder import read_record, write_record
from realtime_ser_export.errors import ExportError
from realtime_ser_export.graphs.parity import EVERYTHING, Tolerance
from realtime_ser_export.graphs.parity_cases import speech
from realtime_ser_export.graphs.quantize import quantize
from realtime_ser_export.graphs.served import serve_folder
from realtime_ser_export.huggingface.audio_export import export_audio
from realtime_ser_export.huggingface.random_models import random_model
from realtime_ser_export.huggingface.text_export import export_text

ANY = Tolerance(error=1e9, cosine=-2, labels=0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `hubert`, exported as `heard`, and `bert`, exported as `read`; read-only."""
    folder = tmp_path_factory.mktemp("models")
    random_model("hubert", folder / "hubert", head="classification")
    export_audio(str(folder / "hubert"), folder / "heard")
    random_model("bert", folder / "bert", head="classification")
    export_text(str(folder / "bert"), folder / "read")
    return folder


def operators(folder: Path) -> set[str]:
    return {node.op_type for node in onnx.load(str(folder / "model.onnx")).graph.node}


def test_in_half_precision_it_is_served_as_on_a_gpu(models: Path, tmp_path: Path) -> None:
    """Bound, padded to whole seconds and full batches, but on the CPU."""
    quantize(models / "heard", tmp_path / "half", "float16")
    served = serve_folder(tmp_path / "half")
    part, provider = served.part, choose_provider("cpu")
    assert isinstance(part, AudioPart)
    device = bound_device(provider, True)
    graph = Graph(served.graph.path, part.inputs, part.outputs, provider, 1, device)
    fixed = AudioExpert(part, graph, (), pad_multiple_samples=STEP_SAMPLES)
    fixed.warm_up((speech(40_000, 0) * 20_000).astype(np.int16))
    for lengths in ([5000], [16_001], [31_999, 400, 17_000], [3000] * 5):
        waveforms = [speech(length, seed) for seed, length in enumerate(lengths)]
        found = fixed.run(waveforms)
        for name, expected in served.expert.run(waveforms).items():  # type: ignore[arg-type]
            assert found[name].dtype == np.float32
            # halves keep three digits, and a batch adds them up in another order
            np.testing.assert_allclose(found[name], expected, atol=2e-3 * np.abs(expected).max())
    assert graph.unprepared == 0


@pytest.mark.parametrize("precision", ["float16", "int8-dynamic"])
@pytest.mark.parametrize("name", ["heard", "read"])
def test_the_result_answers_as_the_original(
    models: Path, tmp_path: Path, name: str, precision: str
) -> None:
    record = quantize(models / name, tmp_path / "out", precision)
    assert read_record(tmp_path / "out") == record
    assert record.precision == precision
    assert record.part == read_record(models / name).part
    assert all(row["passed"] for row in record.parity)
    assert {row["case"] for row in record.parity} >= {EVERYTHING}
    assert (tmp_path / "out/tokenizer.json").exists() is (name == "read")
    cpu = [row for row in record.speed if row["device"] == "cpu"]
    assert all(row["ms"] > 0 and row["float32_ms"] > 0 for row in cpu)
    gpu = next(row for row in record.speed if row["device"] == "cuda")
    assert gpu.get("why") or gpu["ms"] > 0  # Measured, or said why not; never made up.
    kinds = operators(tmp_path / "out")
    assert ("MatMulInteger" in kinds) is (precision == "int8-dynamic")


def test_static_quantisation_uses_what_it_is_shown(models: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for seed in range(3):
        soundfile.write(recordings / f"{seed}.wav", speech(30_000, seed), 16_000)
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    soundfile.write(quiet / "quiet.wav", np.zeros(16_000, np.float32), 16_000)
    errors = {}
    for shown in (recordings, quiet):
        record = quantize(models / "heard", tmp_path / "out", "int8-static", shown, tolerance=ANY)
        errors[shown] = [
            row["error_to_spread"] for row in record.parity if row["case"] == EVERYTHING
        ][-1]
    assert errors[recordings] < errors[quiet]
    graph = onnx.load(str(tmp_path / "out/model.onnx")).graph
    quantized = {
        name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    reads = {node.name: not quantized.isdisjoint(node.input) for node in graph.node}
    products = [node.name for node in graph.node if node.op_type == "MatMul"]
    # Those after attention and GELU too, whose types ONNX does not infer: 6 in each of 2 layers,
    # and the projection before them.
    assert sum(reads[name] for name in products) == 13
    assert not any(reads[name] for name in reads if name.startswith("/encoder/positions/"))
    assert not any(reads[node.name] for node in graph.node if node.name.startswith("/head/"))


def test_convolutions_in_8_bits_are_a_choice(models: Path, tmp_path: Path) -> None:
    shown = {}
    for convolutions in (False, True):
        out = tmp_path / str(convolutions)
        quantize(models / "heard", out, "int8-static", tolerance=ANY, convolutions=convolutions)
        graph = onnx.load(str(out / "model.onnx")).graph
        makers = {name: node.op_type for node in graph.node for name in node.output}
        convolved = [node for node in graph.node if node.op_type == "Conv"]
        shown[convolutions] = [
            node.name for node in convolved if makers.get(node.input[0]) == "DequantizeLinear"
        ]
    assert shown[False] == []
    # Of seven, not the one over the bare waveform, and not the positional one.
    assert len(shown[True]) == 6
    assert "/encoder/positions/conv/Conv" not in shown[True]


def test_static_quantisation_of_text(models: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("I am so happy.\n\nLeave me alone!\nWhat a day\n")
    record = quantize(
        models / "read", tmp_path / "out", "int8-static", tmp_path / "texts.txt", tolerance=ANY
    )
    assert record.nodes["int8-static"] > record.nodes["optimised"]


def test_what_is_too_different_is_not_written(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the graph in int8-dynamic does not answer"):
        quantize(models / "heard", tmp_path / "out", "int8-dynamic", tolerance=1e-6)
    assert not [*tmp_path.iterdir()]


def test_errors_say_what_to_do(models: Path, tmp_path: Path) -> None:
    heard = models / "heard"
    with pytest.raises(ExportError, match="'int4'; use float16, int8-dynamic"):
        quantize(heard, tmp_path / "out", "int4")
    with pytest.raises(ExportError, match="needs no calibration"):
        quantize(heard, tmp_path / "out", "float16", tmp_path)
    with pytest.raises(ExportError, match="leaves convolutions alone"):
        quantize(heard, tmp_path / "out", "int8-dynamic", convolutions=True)
    with pytest.raises(ExportError, match="name another one"):
        quantize(heard, heard, "float16")
    with pytest.raises(ExportError, match=r"holds no \.wav or \.flac"):
        quantize(heard, tmp_path / "out", "int8-static", tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(800, np.float32), 8_000)
    with pytest.raises(ExportError, match="sampled at 8000 Hz"):
        quantize(heard, tmp_path / "out", "int8-static", tmp_path)
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(ExportError, match=r"a\.wav cannot be read"):
        quantize(heard, tmp_path / "out", "int8-static", tmp_path)
    with pytest.raises(ExportError, match="cannot be read as text"):
        quantize(models / "read", tmp_path / "out", "int8-static", tmp_path / "none.txt")
    other = tmp_path / "other"
    other.mkdir()
    write_record(replace(read_record(heard), precision="float16"), other)
    with pytest.raises(ExportError, match="is in float16 already"):
        quantize(other, tmp_path / "out", "int8-dynamic")


def test_the_verbs_from_the_command_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    arguments = ["quantize", str(models / "heard"), "--precision", "int8-dynamic"]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "times as fast as float32" in printed
    assert "cosine at least 0.99" in printed

    assert main(["parity", str(out), "--source", str(models / "hubert"), "--fast"]) == 0
    assert "passed: error at most 0.3" in capsys.readouterr().out
    strict = ["parity", str(out), "--source", str(models / "heard"), "--tolerance", "1e-5"]
    assert main([*strict, "--fast"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert "<- worst" in printed
    rows: list[dict[str, Any]] = json.loads((out / "encoder.json").read_text())["parity"]
    assert not all(row["passed"] for row in rows)

    assert main(["parity", str(models / "read"), "--source", str(models / "bert"), "--fast"]) == 0
    assert main(["parity", str(models / "read"), "--source", str(out)]) == 4
    assert "is not in float32" in capsys.readouterr().err
    assert main(["parity", str(tmp_path)]) == 4
    with pytest.raises(SystemExit, match="2"):
        main(["parity", str(out), "--tolerance", "0"])
