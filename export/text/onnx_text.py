"""The text encoder as an encoder folder, through the checks that every exported model passes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..encoder_folder import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    EncoderRecord,
    Source,
    replacing,
    write_record,
)
from ..graphs.encoder_export import finish_encoder
from ..graphs.export_graph import OPSET
from ..graphs.graph_metadata import forget_the_exporting_machine
from ..graphs.half_storage import round_to_half, store_exact_halves
from .labels import EMOTIONS
from .network import AFFECT, TextEncoder, parameter_count
from .tokens import PAD_ID

MAX_TOKENS = 128
_TOLERANCE = 1e-3
_OUTPUTS = ("logits", "embedding", "affect")


@dataclass(frozen=True, slots=True)
class _Original:
    """What `finish_encoder` asks of a model."""

    model: TextEncoder
    tokenizer: Tokenizer
    config: Any
    fp32_scopes: tuple[str, ...] = ()

    def reference(self, text: str) -> dict[str, NDArray[np.float32]]:
        """The network's answer to one text, each [width]."""
        ids = self.tokenizer.encode(text).ids[:MAX_TOKENS]
        # Without a token the runtime gives one of padding that is masked.
        input_ids = torch.tensor([ids or [PAD_ID]])
        mask = torch.full_like(input_ids, int(bool(ids)))
        with torch.no_grad():
            answers = self.model(input_ids, mask)
        return {name: row[0].numpy() for name, row in zip(_OUTPUTS, answers, strict=True)}


def leave_encoder(
    model: TextEncoder, tokenizer: Tokenizer, encoder: Path, options: Mapping[str, Any]
) -> EncoderRecord:
    """Write `encoder`: graph, tokenizer, record.

    The weights of `model` are rounded to half, in place, before anything is compared; the graph
    stores them so, and computes in float32.

    Args:
        options: facts of its training, for the record: corpora and whatever else.

    Raises:
        ExportError: the graph does not answer as the network does.
    """
    round_to_half(model.eval())
    part = describe(model)
    original = _Original(model, tokenizer, SimpleNamespace(num_attention_heads=0))
    with replacing(encoder) as draft:
        write_graph(model, draft / GRAPH_FILE)
        tokenizer.save(str(draft / TOKENIZER_FILE), pretty=False)
        record = finish_encoder(
            draft,
            original,  # type: ignore[arg-type]  # No transformers model, but all that is used.
            part,
            modality="text",
            source=_source(model),
            options=options,
            tolerance=_TOLERANCE,
        )
        store_exact_halves(draft / GRAPH_FILE)
        write_record(record, draft)
    return record


def write_graph(model: TextEncoder, path: Path) -> None:
    """Trace `model` to ONNX with free batch and token axes."""
    # Odd sizes, and a shorter second row: a size that is baked in shows at the next one.
    ids = torch.randint(4, model.settings.vocabulary, (2, 11))
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = PAD_ID, 0
    free = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The exporter of TorchScript announces its own end, and names every Python value that
        # comes from a tensor; whether one was baked in is measured, not guessed.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, mask),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=list(_OUTPUTS),
            dynamic_axes={
                "input_ids": free,
                "attention_mask": free,
                **{name: {0: "batch"} for name in _OUTPUTS},
            },
        )
    forget_the_exporting_machine(path)


def _source(model: TextEncoder) -> Source:
    digest = sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return Source(
        model="text",
        revision=None,
        architecture=type(model).__name__,
        family="neighbours",
        licence=None,
        weights_sha256=digest.hexdigest(),
    )


def describe(model: TextEncoder) -> dict[str, Any]:
    """The part as `bundle.json` holds it, without its name."""
    tokens = {"dtype": "int64", "shape": ["batch", "tokens"]}
    return {
        "file": GRAPH_FILE,
        "parameters": parameter_count(model),
        "inputs": [
            {
                "name": "input_ids",
                **tokens,
                "unit": "token",
                "normalisation": "that of tokenizer.json",
            },
            {
                "name": "attention_mask",
                **tokens,
                "unit": "1 for tokens of the text, 0 for padding",
                "normalisation": "none",
            },
        ],
        "outputs": [
            {
                "name": "logits",
                "role": "logits",
                "dtype": "float32",
                "shape": ["batch", len(EMOTIONS)],
                "unit": "nat",
                "labels": list(EMOTIONS),
            },
            {
                "name": "embedding",
                "role": "embedding",
                "dtype": "float32",
                "shape": ["batch", model.settings.embedding],
                "unit": "none",
            },
            {
                "name": "affect",
                "role": "affect",
                "dtype": "float32",
                "shape": ["batch", len(AFFECT)],
                "unit": "share of the 1 to 5 scale of EmoBank",
                "labels": list(AFFECT),
                "range": [0, 1],
            },
        ],
        "tokenizer": TOKENIZER_FILE,
        "max_tokens": MAX_TOKENS,
        "pad_id": PAD_ID,
    }
