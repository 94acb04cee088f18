"""A recipe and encoder folders become a bundle: graphs placed, labels mapped, head built, tried.

The answers that the bundle is held against (`golden.npz`) do not come from the bundle: they come
from the encoder folders' own graphs, with the labels mapped in numpy and the head run in torch.
"""

from __future__ import annotations

import shutil
import sys
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

from .encoder_folder import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    EncoderRecord,
    graph_files,
    read_record,
    replacing,
)
from .errors import ExportError
from .golden import GoldenCase, GoldenInput, golden_inputs
from .label_mapping import LabelMapping, append_mapping, map_labels, use_as_embedding
from .random_models import LICENCE as RANDOM
from .recipe import PartRecipe, Recipe
from .recipe_card import recipe_card
from .served import ServedEncoder, serve_folder
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


@dataclass(frozen=True, slots=True)
class Placed:
    """An encoder on its way into the bundle.

    Attributes:
        folder: its encoder folder.
        entry: its part of `bundle.json`.
        mapping: of its logits; None without.
    """

    recipe: PartRecipe
    folder: Path
    record: EncoderRecord
    entry: Mapping[str, Any]
    mapping: LabelMapping | None


def compose(recipe: Recipe, out: Path, given: Ingredients) -> Bundle:
    """Write the bundle `out`, whole and tried, or nothing.

    Raises:
        ExportError: something is missing or does not fit the recipe; says what to do.
    """
    _check_names(recipe, given)
    out = out.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="realtime-ser-export-") as work,
        replacing(out) as draft,
    ):
        placed = [
            _place(part, _encoder_of(recipe, part, given, Path(work)), draft, recipe.labels)
            for part in recipe.parts
        ]
        head = _build_head(recipe, placed, given, draft)
        cases = _golden_cases(recipe, placed, head)
        description = _describe(recipe, placed, head)
        card = recipe_card(recipe, placed, description)
        _say("trying the bundle against what it was made of")
        bundle = finish_bundle(draft, description, cases, card)
    return Bundle(out, bundle.description, bundle.hash)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _check_names(recipe: Recipe, given: Ingredients) -> None:
    names = [part.name for part in recipe.parts]
    for name in (*given.encoders, *given.models):
        if name not in names:
            raise ExportError(
                f"the recipe {recipe.name} has no part {name!r}; its parts are {', '.join(names)}"
            )
    both = [name for name in given.encoders if name in given.models]
    if both:
        raise ExportError(f"give --encoder or --model for {', '.join(both)}, not both")


def _encoder_of(recipe: Recipe, part: PartRecipe, given: Ingredients, work: Path) -> Path:
    """The encoder folder of a part, in the recipe's precision: brought, or exported now."""
    if part.name in given.encoders:
        folder = given.encoders[part.name]
    else:
        folder = _export(recipe, part, given.models.get(part.name), work / part.name)
    record = read_record(folder)
    _check_record(part, record, replaced=part.name in given.models)
    if record.precision == part.precision:
        return folder
    if record.precision != "float32":
        raise ExportError(
            f"{folder} is in {record.precision}, the recipe wants {part.precision} for "
            f"{part.name}; give its float32 folder, or change the recipe's precision"
        )
    from .quantize import quantize

    _say(f"{part.name}: {part.precision}")
    quantized = work / f"{part.name}-{part.precision}"
    quantize(folder, quantized, part.precision)
    return quantized


def _export(recipe: Recipe, part: PartRecipe, model: str | None, out: Path) -> Path:
    if model is None and part.head != "none" and not part.fine_tuned:
        raise ExportError(
            f"recipe {recipe.name}, part {part.name}: {part.model} is a pretrained encoder without "
            f"a head for {', '.join(recipe.labels)}; fine-tune it, and give your Hugging Face "
            f"folder with --model {part.name}=FOLDER"
        )
    revision = part.revision if model is None else None
    source = model or part.model
    _say(f"{part.name}: exporting {source}")
    options: dict[str, Any] = {"revision": revision, "head": part.head}
    if part.precision == "float32":
        options["tolerance"] = part.tolerance
    # The recipe's names are those of the recipe's model, and only that one's.
    if model is None and part.model_labels:
        options["labels"] = part.model_labels
    if part.modality == "text":
        from .hf_text_export import export_text

        export_text(source, out, **options)
        return out
    from .hf_audio_export import export_audio

    if part.range is not None:
        options["affect_range"] = part.range
    export_audio(source, out, **options)
    return out


