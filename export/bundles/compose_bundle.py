"""A recipe and encoder folders become a bundle: graphs placed, labels mapped, head built, tried.

The answers that the bundle is held against (`golden.npz`) do not come from the bundle: they come
from the encoder folders' own graphs, with the labels mapped in numpy and the head run in torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle import Bundle
from realtime_ser.models.ort import thread_count
from realtime_ser.types import SAMPLE_RATE_HZ

from ..encoder_folder import GRAPH_FILE, read_record, replacing
from ..errors import ExportError
from ..graphs.served import serve_folder
from ..huggingface.random_models import LICENCE as RANDOM
from ..progress import say
from .golden import GoldenCase, golden_inputs
from .place_encoder import (
    Placed,
    check_encoder,
    expected_outputs,
    export_encoder,
    in_precision,
    place,
)
from .recipe_card import recipe_card
from .recipe_description import PartRecipe, Recipe
from .write_bundle import FORMAT_VERSION, GOLDEN_FILE, finish_bundle

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What the caller brings for a recipe.

    Attributes:
        encoders: encoder folder by name of the part; used as it is.
        models: hub id or Hugging Face folder by name of the part, in place of the recipe's.
        fusion_weights: safetensors file of the head, in place of the recipe's.
        untrained_fusion: make a head with random weights where there are none.
    """

    encoders: Mapping[str, Path] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    fusion_weights: Path | None = None
    untrained_fusion: bool = False


def compose(recipe: Recipe, out: Path, given: Ingredients) -> Bundle:
    """Write the bundle `out`, whole and tried, or nothing.

    Raises:
        ExportError: something is missing or does not fit the recipe; says what to do.
    """
    _check_ingredients(recipe, given)
    out = out.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="realtime-ser-export-") as work,
        replacing(out) as draft,
    ):
        placed = [
            place(part, _find_encoder(part, given, Path(work)), draft, recipe.labels)
            for part in recipe.parts
        ]
        head = _build_head(recipe, placed, given, draft)
        cases = _golden_cases(recipe, placed, head)
        description = _describe(recipe, placed, head)
        card = recipe_card(recipe, placed, description)
        say("trying the bundle against what it was made of")
        bundle = finish_bundle(draft, description, cases, card)
    return Bundle(out, bundle.description, bundle.hash)


def _check_ingredients(recipe: Recipe, given: Ingredients) -> None:
    """Say what is missing or wrong before the first model is exported, which takes minutes."""
    names = [part.name for part in recipe.parts]
    for name in (*given.encoders, *given.models):
        if name not in names:
            raise ExportError(
                f"the recipe {recipe.name} has no part {name!r}; its parts are {', '.join(names)}"
            )
    both = [name for name in given.encoders if name in given.models]
    if both:
        raise ExportError(f"give --encoder or --model for {', '.join(both)}, not both")
    for part in recipe.parts:
        brought = part.name in given.encoders or part.name in given.models
        if part.name in given.encoders:
            check_encoder(part, read_record(given.encoders[part.name]))
        if not (brought or part.head == "none" or part.fine_tuned):
            raise ExportError(
                f"recipe {recipe.name}, part {part.name}: {part.model} is a pretrained encoder "
                f"without a head for {', '.join(recipe.labels)}; fine-tune it, and give your "
                f"Hugging Face folder with --model {part.name}=FOLDER"
            )
    _check_head(recipe, given)


def _check_head(recipe: Recipe, given: Ingredients) -> None:
    weights = given.fusion_weights or recipe.fusion.weights
    learnt = recipe.fusion.method == "concatenation"
    if not learnt and (given.fusion_weights or given.untrained_fusion):
        raise ExportError(
            f"recipe {recipe.name} joins by {recipe.fusion.method}, which has no weights; leave "
            "out --fusion-weights and --untrained-fusion"
        )
    if weights is not None and given.untrained_fusion:
        raise ExportError("give --fusion-weights or --untrained-fusion, not both")
    if weights is not None and not weights.is_file():
        raise ExportError(f"there is no file {weights}; give the safetensors file of the head")
    if learnt and weights is None and not given.untrained_fusion:
        raise ExportError(
            f"the head of recipe {recipe.name} has no weights yet; train it and give "
            "--fusion-weights FILE.safetensors, or try the chain with --untrained-fusion, which "
            "also prints the tensors that such a file must hold"
        )


