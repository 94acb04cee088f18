"""A text model from the hub, or from a folder, to an encoder folder."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .encoder_folder import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    EncoderRecord,
    replacing,
    write_record,
)
from .export_graph import OPSET, GraphInterface, export_graph
from .hf_source import TEXT_FILES, resolve, source_record
from .hf_text import TextModel, load_text
from .optimise_graph import optimise_folder
from .parity import check

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "optimum",
    "optimum-onnx",
    "onnx",
    "onnxruntime",
)
# Odd sizes, and a shorter second row: a size that is baked in shows at the next one.
_TRACED_TOKENS = (11, 7)


def export_text(
    model: str,
    out: Path,
    *,
    revision: str | None = None,
    tolerance: float = 1e-3,
    **options: Any,
) -> EncoderRecord:
    """Write the encoder folder `out` of a Hugging Face text model.

    Args:
        model: hub id, or a folder.
        revision: commit, tag or branch on the hub.
        tolerance: largest difference between the graph, as served, and the original model.
        **options: head, labels, affect_range, max_tokens, pooling and multi_label_shares of
            `load_text`.

    Raises:
        ExportError: the model is not there or not of a kind that can be exported, or the graph
            does not answer as the model does.
    """
    folder = resolve(model, revision, needs=TEXT_FILES)
    _say(f"reading {model}")
    loaded = load_text(folder, **options)
    with replacing(out) as draft:
        _say("tracing the graph")
        write_graph(loaded, draft / GRAPH_FILE)
        loaded.tokenizer.save(draft / TOKENIZER_FILE)
        _say("fusing nodes")
        counts = optimise_folder(draft, loaded.part, loaded.config)
        _say("comparing with the original model")
        report = check(draft, loaded.part, loaded.reference, "fast", tolerance)
        report.require(model)
        record = EncoderRecord(
            modality="text",
            source=source_record(folder, model, revision),
            precision="float32",
            opset=OPSET,
            nodes={"exported": counts.before, "optimised": counts.after},
            versions={name: version(name) for name in _PACKAGES},
            part=loaded.part,
            float32_scopes=loaded.fp32_scopes,
            parity=report.as_json(),
        )
        write_record(record, draft)
    return record


def _say(line: str) -> None:
    """Progress; stdout is for results."""
    print(line, file=sys.stderr, flush=True)


def write_graph(model: TextModel, path: Path) -> None:
    """Export the module of `model` to `path`."""
    first, second = _TRACED_TOKENS
    tokens = min(first, model.tokenizer.max_tokens)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (2, tokens), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, second:], mask[1, second:] = model.tokenizer.pad_id, 0
    free = {0: "batch", 1: "tokens"}
    interface = GraphInterface(
        inputs={"input_ids": free, "attention_mask": free},
        outputs={output["name"]: {0: "batch"} for output in model.part["outputs"]},
        example={"input_ids": ids, "attention_mask": mask},
    )
    export_graph(model.module, model.config, interface, path)
