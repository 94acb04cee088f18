"""Encoder folders of speech models: what is served is what the original says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum.exporters", reason="optimum is not installed")

from realtime_ser_export import cli  # noqa: E402
from realtime_ser_export.encoder_folder import GRAPH_FILE, graph_files, read_record  # noqa: E402
from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.graphs.parity import check  # noqa: E402
from realtime_ser_export.graphs.parity_cases import Case  # noqa: E402
from realtime_ser_export.graphs.served import serve_folder  # noqa: E402
from realtime_ser_export.huggingface import audio_export, mfcc_encoder  # noqa: E402
from realtime_ser_export.huggingface.audio import load_audio  # noqa: E402
from realtime_ser_export.huggingface.audio_export import export_audio  # noqa: E402
from realtime_ser_export.verbs import audio  # noqa: E402

RandomFolder = Callable[..., Path]

FAMILIES = {
    "wav2vec2": {"head": "classification"},
    "hubert": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
    "wavlm": {},
    "unispeech-sat": {"head": "classification", "use_weighted_layer_sum": True},
    "data2vec-audio": {},
    "wav2vec2-conformer": {"head": "classification"},
    "whisper": {"head": "classification", "max_source_positions": 100},
    "whisper, utterance only": {"utterance_only": True, "max_source_positions": 100},
    "moonshine": {},
    "audio-spectrogram-transformer": {"head": "classification", "max_length": 300},
}
# The graph is traced with two rows of 1.06 s and 0.77 s.
SECONDS = (0.025, 0.4, 1.7, 3.3)


def utterance(samples: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0.02, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_serves_what_the_original_says(
    name: str, random_folder: RandomFolder, tmp_path: Path
) -> None:
    family = name.partition(",")[0]
    model = load_audio(random_folder(family, **FAMILIES[name]))
    audio_export.write_graph(model, tmp_path / GRAPH_FILE)
    bounds = model.part["minimum_samples"], model.part["maximum_samples"]
    rows = tuple(utterance(int(np.clip(16_000 * each, *bounds)), 7) for each in SECONDS)
    alone = [Case(f"{len(row)} samples", (row,)) for row in rows]
    together = [Case("mixed", rows), Case("mixed, noise as padding", rows, garbage=True)]
    five = Case("five of one length", tuple(utterance(9_001, seed) for seed in range(5)))
    report = check(tmp_path, model.part, model.reference, [*alone, *together, five], tolerance=1e-4)
    assert report.passed, report.worst


@pytest.fixture(scope="module")
def folder(random_folder: RandomFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported dimensional model, as audeering's."""
    out = tmp_path_factory.mktemp("encoders") / "dimensional"
    export_audio(str(random_folder("wav2vec2", head="regression")), out, affect_range=(0, 1))
    return out


def test_the_record_says_what_was_exported(folder: Path, random_folder: RandomFolder) -> None:
    source = random_folder("wav2vec2", head="regression")
    record = read_record(folder)
    assert record.modality == "audio" and record.precision == "float32" and record.opset >= 17
    assert record.source.model == source.name
    assert record.source.architecture == "Wav2Vec2ForSpeechClassification"
    assert record.part["batching"] == "masked"
    assert record.part["file"] == GRAPH_FILE and len(graph_files(folder)) == 1
    assert record.nodes["exported"] > 0
    assert max(row["max_abs_error"] for row in record.parity) < 1e-4
    text = (folder / "encoder.json").read_text()
    assert str(source.parent) not in text


def test_affect_is_served_as_the_runtime_names_it(folder: Path) -> None:
    """The graph says arousal, dominance, valence; the product valence, arousal, dominance."""
    encoder = serve_folder(folder)
    samples = (32768 * utterance(9_000)).astype(np.int16)
    raw = encoder.expert.run([samples.astype(np.float32) / 32768])["affect"][0]
    affect = encoder.expert.hear([samples]).affect
    assert affect is not None
    np.testing.assert_allclose(affect[0], raw[[2, 0, 1]], atol=1e-6)


def test_names_in_the_graph_hold_the_scopes_of_single_precision(folder: Path) -> None:
    import onnx

    names = [node.name for node in onnx.load(str(folder / GRAPH_FILE)).graph.node]
    for scope in read_record(folder).float32_scopes:
        assert any(name.startswith(scope) for name in names), scope
    assert any(name.startswith("/encoder/positions/") and "Conv" in name for name in names)


class Deaf(torch.nn.Module):
    """Takes the mean over the padding too."""

    def forward(self, waveform: Any, lengths: Any) -> Any:
        # One output that hears the lengths, or they would be no input of the graph.
        return waveform.mean(1, keepdim=True) * 100, lengths[:, None] * 0.0


def test_padding_that_matters_forbids_mixed_lengths(
    random_folder: RandomFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_audio(random_folder("wav2vec2"))
    part = {**model.part, "outputs": [{"name": "mean"}, {"name": "nothing"}]}
    deaf = dataclasses.replace(model, module=Deaf(), part=part)
    audio_export.write_graph(deaf, tmp_path / GRAPH_FILE)
    assert audio_export.measured_batching(tmp_path / GRAPH_FILE, part) == "exact_length"
    assert "padding changes answers by" in capsys.readouterr().err


def test_a_graph_that_differs_is_not_written(random_folder: RandomFolder, tmp_path: Path) -> None:
    """No float32 graph is this close."""
    with pytest.raises(ExportError, match="do not ship it"):
        export_audio(str(random_folder("hubert")), tmp_path / "out", tolerance=1e-12)
    assert not [*tmp_path.iterdir()]


def test_averaged_mfcc_needs_no_model(tmp_path: Path) -> None:
    assert audio.WITHOUT_MODEL == mfcc_encoder.NAME
    record = export_audio(mfcc_encoder.NAME, tmp_path / "mfcc")
    assert record.part["parameters"] == 0
    assert record.part["outputs"][0]["shape"] == ["batch", 128]
    with pytest.raises(ExportError, match="has no head"):
        export_audio("mfcc-mean", tmp_path / "mfcc", head="classification")


def test_the_verb(
    random_folder: RandomFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = random_folder("hubert", head="classification", labels=("sad", "angry"))
    out = tmp_path / "heard"
    assert cli.main(["audio", str(source), "--out", str(out), "--name-labels", "low, high"]) == 0
    said = capsys.readouterr().out
    assert "logits: low, high" in said and "embedding: 32 wide" in said
    assert "hears up to 30 s; batches of mixed lengths" in said
    assert read_record(out).part["outputs"][0]["labels"] == ["low", "high"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--head", "regression"], "has no head"),
        (["--revision", "main"], "--revision goes with a model of the hub"),
    ],
)
def test_the_verb_says_in_one_line_what_is_wrong(
    more: list[str],
    message: str,
    random_folder: RandomFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = random_folder("hubert")
    assert cli.main(["audio", str(source), "--out", str(tmp_path / "out"), *more]) == 4
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("realtime-ser-export: error: ") and message in error
    assert not (tmp_path / "out").exists()
