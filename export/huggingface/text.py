"""Load a Hugging Face text model: the module to export, and the original to hold it against.

The module takes token ids and a mask, and nothing else: which tokens belong to which sentence
(`token_type_ids`) is a question for pairs of texts, and the answer for one text is zero. The
original is transformers' own model behind its own tokenizer, with one text at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
)

from ..encoder_folder import GRAPH_FILE, TOKENIZER_FILE
from ..errors import ExportError
from .head import Head, architecture_of, find_head
from .source import load_model, load_weights, read_config
from .tokenizer import TextTokenizer, load_tokenizer

Floats = NDArray[np.float32]

FAMILIES = ("distilbert", "bert", "roberta", "xlm-roberta")
"""By model_type: BETO, MiniLM are BERT; MarIA, BERTIN, DistilRoBERTa are RoBERTa."""

POOLINGS = ("mean", "first")
_COUNTS_FROM_PADDING = ("roberta", "xlm-roberta")
# The sums of the mean; of 512 tokens they may leave the range of half precision.
FLOAT32_SCOPES = ("/pooling/",)


@dataclass(frozen=True, slots=True)
class TextModel:
    """A text model, ready to be exported.

    Attributes:
        module: forward(input_ids int64 [batch, tokens], attention_mask int64 [batch, tokens]) ->
            tuple of the part's outputs, in their order.
        reference: one text -> the same outputs by name, [...] without a batch axis, from the
            original model and tokenizer.
        part: the part entry of `bundle.json`, without a name; logits carry the model's labels.
        tokenizer: what is written as tokenizer.json.
        config: the transformers configuration.
        family: its model_type.
        architecture: the class that its config names.
        fp32_scopes: prefixes of node names that half precision must leave alone.
    """

    module: nn.Module
    reference: Callable[[str], dict[str, Floats]]
    part: Mapping[str, Any]
    tokenizer: TextTokenizer
    config: Any
    family: str
    architecture: str
    fp32_scopes: tuple[str, ...]


def load_text(
    folder: Path,
    head: str = "auto",
    *,
    labels: tuple[str, ...] | None = None,
    affect_range: tuple[float, float] | None = None,
    max_tokens: int | None = None,
    pooling: str = "mean",
    multi_label_shares: bool = False,
) -> TextModel:
    """Read a Hugging Face folder: configuration, weights, tokenizer.

    Args:
        folder: with config.json, weights, and tokenizer.json or what it is made of.
        head: none gives the embedding alone; classification and regression demand that the model
            has such a head; auto takes what it has.
        labels: names of the head's outputs, in their order, instead of the configuration's.
        affect_range: what lowest and highest are in the numbers of a regression head.
        max_tokens: longer texts are cut; None for as many as the model can take.
        pooling: the embedding is the mean over the tokens of the text, or its first token ([CLS]).
        multi_label_shares: accept a head that answers each label on its own; its logits become
            the logarithms of those probabilities, so that their softmax is each label's share.

    Raises:
        ExportError: an architecture that is not known; weights, labels or tokenizer that do not
            fit.
    """
    name = folder.name
    settings = read_config(folder)
    if settings["model_type"] not in FAMILIES:
        raise ExportError(
            f"{name}: model_type {settings['model_type']!r} is no text encoder that can be "
            f"exported; known: {', '.join(FAMILIES)}"
        )
    if pooling not in POOLINGS:
        raise ExportError(f"there is no pooling {pooling!r}; use one of {', '.join(POOLINGS)}")
    config = AutoConfig.from_pretrained(folder)
    architecture = architecture_of(settings)
    top = find_head(
        name,
        settings,
        head,
        present=architecture.endswith("ForSequenceClassification"),
        labels=labels,
        affect_range=affect_range,
        shares=multi_label_shares,
    )
    classes = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING if top.role else MODEL_MAPPING
    # The pooler feeds the head of BERT; without a head, what it gives is not used.
    may_lack = r"position_ids" if top.role else r"position_ids|^pooler\."
    original = load_model(
        classes[type(config)], config, load_weights(folder), name, may_lack=may_lack
    )
    if top.role and len(top.labels) != original.config.num_labels:
        raise ExportError(
            f"{name} has {original.config.num_labels} outputs, and {len(top.labels)} names are "
            f"given for them: {', '.join(top.labels)}"
        )
    if not top.role and hasattr(original, "pooler"):
        original.pooler = None
    tokenizer = load_tokenizer(folder, _positions(config), max_tokens)
    _check_tokenizer(name, tokenizer, config)
    module = TextEncoder(original, pooling, shares=top.shares).eval().requires_grad_(False)
    return TextModel(
        module=module,
        reference=_reference(original, tokenizer, top, pooling),
        part=_part(module, tokenizer, top, pooling),
        tokenizer=tokenizer,
        config=config,
        family=config.model_type,
        architecture=architecture,
        fp32_scopes=FLOAT32_SCOPES,
    )


class TextEncoder(nn.Module):
    """The original model, pooled.

    forward(input_ids, attention_mask) -> (logits [batch, labels] if there is a head, embedding
    [batch, width]).
    """

    def __init__(self, original: nn.Module, pooling: str, *, shares: bool) -> None:
        super().__init__()
        self.original = original
        self.pooling = Mean() if pooling == "mean" else First()
        self.shares = shares
        self.config = original.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        answer = self.original(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        )
        embedding = self.pooling(answer.hidden_states[-1], attention_mask)
        if "logits" not in answer:
            return (embedding,)
        logits = answer.logits
        return (nn.functional.logsigmoid(logits) if self.shares else logits, embedding)


class Mean(nn.Module):
    """Over the tokens of the text, as sentence-transformers do: [batch, tokens, width] and mask
    [batch, tokens] -> [batch, width]."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        # A text without a token, of a tokenizer without special ones, is zeros, not a NaN.
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


