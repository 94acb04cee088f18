"""The committed bundles hold what their `bundle.json` says. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import realtime_ser

MODELS = Path(realtime_ser.__file__).parent / "models"


@pytest.fixture(scope="module", params=("default", "permissive"))
def folder(request: pytest.FixtureRequest) -> Path:
    return MODELS / str(request.param)


@pytest.fixture(scope="module")
def described(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    return content


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_has_its_hash(folder: Path, described: dict[str, Any]) -> None:
    assert set(described["files"]) == {
        *("audio/model.onnx", "text/model.onnx", "text/tokenizer.json", "fusion/model.onnx"),
        *("golden.npz", "MODEL_CARD.md"),
    }
    for file, record in described["files"].items():
        assert sha256(folder / file) == record["sha256"], file
        assert (folder / file).stat().st_size == record["bytes"], file
    digest = (folder / "bundle.json.sha256").read_text(encoding="utf-8")
    assert digest == f"{sha256(folder / 'bundle.json')}  bundle.json\n"


def test_it_is_small(described: dict[str, Any]) -> None:
    assert sum(record["bytes"] for record in described["files"].values()) < 12_000_000
    assert described["files"]["golden.npz"]["bytes"] < 200_000


def test_the_graph_is_as_described(folder: Path, described: dict[str, Any]) -> None:
    (part,) = described["parts"]["audio"]
    session = onnxruntime.InferenceSession(
        str(folder / part["file"]), providers=["CPUExecutionProvider"]
    )
    for kind, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        types = {"tensor(float)": "float32", "tensor(int64)": "int64"}
        assert [(value.name, types[value.type]) for value in found] == [
            (spec["name"], spec["dtype"]) for spec in part[kind]
        ]
    logits = next(spec for spec in part["outputs"] if spec["role"] == "logits")
    assert sorted(logits["labels"]) == sorted(described["labels"])
    assert session.get_outputs()[0].shape[1] == len(described["labels"])


def test_its_golden_cases_replay(folder: Path, described: dict[str, Any]) -> None:
    session = onnxruntime.InferenceSession(
        str(folder / "audio" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    with np.load(folder / described["golden"]["file"], allow_pickle=False) as golden:
        cases = sorted(name.split("_")[0] for name in golden if name.endswith("_waveform"))
        assert len(cases) >= 2
        for case in cases:
            waveform = golden[f"{case}_waveform"]
            lengths = np.array([len(waveform)], np.int64)
            answers = session.run(None, {"waveform": waveform[None], "lengths": lengths})
            for name, answer in zip(("logits", "embedding"), answers, strict=True):
                expected = golden[f"{case}_audio_{name}"]
                assert np.abs(answer[0] - expected).max() <= described["golden"]["tolerance"]


def test_the_head_takes_what_the_encoders_give(folder: Path, described: dict[str, Any]) -> None:
    head = described["parts"]["fusion"]
    widths = {spec["name"]: spec["shape"][-1] for spec in head["inputs"]}
    for modality in ("audio", "text"):
        (part,) = described["parts"][modality]
        (embedding,) = (spec for spec in part["outputs"] if spec["role"] == "embedding")
        assert widths[f"{modality}_embedding"] == embedding["shape"][1]
    session = onnxruntime.InferenceSession(
        str(folder / head["file"]), providers=["CPUExecutionProvider"]
    )
    assert [value.name for value in session.get_outputs()] == ["logits", "affect"]


def test_affect_and_figures_are_there(described: dict[str, Any]) -> None:
    assert described["affect"]["part"] == "fusion"
    assert "Russell" in described["affect"]["source"]
    assert 0 < described["calibration"]["abstain_below"] < 1
    recalls = [m for m in described["metrics"] if m["name"] == "unweighted_average_recall"]
    assert {"CREMA-D", "RAVDESS", "EmoDB", "nEMO", "BanglaSER", "TESS"} <= {
        metric["dataset"] for metric in recalls
    }
    assert all(metric["protocol"] and metric["count"] > 0 for metric in recalls)
