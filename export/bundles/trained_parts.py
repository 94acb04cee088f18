"""Encoders that were trained here, and a head on them, as parts of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoder_folder import read_record
from ..graphs.served import ServedEncoder, serve_folder
from .golden import GoldenCase, golden_inputs
from .place_encoder import Placed, expected_outputs
from .recipe_description import PartRecipe

if TYPE_CHECKING:
    from ..fusion.heads import Fusion

FUSION = "fusion"


def trained_part(
    modality: str, folder: Path, labels: Sequence[str], *, embedding: str, tolerance: float
) -> PartRecipe:
    """What a recipe would say of an encoder folder whose head answers `labels`.

    Args:
        embedding: `pooled`, or `all` for hidden states, logits and affect side by side.
        tolerance: of its golden answers.
    """
    record = read_record(folder)
    return PartRecipe(
        name=modality,
        modality=modality,
        model=record.source.model,
        revision=None,
        licence=record.source.licence or "",
        parameters=record.part.get("parameters"),
        head="classification",
        fine_tuned=True,
        precision=record.precision,
        tolerance=tolerance,
        model_labels=(),
        labels={label: label for label in labels},
        dropped=(),
        range=None,
        embedding=embedding,
    )


def golden_of_trained(placed: Sequence[Placed], head: Fusion | None) -> tuple[GoldenCase, ...]:
    """From the encoder folders' graphs and the head in torch, none of which is in the bundle."""
    served: list[ServedEncoder] = [serve_folder(each.folder) for each in placed]
    cases = []
    for asked in golden_inputs():
        outputs = {
            each.part.name: expected_outputs(each, encoder, asked)
            for each, encoder in zip(placed, served, strict=True)
        }
        if head is not None:
            outputs[FUSION] = _fused(head, outputs, placed)
        cases.append(GoldenCase(asked, outputs, has_text=head is not None))
    return tuple(cases)


def _fused(
    head: Fusion, outputs: Mapping[str, Mapping[str, Any]], placed: Sequence[Placed]
) -> dict[str, Any]:
    import torch

    wide = []
    for each in placed:
        name = next(o["name"] for o in each.entry["outputs"] if o["role"] == "embedding")
        wide.append(torch.from_numpy(outputs[each.part.name][name][None]))
    with torch.no_grad():
        logits, affect = head(*wide, torch.ones(1))
    return {"logits": logits[0].numpy(), "affect": affect[0].numpy()}