class First(nn.Module):
    """The first token, which BERT calls [CLS]."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return hidden[:, 0]


def _positions(config: Any) -> int:
    """How many tokens the model can tell apart by their place."""
    positions: int = config.max_position_embeddings
    if config.model_type in _COUNTS_FROM_PADDING:
        positions -= config.pad_token_id + 1
    return positions


def _check_tokenizer(name: str, tokenizer: TextTokenizer, config: Any) -> None:
    if tokenizer.largest_id >= config.vocab_size:
        raise ExportError(
            f"{name}: the tokenizer knows {tokenizer.largest_id + 1} tokens, the model "
            f"{config.vocab_size}; they do not belong together, copy the model again"
        )
    # The places of tokens are counted from this id on, so another one would shift them.
    if config.model_type in _COUNTS_FROM_PADDING and tokenizer.pad_id != config.pad_token_id:
        raise ExportError(
            f"{name}: the tokenizer pads with token {tokenizer.pad_id}, the model with "
            f"{config.pad_token_id}; they do not belong together, copy the model again"
        )


def _reference(
    original: Any, tokenizer: TextTokenizer, head: Head, pooling: str
) -> Callable[[str], dict[str, Floats]]:
    def reference(text: str) -> dict[str, Floats]:
        with torch.no_grad():
            answer = original(**tokenizer.encode_original(text), output_hidden_states=True)
        states = answer.hidden_states[-1][0]
        outputs = {"embedding": states.mean(0) if pooling == "mean" else states[0]}
        if head.role:
            logits = answer.logits[0]
            outputs[head.role] = torch.sigmoid(logits).log() if head.shares else logits
        return {name: value.numpy() for name, value in outputs.items()}

    return reference


def _part(
    module: TextEncoder, tokenizer: TextTokenizer, head: Head, pooling: str
) -> dict[str, Any]:
    """The part entry; see BUNDLE.md of the export chain for its fields."""
    width = module.config.hidden_size
    place = "mean over the tokens" if pooling == "mean" else "first token"
    embedding = {
        "name": "embedding",
        "role": "embedding",
        "dtype": "float32",
        "shape": ["batch", width],
        "unit": f"none, {place}",
    }
    return {
        "file": GRAPH_FILE,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "inputs": _INPUTS,
        "outputs": [*head.outputs(), embedding],
        "tokenizer": TOKENIZER_FILE,
        "max_tokens": tokenizer.max_tokens,
        "pad_id": tokenizer.pad_id,
    }


_INPUTS: list[dict[str, Any]] = [
    {
        "name": "input_ids",
        "dtype": "int64",
        "shape": ["batch", "tokens"],
        "unit": "token",
        "normalisation": "that of tokenizer.json",
    },
    {
        "name": "attention_mask",
        "dtype": "int64",
        "shape": ["batch", "tokens"],
        "unit": "1 for tokens of the text, 0 for padding",
        "normalisation": "none",
    },
]
