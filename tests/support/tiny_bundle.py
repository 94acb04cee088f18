"""A real bundle of a few kilobytes, whose answers can be worked out by hand.

Audio: the embedding of a waveform is (its mean, its mean square); logits = embedding @ matrix.
Text: the embedding is the mean of the vectors of its words; logits likewise.
Fusion: logits = audio embedding @ A + text embedding @ T + text_present * shift.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
GRAPH_LABELS = ("sad", "happy", "angry", "neutral", "surprised", "disgust", "fearful")
"""The order in which the graphs answer: not that of the bundle, on purpose."""
GRAPH_AFFECT = ("arousal", "dominance", "valence")

Floats = NDArray[np.float32]
_random = np.random.default_rng(7)
AUDIO_MATRIX: Floats = _random.normal(0, 4, (2, 7)).astype(np.float32)
AFFECT_MATRIX: Floats = _random.normal(0, 4, (2, 3)).astype(np.float32)
TEXT_MATRIX: Floats = _random.normal(0, 2, (2, 7)).astype(np.float32)
FUSION_AUDIO: Floats = _random.normal(0, 4, (2, 7)).astype(np.float32)
FUSION_TEXT: Floats = _random.normal(0, 2, (2, 7)).astype(np.float32)
FUSION_SHIFT: Floats = _random.normal(0, 1, (1, 7)).astype(np.float32)
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "what": 2, "a": 3, "lovely": 4, "day": 5}
WORD_VECTORS: Floats = _random.normal(0, 1, (len(VOCABULARY), 2)).astype(np.float32)
CENTROIDS = {
    label: [round(0.1 + 0.1 * i, 2), round(0.9 - 0.1 * i, 2), 0.5] for i, label in enumerate(LABELS)
}


def in_bundle_order(graph_logits: Floats) -> Floats:
    """Columns sorted from GRAPH_LABELS to LABELS."""
    return graph_logits[..., [GRAPH_LABELS.index(label) for label in LABELS]]


def audio_embedding(waveform: NDArray[Any]) -> Floats:
    """[2] of int16 [samples]."""
    x = waveform.astype(np.float64) / 32768
    return np.array([x.mean(), (x * x).mean()], np.float32)


def text_embedding(text: str) -> Floats:
    """[2] of a text."""
    ids = [VOCABULARY.get(word, 1) for word in text.split()]
    mean: Floats = WORD_VECTORS[ids].mean(axis=0)
    return mean


def write_tiny_bundle(
    folder: Path,
    *,
    batching: str = "masked",
    text: bool = False,
    fusion: bool = False,
    affect_output: bool = False,
) -> Path:
    """Write a bundle to `folder` (made if need be) and return it.

    Args:
        batching: masked or exact_length.
        text: with a text part.
        fusion: with a fusion part.
        affect_output: the audio graph gives affect itself, 1..7, instead of label centroids.
    """
    audio = _audio_part(folder, batching, affect_output)
    texts = [_text_part(folder)] if text else []
    head = _fusion_part(folder, text) if fusion else None
    _golden(folder, audio, texts, head)
    (folder / "MODEL_CARD.md").write_text("# Tiny\n", encoding="utf-8")
    description: dict[str, Any] = {
        "format_version": 1,
        "name": "tiny",
        "version": "0.0.1",
        "description": "A bundle for tests.",
        "licence": {
            "weights": "CC0-1.0",
            "data": [{"name": "none", "licence": "CC0-1.0", "used_for": "nothing"}],
        },
        "languages": ["en"],
        "sample_rate_hz": 16000,
        "labels": list(LABELS),
        "parts": {"audio": [audio], "text": texts, "fusion": head},
        "calibration": {"temperature": 2.0, "abstain_below": 0.3},
        "affect": None
        if affect_output
        else {"method": "label_centroids", "centroids": CENTROIDS, "source": "made up"},
        "metrics": [
            {
                "name": "unweighted_average_recall",
                "value": 0.5,
                "dataset": "none",
                "split": "test",
                "protocol": "speaker-independent",
                "count": 10,
                "classes": 7,
            }
        ],
        "golden": {"file": "golden.npz", "tolerance": 1e-4},
    }
    description["files"] = file_records(folder)
    seal(folder, description)
    return folder


def file_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The `files` table for what lies in `folder`."""
    records = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("bundle.json"):
            records[path.relative_to(folder).as_posix()] = {
                "sha256": digest(path),
                "bytes": path.stat().st_size,
            }
    return records


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(folder: Path, description: Mapping[str, Any]) -> None:
    """Write bundle.json and the file with its hash."""
    content = (json.dumps(description, indent=2) + "\n").encode()
    (folder / "bundle.json").write_bytes(content)
    line = f"{digest(folder / 'bundle.json')}  bundle.json\n"
    (folder / "bundle.json.sha256").write_text(line, encoding="ascii")


