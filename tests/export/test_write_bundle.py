"""What the bundle writer leaves behind is what the product's loader reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from realtime_ser.models.bundle import load_bundle
from realtime_ser_export.bundles.default_bundle import describe, golden_cases
from realtime_ser_export.bundles.model_card import model_card
from realtime_ser_export.bundles.write_bundle import finish_bundle
from realtime_ser_export.errors import ExportError
from realtime_ser_export.speech.audio_encoder import AudioEncoder
from realtime_ser_export.training.corpora import LABELS
from realtime_ser_export.training.figures import Calibration

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
def bundle(exported: tuple[AudioEncoder, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, graphs = exported
    folder = tmp_path_factory.mktemp("finished") / "default"
    shutil.copytree(graphs, folder)
    card = model_card(
        parameters=1234,
        training=TRAINING,
        calibration=CALIBRATION,
        metrics=METRICS,
        speakers=9,
        torch_version="2.0",
    )
    finish_bundle(folder, describe(model, CALIBRATION, METRICS), golden_cases(model), card)
    return folder


def test_the_loader_reads_it(bundle: Path) -> None:
    described = load_bundle(bundle).description
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


def test_a_graph_of_other_weights_is_no_bundle(
    exported: tuple[AudioEncoder, Path], tmp_path: Path
) -> None:
    """The golden answers are the network's own, so they do not come true for another one."""
    import torch

    model, graphs = exported
    shutil.copytree(graphs, tmp_path / "bundle")
    torch.manual_seed(1)
    other = AudioEncoder(model.config).eval()
    with pytest.raises(ExportError, match=r"part audio, output \w+ differs"):
        finish_bundle(
            tmp_path / "bundle",
            describe(model, CALIBRATION, METRICS),
            golden_cases(other),
            "# Card\n",
        )
