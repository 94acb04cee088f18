"""A folder of corpora as `speech.csv` describes them, made of hums, and an encoder that hears it.

Loudness tells the label, and the encoder's logits fall with the distance from each label's
loudness: what it answers can be worked out. Half of the clips are hummed as loud as another label.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import soundfile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from realtime_ser_export.encoder_folder import EncoderRecord, Source, write_record
from realtime_ser_export.training.corpora import LABELS

CORPORA = ("cremad", "ravdess", "nemo", "tess")
OF_CORPUS = {
    "cremad": LABELS[:6],
    "ravdess": LABELS,
    "nemo": tuple(label for label in LABELS if label != "disgust"),
    "tess": LABELS,
}
_SPEAKERS = 5
_COLUMNS = (
    "file",
    "corpus",
    "split",
    "speaker",
    "sex",
    "language",
    "emotion",
    "intensity",
    "votes",
    "text",
)


def write_tiny_corpus(folder: Path) -> Path:
    """Write speech.csv, speech/ and sound/ below `folder`, and return it."""
    rng = np.random.default_rng(0)
    rows = []
    for corpus in CORPORA:
        for speaker in range(_SPEAKERS):
            for take, label in enumerate(OF_CORPUS[corpus] * 2):
                file = f"{corpus}/{speaker}-{take}.flac"
                # The second take of a label is heard as the next one.
                heard = LABELS.index(label) + (take >= len(OF_CORPUS[corpus]))
                _write(folder / "speech" / file, _hum(heard % len(LABELS), rng))
                rows.append(
                    {
                        "file": file,
                        "corpus": corpus,
                        "split": _split(corpus, speaker),
                        "speaker": f"{corpus}-{speaker}",
                        "sex": ("female", "male")[speaker % 2],
                        "language": "pl" if corpus == "nemo" else "en",
                        "emotion": label,
                        "intensity": ("weak", "normal", "strong")[take % 3]
                        if corpus == "ravdess"
                        else "",
                        "votes": "1/0/0/0/2/1" if corpus == "cremad" and take == 0 else "",
                        "text": "" if corpus == "nemo" else "what a lovely day",
                    }
                )
    with (folder / "speech.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for reader in range(8):
        path = folder / "sound" / "read_speech" / f"{reader}-1-0001.flac"
        _write(path, _hum(LABELS.index("neutral"), rng))
        _write(folder / "sound" / "noise" / f"n{reader}.flac", _hum(0, rng))
    return folder


def write_tiny_encoder(folder: Path, labels: Sequence[str] = LABELS) -> Path:
    """Write an encoder folder whose answer is the label with the nearest loudness."""
    levels = np.array([_level(LABELS.index(label)) for label in labels], np.float32)
    node = helper.make_node
    nodes = [
        node("Cast", ["lengths"], ["float"], to=1),
        node("Unsqueeze", ["float", "axis"], ["length"]),
        node("Mul", ["waveform", "waveform"], ["square"]),
        node("ReduceSum", ["square", "axis"], ["energy"], keepdims=1),
        node("Div", ["energy", "length"], ["mean_square"]),
        node("Sqrt", ["mean_square"], ["level"]),
        node("Concat", ["level", "mean_square"], ["embedding"], axis=1),
        node("Sub", ["level", "levels"], ["distance"]),
        node("Mul", ["distance", "distance"], ["squared"]),
        node("Mul", ["squared", "steepness"], ["logits"]),
    ]
    constants = {
        "axis": np.array([1]),
        "levels": levels[None],
        "steepness": np.array([-3000], np.float32),
    }
    outputs = {"logits": ["batch", len(labels)], "embedding": ["batch", 2]}
    inputs = {
        "waveform": (TensorProto.FLOAT, ["batch", "samples"]),
        "lengths": (TensorProto.INT64, ["batch"]),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, s) for name, (kind, s) in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests"
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))

    def tensor(name: str, dtype: str, shape: list[object], **more: object) -> dict[str, object]:
        return {"name": name, "dtype": dtype, "shape": shape, "unit": "none", **more}

    part = {
        "file": "model.onnx",
        "parameters": len(labels),
        "inputs": [
            tensor("waveform", "float32", ["batch", "samples"], normalisation="none"),
            tensor("lengths", "int64", ["batch"]),
        ],
        "outputs": [
            tensor("logits", "float32", outputs["logits"], role="logits", labels=list(labels)),
            tensor("embedding", "float32", outputs["embedding"], role="embedding"),
        ],
        "batching": "masked",
        "minimum_samples": 400,
        "maximum_samples": 240_000,
    }
    source = Source("tiny", None, "Tiny", "tiny", "CC0-1.0", "0" * 64)
    write_record(EncoderRecord("audio", source, "float32", 17, {}, {}, part), folder)
    return folder


def _split(corpus: str, speaker: int) -> str:
    return "train" if corpus == "tess" else ("test", "dev", "train")[min(speaker, 2)]


def _level(label: int) -> float:
    """Root mean square of a label's hum, of full scale."""
    return 0.03 + 0.03 * label


def _hum(label: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """0.2 to 0.4 s of a sine."""
    time = np.arange(int(rng.integers(3200, 6400))) / 16_000
    tone = np.sqrt(2) * _level(label) * np.sin(2 * np.pi * 440 * time)
    return tone.astype(np.float32)


def _write(path: Path, samples: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16_000, subtype="PCM_16")