def _check_record(part: PartRecipe, record: EncoderRecord, *, replaced: bool) -> None:
    source = record.source
    if record.modality != part.modality:
        raise ExportError(
            f"{source.model} is a model of {record.modality}, the part {part.name} of "
            f"{part.modality}; give another one"
        )
    if source.model == part.model:
        if part.revision and source.revision and source.revision != part.revision:
            raise ExportError(
                f"part {part.name}: the encoder is {source.model} at revision {source.revision}, "
                f"the recipe wants {part.revision}; export that one"
            )
    elif "/" in source.model and not replaced:
        # A folder of the user's own may stand for any model. Another published one is a mistake.
        raise ExportError(
            f"part {part.name}: the encoder is {source.model}, the recipe wants {part.model}; "
            "export that one, or change the recipe"
        )


def _place(part: PartRecipe, folder: Path, draft: Path, labels: Sequence[str]) -> Placed:
    """Copy the graph into the bundle with the outputs that the recipe wants."""
    record = read_record(folder)
    logits, embedding, affect = (
        _output(record, role) for role in ("logits", "embedding", "affect")
    )
    wanted = {"classification": logits, "regression": affect}.get(part.head, embedding)
    if wanted is None:
        raise ExportError(
            f"part {part.name}: {record.source.model} has no head for {part.head}; give a model "
            "that has one, or change the recipe's head"
        )
    mapping = None
    outputs: list[Mapping[str, Any]] = []
    if part.head == "classification" and logits:
        mapping = _map(part, record, logits["labels"], labels)
        columns = {"labels": list(mapping.labels), "shape": ["batch", len(mapping.labels)]}
        outputs.append({**logits, **columns})
    if part.head == "regression" and affect:
        outputs.append({**affect, "range": list(part.range or affect["range"])})
        _check_dimensions(part, record, affect["labels"])
    if part.embedding == "logits":
        name = embedding["name"] if embedding else "embedding"
        shape = ["batch", len(labels)]
        outputs.append(
            {"name": name, "role": "embedding", "dtype": "float32", "shape": shape, "unit": "nat"}
        )
    elif embedding:
        outputs.append(embedding)
    target = draft / part.name
    target.mkdir()
    _write_graph(folder, target, [output["name"] for output in outputs], part, mapping)
    entry = {"name": part.name, **record.part, "outputs": outputs}
    entry["file"] = f"{part.name}/{GRAPH_FILE}"
    if part.modality == "text":
        shutil.copyfile(folder / record.part["tokenizer"], target / TOKENIZER_FILE)
        entry["tokenizer"] = f"{part.name}/{TOKENIZER_FILE}"
    return Placed(part, folder, record, entry, mapping)


def _output(record: EncoderRecord, role: str) -> Mapping[str, Any] | None:
    outputs: Sequence[Mapping[str, Any]] = record.part["outputs"]
    return next((output for output in outputs if output["role"] == role), None)


def _map(
    part: PartRecipe, record: EncoderRecord, own: Sequence[str], labels: Sequence[str]
) -> LabelMapping:
    if part.model_labels and record.source.model == part.model and tuple(own) != part.model_labels:
        raise ExportError(
            f"part {part.name}: {part.model} has the labels {', '.join(own)}, the recipe says "
            f"{', '.join(part.model_labels)}; the model has changed, correct the recipe"
        )
    return map_labels(
        own,
        labels,
        part.labels,
        part.dropped,
        f"part {part.name}: {record.source.model}",
        in_bundle_order=part.embedding == "logits",
    )


def _check_dimensions(part: PartRecipe, record: EncoderRecord, own: Sequence[str]) -> None:
    if part.model_labels and tuple(own) != part.model_labels:
        raise ExportError(
            f"part {part.name}: {record.source.model} gives {', '.join(own)}, the recipe says "
            f"{', '.join(part.model_labels)}; correct the recipe"
        )