def _find_encoder(part: PartRecipe, given: Ingredients, work: Path) -> Path:
    """The encoder folder of a part, in the recipe's precision: brought, or exported now."""
    folder = given.encoders.get(part.name)
    if folder is None:
        model = given.models.get(part.name)
        folder = work / part.name
        say(f"{part.name}: exporting {model or part.model}")
        export_encoder(part, model, folder)
        check_encoder(part, read_record(folder), replaced=model is not None)
    return in_precision(part, folder, work)


@dataclass(frozen=True, slots=True)
class _Head:
    module: Any
    entry: Mapping[str, Any]
    trained: bool


def _build_head(
    recipe: Recipe, placed: Sequence[Placed], given: Ingredients, draft: Path
) -> _Head | None:
    if recipe.fusion.method == "mean":
        return None
    import torch

    from .fusion_head import build_head, describe_head, export_head, load_head, shapes_of

    widths = {"audio": 0, "text": 0}
    for each in placed:
        embedding = next(out for out in each.entry["outputs"] if out["role"] == "embedding")
        widths[each.part.modality] += embedding["shape"][1]
    audio, text = widths["audio"], widths["text"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = build_head(recipe.fusion, audio, text, len(recipe.labels)).eval()
    weights = given.fusion_weights or recipe.fusion.weights
    if weights is not None:
        load_head(head, weights)
    elif given.untrained_fusion:
        say(f"fusion: RANDOM WEIGHTS for {shapes_of(head)}")
    export_head(head, audio, text, draft / "fusion" / GRAPH_FILE)
    parameters = sum(parameter.numel() for parameter in head.parameters())
    entry = describe_head(recipe.labels, audio, text, parameters)
    return _Head(head, entry, trained=not given.untrained_fusion)


def _golden_cases(
    recipe: Recipe, placed: Sequence[Placed], head: _Head | None
) -> tuple[GoldenCase, ...]:
    threads = thread_count(0)
    served = [serve_folder(each.folder, threads=threads) for each in placed]
    cases = []
    for asked in golden_inputs():
        outputs = {
            each.part.name: expected_outputs(each, encoder, asked)
            for each, encoder in zip(placed, served, strict=True)
        }
        if head:
            outputs["fusion"] = {"logits": _fused(head, placed, outputs)}
        cases.append(GoldenCase(asked, outputs, has_text=bool(recipe.text)))
    return tuple(cases)


def _fused(
    head: _Head, placed: Sequence[Placed], outputs: Mapping[str, Mapping[str, Floats]]
) -> Floats:
    import torch

    feeds = []
    for modality in ("audio", "text"):
        parts = [
            outputs[each.part.name][output["name"]]
            for each in placed
            for output in each.entry["outputs"]
            if each.part.modality == modality and output["role"] == "embedding"
        ]
        if parts:
            feeds.append(torch.from_numpy(np.concatenate(parts)[None]))
    if len(feeds) > 1:
        feeds.append(torch.ones(1))
    with torch.no_grad():
        logits: Floats = head.module(*feeds)[0].numpy()
    return logits


def _describe(recipe: Recipe, placed: Sequence[Placed], head: _Head | None) -> dict[str, Any]:
    """All of `bundle.json` but `files`."""
    random = [each.part.name for each in placed if each.record.source.licence == RANDOM]
    warnings = [f"RANDOM WEIGHTS in {', '.join(random)}: its answers mean nothing."] * bool(random)
    if head and not head.trained:
        warnings.append("UNTRAINED fusion head, random weights: its answers mean nothing.")
    return {
        "format_version": FORMAT_VERSION,
        "name": recipe.name,
        "version": recipe.version,
        "description": " ".join([*warnings, recipe.description]),
        "licence": {"weights": recipe.licence, "data": [dict(use) for use in recipe.data]},
        "languages": list(recipe.languages),
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": list(recipe.labels),
        "parts": {
            "audio": [each.entry for each in placed if each.part.modality == "audio"],
            "text": [each.entry for each in placed if each.part.modality == "text"],
            "fusion": head.entry if head else None,
        },
        "calibration": {
            "temperature": recipe.calibration.temperature,
            "abstain_below": recipe.calibration.abstain_below,
        },
        "affect": _describe_affect(recipe),
        "metrics": [],
        "golden": {"file": GOLDEN_FILE, "tolerance": max(part.tolerance for part in recipe.parts)},
    }


def _describe_affect(recipe: Recipe) -> dict[str, Any] | None:
    if recipe.affect.part is not None:
        return None
    return {
        "method": "label_centroids",
        "centroids": {label: list(point) for label, point in recipe.affect.centroids.items()},
        "source": recipe.affect.source,
    }
