"""What the bundle writer leaves behind is what the product's loader reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from realtime_ser.models.bundle_parse import parse_description
from realtime_ser_export.audio_encoder import AudioEncoder
from realtime_ser_export.corpora import LABELS
from realtime_ser_export.figures import Calibration
from realtime_ser_export.model_card import model_card
from realtime_ser_export.write_bundle import finish_bundle, replace_directory

CALIBRATION = Calibration(1.25, 0.3, 0.05, 0.9)


def metric(name: str, value: float, **more: object) -> dict[str, object]:
    base = {"dataset": "CREMA-D", "split": "test", "count": 10, "protocol": "made up"}
    return {"name": name, "value": value, **base, **more}


METRICS = [
    metric("unweighted_average_recall", 0.6, classes=6, protocol="x over clips 0.550 to 0.650"),
    metric("weighted_accuracy", 0.5, classes=6),
    metric("unweighted_average_recall", 0.4, classes=6),
    metric("unweighted_average_recall", 0.3, dataset="mean of five", protocol="a; first 1 s; b"),
    metric("expected_calibration_error", 0.04, dataset="all"),
    metric("share_abstained", 0.9, dataset="noise"),
    *(metric(f"share_{label}", 1 / 7, dataset="noise") for label in LABELS),
    metric("share_neutral", 0.25, dataset="neutral reading"),
]
TRAINING = {
    "total_steps": 10,
    "total_seconds": 60.0,
    "step": 8,
    "batch_size": 64,
    "dev_recall": 0.5,
}


@pytest.fixture(scope="module")
def bundle(exported: tuple[AudioEncoder, Path]) -> Path:
    model, folder = exported
    card = model_card(
        parameters=1234,
        training=TRAINING,
        calibration=CALIBRATION,
        metrics=METRICS,
        speakers=9,
        torch_version="2.0",
    )
    finish_bundle(folder, model, CALIBRATION, METRICS, card)
    return folder


def test_the_loader_reads_it(bundle: Path) -> None:
    described = parse_description((bundle / "bundle.json").read_bytes(), "bundle.json")
    assert described.labels == LABELS
    assert described.calibration.temperature == 1.25
    assert len(described.metrics) == len(METRICS)
    assert set(described.files) == {"audio/model.onnx", "golden.npz", "MODEL_CARD.md"}


def test_golden_cases_are_named_as_the_contract_says(bundle: Path) -> None:
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        assert golden["case0_audio_logits"].shape == (7,)
        assert golden["case1_audio_embedding"].shape == (8,)
        assert golden["case2_waveform"].dtype == np.float32
    assert (bundle / "golden.npz").stat().st_size < 200_000


def test_the_card_shows_the_figures(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| CREMA-D | 10 | 6 | 0.600 (0.550-0.650) | 0.500 | 0.400 |" in card
    assert "| noise (10) | 90% |" in card
    assert "25% are heard as neutral" in card


def test_a_new_bundle_takes_the_place_of_the_old(tmp_path: Path) -> None:
    for name in ("new", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(json.dumps(name))
    (tmp_path / "place" / "stale.onnx").touch()
    replace_directory(tmp_path / "new", tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["bundle.json"]
