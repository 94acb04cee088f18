"""An encoder folder becomes a part of a bundle: found or exported, checked, its outputs mapped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AFFECT_LABELS, PRECISIONS

from ..encoder_folder import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    EncoderRecord,
    graph_files,
    read_record,
)
from ..errors import ExportError
from ..graphs.served import ServedEncoder
from .golden import GoldenInput
from .label_mapping import (
    LabelMapping,
    append_mapping,
    map_labels,
    use_as_embedding,
    widen_embedding,
)
from .recipe_description import PartRecipe

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Placed:
    """An encoder that is part of a bundle.

    Attributes:
        part: what the recipe says of it.
        folder: its encoder folder.
        entry: its part of `bundle.json`.
        mapping: of its logits; None without.
    """

    part: PartRecipe
    folder: Path
    record: EncoderRecord
    entry: Mapping[str, Any]
    mapping: LabelMapping | None


def check_encoder(part: PartRecipe, record: EncoderRecord, *, replaced: bool = False) -> None:
    """Hold an encoder against what the recipe says of the part.

    Args:
        replaced: the user put another model in place of the recipe's on purpose.

    Raises:
        ExportError: it is of another modality, revision, or published model.
    """
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


def export_encoder(part: PartRecipe, model: str | None, out: Path) -> None:
    """Export the recipe's model, or `model` in place of it, to the encoder folder `out`.

    Raises:
        ExportError: it cannot be exported.
    """
    options: dict[str, Any] = {"head": part.head}
    if model is None:
        options["revision"] = part.revision
        # The recipe's names are those of the recipe's model, and only that one's.
        options["labels"] = part.model_labels or None
    if part.precision == "float32":
        options["tolerance"] = part.tolerance
    if part.range is not None:
        options["affect_range"] = part.range
    if part.modality == "text":
        from ..huggingface.text_export import export_text

        export_text(model or part.model, out, **options)
    else:
        from ..huggingface.audio_export import export_audio

        export_audio(model or part.model, out, **options)


def in_precision(part: PartRecipe, folder: Path, work: Path) -> Path:
    """The encoder in the recipe's precision: `folder`, or a new one under `work`.

    One that was quantised already is taken as it is: whoever brings it has chosen, and it was held
    against its graph in float32 when it was made.
    """
    if read_record(folder).precision in (*PRECISIONS[1:], part.precision):
        return folder
    from ..graphs.parity import TOLERANCES
    from ..graphs.quantize import quantize

    quantized = work / f"{part.name}-{part.precision}"
    tolerance = replace(TOLERANCES[part.precision], error=part.tolerance)
    quantize(folder, quantized, part.precision, tolerance=tolerance)
    return quantized


def place(part: PartRecipe, folder: Path, draft: Path, labels: Sequence[str]) -> Placed:
    """Copy the graph into the bundle `draft` with the outputs that the recipe wants.

    Raises:
        ExportError: the encoder lacks the head, or its labels are not those of the recipe.
    """
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
        _check_affect(part, record, affect)
        outputs.append(affect)
    others = _side_by_side(part, record)
    if part.embedding == "logits":
        name = embedding["name"] if embedding else "embedding"
        shape = ["batch", len(labels)]
        outputs.append(
            {"name": name, "role": "embedding", "dtype": "float32", "shape": shape, "unit": "nat"}
        )
    elif embedding:
        # The logits are as wide as the bundle has labels by now.
        wider = [len(labels) if o["role"] == "logits" else o["shape"][1] for o in others]
        shape = ["batch", embedding["shape"][1] + sum(wider)]
        outputs.append({**embedding, "shape": shape})
    target = draft / part.name
    target.mkdir()
    names = [output["name"] for output in outputs]
    _write_graph(folder, target, names, part, mapping, [other["name"] for other in others])
    entry = {"name": part.name, "precision": record.precision, **record.part, "outputs": outputs}
    entry["file"] = f"{part.name}/{GRAPH_FILE}"
    if part.modality == "text":
        shutil.copyfile(folder / record.part["tokenizer"], target / TOKENIZER_FILE)
        entry["tokenizer"] = f"{part.name}/{TOKENIZER_FILE}"
    return Placed(part, folder, record, entry, mapping)


def _side_by_side(part: PartRecipe, record: EncoderRecord) -> list[Mapping[str, Any]]:
    """The outputs that stand behind the pooled hidden states where the embedding is all there is.

    Raises:
        ExportError: affect is not in the order and range that whoever reads columns counts on.
    """
    if part.embedding != "all":
        return []
    embedding, logits, affect = (
        _output(record, role) for role in ("embedding", "logits", "affect")
    )
    if embedding is None or logits is None:
        raise ExportError(
            f"part {part.name}: {record.source.model} lacks logits or an embedding; "
            'embedding = "all" needs both'
        )
    if affect is None:
        return [logits]
    if tuple(affect["labels"]) != AFFECT_LABELS or list(affect["range"]) != [0, 1]:
        raise ExportError(
            f"part {part.name}: {record.source.model} gives {', '.join(affect['labels'])} in "
            f'{affect["range"]}; embedding = "all" needs {", ".join(AFFECT_LABELS)} in 0..1'
        )
    return [logits, affect]


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
        in_bundle_order=part.embedding != "pooled",
    )


def _check_affect(part: PartRecipe, record: EncoderRecord, output: Mapping[str, Any]) -> None:
    """Of the recipe's own model; another one's order and range are what its folder says."""
    if record.source.model != part.model:
        return
    for key, said in (("labels", part.model_labels), ("range", part.range)):
        if said and tuple(output[key]) != said:
            raise ExportError(
                f"part {part.name}: the {key} of {part.model} were exported as "
                f"{', '.join(map(str, output[key]))}, the recipe says "
                f"{', '.join(map(str, said))}; export it again, or correct the recipe"
            )


def _write_graph(
    folder: Path,
    target: Path,
    outputs: Sequence[str],
    part: PartRecipe,
    mapping: LabelMapping | None,
    others: Sequence[str],
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
    if others:
        widen_embedding(model, outputs[1], others)
    kept = [value for value in model.graph.output if value.name in outputs]
    changed = len(kept) < len(model.graph.output)
    if changed:
        del model.graph.output[:]
        model.graph.output.extend(kept)
    if changed or part.embedding != "pooled" or (mapping and not mapping.renames_only):
        onnx.save(model, str(target / GRAPH_FILE))
        onnx.checker.check_model(str(target / GRAPH_FILE))


def expected_outputs(
    placed: Placed, served: ServedEncoder, asked: GoldenInput
) -> dict[str, Floats]:
    """What the part must say, worked out from the encoder folder's own graph.

    Args:
        served: that graph, with the model's own labels.
    """
    of = asked.text if placed.part.modality == "text" else asked.waveform
    own = served.expert.run([of])  # type: ignore[list-item]
    values = {}
    mapped: Floats | None = None
    for output in placed.entry["outputs"]:
        name = output["name"]
        if output["role"] == "logits" and placed.mapping:
            mapped = placed.mapping.apply(own[name]).astype(np.float32)
            values[name] = mapped[0]
        elif output["role"] == "embedding" and placed.part.embedding == "logits":
            assert mapped is not None
            values[name] = mapped[0]
        elif output["role"] == "embedding" and placed.part.embedding == "all":
            assert mapped is not None
            others = [
                mapped if other["role"] == "logits" else own[other["name"]]
                for other in _side_by_side(placed.part, placed.record)
            ]
            values[name] = np.concatenate([own[name], *others], axis=1)[0]
        else:
            values[name] = own[name][0]
    return values
