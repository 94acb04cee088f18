"""What is said of the default bundle: the encoder that `train-default` trains, alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..speech.audio_encoder import AudioEncoder, parameter_count
from ..speech.onnx_audio import (
    MAXIMUM_SAMPLES,
    MINIMUM_SAMPLES,
    PARITY_TOLERANCE,
    OnnxEncoder,
    export_onnx,
)
from ..training.corpora import LABELS, SAMPLE_RATE_HZ
from ..training.figures import Calibration
from .golden import GoldenCase, golden_inputs
from .write_bundle import FORMAT_VERSION

VERSION = "0.1.0"
PART = "audio"
AUDIO_FILE = "audio/model.onnx"

DATA_LICENCES = (
    ("CREMA-D", "ODbL-1.0", "training"),
    ("RAVDESS", "CC-BY-NC-SA-4.0", "training"),
    ("EmoDB", "free for research use", "training"),
    ("nEMO", "CC-BY-NC-SA-4.0", "training"),
    ("BanglaSER", "CC-BY-4.0", "training"),
    ("TESS", "CC-BY-NC-ND-4.0", "evaluation only"),
    ("LibriSpeech (200 utterances)", "CC-BY-4.0", "evaluation only"),
    ("105 non-speech recordings", "research use", "evaluation only"),
)

# Pleasure, arousal, dominance in -1..1, of the terms angry, disgusted, fearful, happy, sad and
# surprised; neutral is the midpoint by definition.
PAD = {
    "angry": (-0.51, 0.59, 0.25),
    "disgust": (-0.60, 0.35, 0.11),
    "fearful": (-0.64, 0.60, -0.43),
    "happy": (0.81, 0.51, 0.46),
    "neutral": (0.0, 0.0, 0.0),
    "sad": (-0.63, -0.27, -0.33),
    "surprised": (0.40, 0.67, -0.13),
}
PAD_SOURCE = (
    "Russell, J. A. & Mehrabian, A. (1977). Evidence for a three-factor theory of emotions. "
    "Journal of Research in Personality 11, 273-294; means of the terms angry, disgusted, fearful, "
    "happy, sad, surprised, mapped from -1..1 to 0..1; neutral set to the midpoint by us. Values "
    "checked against public copies of the table, not against the paper."
)


def centroids() -> dict[str, list[float]]:
    """Valence, arousal and dominance of each label, 0..1."""
    return {label: [round((value + 1) / 2, 4) for value in PAD[label]] for label in LABELS}


def audio_part(model: AudioEncoder) -> dict[str, Any]:
    """The description of the audio part."""
    return {
        "name": PART,
        "file": AUDIO_FILE,
        "parameters": parameter_count(model),
        "inputs": [
            {
                "name": "waveform",
                "dtype": "float32",
                "shape": ["batch", "samples"],
                "unit": "full scale, -1 to 1",
                "normalisation": "none, done in the graph",
            },
            {
                "name": "lengths",
                "dtype": "int64",
                "shape": ["batch"],
                "unit": "samples",
                "normalisation": "none",
            },
        ],
        "outputs": [
            {
                "name": "logits",
                "role": "logits",
                "dtype": "float32",
                "shape": ["batch", len(LABELS)],
                "unit": "nat",
                "labels": list(LABELS),
            },
            {
                "name": "embedding",
                "role": "embedding",
                "dtype": "float32",
                "shape": ["batch", model.config.embedding],
                "unit": "none",
            },
        ],
        "batching": "masked",
        "minimum_samples": MINIMUM_SAMPLES,
        "maximum_samples": MAXIMUM_SAMPLES,
    }


def describe(
    model: AudioEncoder, calibration: Calibration, metrics: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """`bundle.json` without the hashes of its files."""
    return {
        "format_version": FORMAT_VERSION,
        "name": "default",
        "version": VERSION,
        "description": "Seven acted emotions from the voice alone; a small conformer trained "
        "from scratch on five corpora in four languages.",
        "licence": {
            "weights": "CC-BY-NC-SA-4.0",
            "data": [
                {"name": name, "licence": licence, "used_for": used_for}
                for name, licence, used_for in DATA_LICENCES
            ],
        },
        "languages": ["en", "de", "pl", "bn"],
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": list(LABELS),
        "parts": {"audio": [audio_part(model)], "text": [], "fusion": None},
        "calibration": {
            "temperature": calibration.temperature,
            "abstain_below": calibration.abstain_below,
        },
        "affect": {"method": "label_centroids", "centroids": centroids(), "source": PAD_SOURCE},
        "metrics": list(metrics),
        "golden": {"file": "golden.npz", "tolerance": PARITY_TOLERANCE},
    }


def export_encoder(model: AudioEncoder, folder: Path) -> OnnxEncoder:
    """Write `audio/model.onnx` under `folder`, check it, and open it as it will be served."""
    path = folder / AUDIO_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(model, path)
    return OnnxEncoder(path, threads=torch.get_num_threads())


def golden_cases(model: AudioEncoder) -> tuple[GoldenCase, ...]:
    """What the network itself answers, in torch: the bundle must say the same."""
    cases = []
    for asked in golden_inputs():
        waveform = torch.from_numpy(asked.waveform[None])
        with torch.no_grad():
            logits, embedding = model(waveform, torch.tensor([len(asked.waveform)]))
        outputs = {"logits": logits[0].numpy(), "embedding": embedding[0].numpy()}
        cases.append(GoldenCase(asked, {PART: outputs}))
    return tuple(cases)