def _write_graph(
    folder: Path,
    target: Path,
    outputs: Sequence[str],
    part: PartRecipe,
    mapping: LabelMapping | None,
) -> None:
    import onnx

    for path in graph_files(folder):
        shutil.copyfile(path, target / path.name)
    # Weights above 2 GB stay where they are, in the file beside the graph.
    model = onnx.load(str(target / GRAPH_FILE), load_external_data=False)
    logits = outputs[0]
    if mapping is not None:
        append_mapping(model, logits, mapping)
    if part.embedding == "logits":
        use_as_embedding(model, logits, outputs[1])
    kept = [value for value in model.graph.output if value.name in outputs]
    changed = len(kept) < len(model.graph.output)
    if changed:
        del model.graph.output[:]
        model.graph.output.extend(kept)
    if changed or part.embedding == "logits" or (mapping and not mapping.renames_only):
        onnx.save(model, str(target / GRAPH_FILE))
        onnx.checker.check_model(str(target / GRAPH_FILE))


@dataclass(frozen=True, slots=True)
class _Head:
    module: Any
    entry: Mapping[str, Any]
    trained: bool


def _build_head(
    recipe: Recipe, placed: Sequence[Placed], given: Ingredients, draft: Path
) -> _Head | None:
    fusion = recipe.fusion
    weights = given.fusion_weights or fusion.weights
    if fusion.method != "concatenation" and (given.fusion_weights or given.untrained_fusion):
        raise ExportError(
            f"recipe {recipe.name} joins by {fusion.method}, which has no weights; leave out "
            "--fusion-weights and --untrained-fusion"
        )
    if fusion.method == "mean":
        return None
    import torch

    from .fusion_head import build_head, describe_head, export_head, load_head, shapes_of

    widths = {"audio": 0, "text": 0}
    for each in placed:
        embedding = next(out for out in each.entry["outputs"] if out["role"] == "embedding")
        widths[each.recipe.modality] += embedding["shape"][1]
    audio, text = widths["audio"], widths["text"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = build_head(fusion, audio, text, len(recipe.labels)).eval()
    learnt = bool(head.state_dict())
    if learnt and weights is not None:
        load_head(head, weights)
    elif learnt and not given.untrained_fusion:
        raise ExportError(
            f"the head of recipe {recipe.name} has no weights yet; train it and give "
            f"--fusion-weights FILE.safetensors with {shapes_of(head)}, or try the chain with "
            "--untrained-fusion"
        )
    export_head(head, audio, text, draft / "fusion" / GRAPH_FILE)
    parameters = sum(parameter.numel() for parameter in head.parameters())
    entry = describe_head(recipe.labels, audio, text, parameters)
    return _Head(head, entry, trained=not learnt or weights is not None)


def _golden_cases(
    recipe: Recipe, placed: Sequence[Placed], head: _Head | None
) -> tuple[GoldenCase, ...]:
    threads = thread_count(0)
    served = [serve_folder(each.folder, threads=threads) for each in placed]
    cases = []
    for asked in golden_inputs():
        outputs = {
            each.recipe.name: _expected(each, encoder, asked)
            for each, encoder in zip(placed, served, strict=True)
        }
        if head:
            outputs["fusion"] = {"logits": _fused(head, placed, outputs)}
        cases.append(GoldenCase(asked, outputs, has_text=bool(recipe.text)))
    return tuple(cases)


def _expected(placed: Placed, served: ServedEncoder, asked: GoldenInput) -> dict[str, Floats]:
    """What the part must say, worked out from the encoder folder's own graph."""
    of = asked.text if placed.recipe.modality == "text" else asked.waveform
    own = served.expert.run([of])  # type: ignore[list-item]
    values = {}
    mapped: Floats | None = None
    for output in placed.entry["outputs"]:
        name = output["name"]
        if output["role"] == "logits" and placed.mapping:
            mapped = placed.mapping.apply(own[name]).astype(np.float32)
            values[name] = mapped[0]
        elif output["role"] == "embedding" and placed.recipe.embedding == "logits":
            assert mapped is not None
            values[name] = mapped[0]
        else:
            values[name] = own[name][0]
    return values


def _fused(
    head: _Head, placed: Sequence[Placed], outputs: Mapping[str, Mapping[str, Floats]]
) -> Floats:
    import torch

    feeds = []
    for modality in ("audio", "text"):
        parts = [
            outputs[each.recipe.name][output["name"]]
            for each in placed
            for output in each.entry["outputs"]
            if each.recipe.modality == modality and output["role"] == "embedding"
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
    random = [each.recipe.name for each in placed if each.record.source.licence == RANDOM]
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
            "audio": [each.entry for each in placed if each.recipe.modality == "audio"],
            "text": [each.entry for each in placed if each.recipe.modality == "text"],
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
