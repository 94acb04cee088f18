"""A text model from the hub, or from a folder, to an encoder folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..encoder_folder import GRAPH_FILE, TOKENIZER_FILE, EncoderRecord, replacing
from ..graphs.encoder_export import finish_encoder
from ..graphs.export_graph import GraphInterface, export_graph
from ..progress import say
from .source import TEXT_FILES, resolve, source_record
from .text import TextModel, load_text

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
    say(f"reading {model}")
    loaded = load_text(folder, **options)
    with replacing(out) as draft:
        say("tracing the graph")
        write_graph(loaded, draft / GRAPH_FILE)
        loaded.tokenizer.save(draft / TOKENIZER_FILE)
        return finish_encoder(
            draft,
            loaded,
            loaded.part,
            modality="text",
            source=source_record(folder, model, revision),
            options=options,
            tolerance=tolerance,
        )


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