def save_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, list[Any]]],
    outputs: Mapping[str, list[Any]],
    constants: Mapping[str, NDArray[Any]],
) -> None:
    """Write a small graph; inputs are name: (element type, shape), outputs float32."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, kind, s) for name, (kind, s) in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests"
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def _tensor(name: str, dtype: str, shape: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "unit": "none", **more}


def _logits() -> dict[str, Any]:
    return _tensor("logits", "float32", ["batch", 7], role="logits", labels=list(GRAPH_LABELS))


def _embedding() -> dict[str, Any]:
    return _tensor("embedding", "float32", ["batch", 2], role="embedding")


def _audio_part(folder: Path, batching: str, affect_output: bool) -> dict[str, Any]:
    masked = batching == "masked"
    node = helper.make_node
    if masked:
        # Zeros add nothing to the sums, and the true length divides them: padding is harmless.
        length = [node("Cast", ["lengths"], ["float"], to=1)]
    else:
        length = [
            node("Shape", ["waveform"], ["shape"], start=1),
            node("Cast", ["shape"], ["float"], to=1),
        ]
    nodes = [
        *length,
        node("Unsqueeze", ["float", "axis"] if masked else ["float", "axis0"], ["length"]),
        node("Mul", ["waveform", "waveform"], ["square"]),
        node("ReduceSum", ["waveform", "axis"], ["sum"], keepdims=1),
        node("ReduceSum", ["square", "axis"], ["energy"], keepdims=1),
        node("Concat", ["sum", "energy"], ["both"], axis=1),
        node("Div", ["both", "length"], ["embedding"]),
        node("MatMul", ["embedding", "matrix"], ["logits"]),
    ]
    inputs = {"waveform": (TensorProto.FLOAT, ["batch", "samples"])}
    outputs = {"logits": ["batch", 7], "embedding": ["batch", 2]}
    constants = {"axis": np.array([1]), "matrix": AUDIO_MATRIX}
    tensors = [_logits(), _embedding()]
    described = [_tensor("waveform", "float32", ["batch", "samples"], normalisation="none")]
    if masked:
        inputs["lengths"] = (TensorProto.INT64, ["batch"])
        described.append(_tensor("lengths", "int64", ["batch"]))
    else:
        constants["axis0"] = np.array([0])
    if affect_output:
        nodes += [
            node("MatMul", ["embedding", "affect_matrix"], ["around_zero"]),
            node("Add", ["around_zero", "middle"], ["affect"]),
        ]
        outputs["affect"] = ["batch", 3]
        constants |= {"affect_matrix": AFFECT_MATRIX, "middle": np.array([4], np.float32)}
        tensors.append(
            _tensor(
                "affect",
                "float32",
                ["batch", 3],
                role="affect",
                labels=list(GRAPH_AFFECT),
                range=[1, 7],
            )
        )
    save_graph(folder / "audio" / "model.onnx", nodes, inputs, outputs, constants)
    return {
        "name": "audio",
        "file": "audio/model.onnx",
        "parameters": 14,
        "inputs": described,
        "outputs": tensors,
        "batching": batching,
        "minimum_samples": 400,
        "maximum_samples": 32000,
    }


def _text_part(folder: Path) -> dict[str, Any]:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / "text").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "text" / "tokenizer.json"))
    node = helper.make_node
    ids = ["batch", "tokens"]
    save_graph(
        folder / "text" / "model.onnx",
        [
            node("Gather", ["vectors", "input_ids"], ["words"]),
            node("Cast", ["attention_mask"], ["mask"], to=1),
            node("Unsqueeze", ["mask", "axis2"], ["wide_mask"]),
            node("Mul", ["words", "wide_mask"], ["kept"]),
            node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=0),
            node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
            node("Div", ["sum", "count"], ["embedding"]),
            node("MatMul", ["embedding", "matrix"], ["logits"]),
        ],
        {"input_ids": (TensorProto.INT64, ids), "attention_mask": (TensorProto.INT64, ids)},
        {"logits": ["batch", 7], "embedding": ["batch", 2]},
        {
            "vectors": WORD_VECTORS,
            "matrix": TEXT_MATRIX,
            "axis": np.array([1]),
            "axis2": np.array([2]),
        },
    )
    return {
        "name": "text",
        "file": "text/model.onnx",
        "parameters": 26,
        "inputs": [_tensor("input_ids", "int64", ids), _tensor("attention_mask", "int64", ids)],
        "outputs": [_logits(), _embedding()],
        "tokenizer": "text/tokenizer.json",
        "max_tokens": 8,
        "pad_id": 0,
    }


def _fusion_part(folder: Path, text: bool) -> dict[str, Any]:
    node = helper.make_node
    inputs: dict[str, tuple[int, list[Any]]] = {
        "audio_embedding": (TensorProto.FLOAT, ["batch", 2])
    }
    constants = {"audio_matrix": FUSION_AUDIO}
    if text:
        inputs["text_embedding"] = (TensorProto.FLOAT, ["batch", 2])
        inputs["text_present"] = (TensorProto.FLOAT, ["batch"])
        constants |= {
            "text_matrix": FUSION_TEXT,
            "shift": FUSION_SHIFT,
            "axis": np.array([1]),
        }
        nodes = [
            node("MatMul", ["audio_embedding", "audio_matrix"], ["from_audio"]),
            node("MatMul", ["text_embedding", "text_matrix"], ["from_text"]),
            node("Unsqueeze", ["text_present", "axis"], ["present"]),
            node("MatMul", ["present", "shift"], ["from_mask"]),
            node("Sum", ["from_audio", "from_text", "from_mask"], ["logits"]),
        ]
    else:
        nodes = [node("MatMul", ["audio_embedding", "audio_matrix"], ["logits"])]
    save_graph(folder / "fusion" / "model.onnx", nodes, inputs, {"logits": ["batch", 7]}, constants)
    return {
        "name": "fusion",
        "file": "fusion/model.onnx",
        "inputs": [_tensor(name, "float32", shape) for name, (_, shape) in inputs.items()],
        "outputs": [_logits()],
    }


def _golden(
    folder: Path, audio: dict[str, Any], texts: list[dict[str, Any]], head: dict[str, Any] | None
) -> None:
    """Record two cases by running the graphs directly, without the code under test."""
    record: dict[str, Any] = {}
    for case, (length, words) in enumerate([(4000, "what a day"), (6543, "lovely")]):
        waveform = (0.3 * np.sin(np.arange(length) * 0.1)).astype(np.float32)
        record[f"case{case}_waveform"] = waveform
        feeds = {"waveform": waveform[None], "lengths": np.array([length])}
        embeddings: dict[str, NDArray[Any]] = {}
        runs = [(audio, feeds)]
        if texts:
            record[f"case{case}_text"] = np.array(words)
            ids = np.array([[VOCABULARY[word] for word in words.split()]])
            runs.append((texts[0], {"input_ids": ids, "attention_mask": np.ones_like(ids)}))
        if head:
            runs.append((head, embeddings))
        for part, values in runs:
            if part is head and texts:
                embeddings["text_present"] = np.ones(1, np.float32)
            outputs = _run(folder, part, values)
            for name, value in outputs.items():
                record[f"case{case}_{part['name']}_{name}"] = value[0]
            if part is not head:
                embeddings[f"{part['name']}_embedding"] = outputs["embedding"]
    np.savez(folder / "golden.npz", **record)


def _run(folder: Path, part: dict[str, Any], feeds: dict[str, Any]) -> dict[str, NDArray[Any]]:
    session = onnxruntime.InferenceSession(
        str(folder / part["file"]), providers=["CPUExecutionProvider"]
    )
    names = [tensor["name"] for tensor in part["outputs"]]
    wanted = {tensor["name"] for tensor in part["inputs"]}
    return dict(zip(names, session.run(names, {n: feeds[n] for n in wanted}), strict=True))
