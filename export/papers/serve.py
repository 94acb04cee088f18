"""A head that was trained on two encoders becomes a bundle that `realtime-ser` serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from realtime_ser.models.bundle import Bundle
from realtime_ser.types import SAMPLE_RATE_HZ

from ..bundles.centroids import PAD_SOURCE
from ..bundles.fusion_head import describe_head, export_head
from ..bundles.golden import GoldenCase, golden_inputs
from ..bundles.place_encoder import Placed, expected_outputs, place
from ..bundles.recipe_description import PartRecipe
from ..bundles.write_bundle import FORMAT_VERSION, GOLDEN_FILE, finish_bundle
from ..encoder_folder import GRAPH_FILE, read_record, replacing
from ..fusion.heads import Fusion
from ..graphs.served import serve_folder

TOLERANCE = 1e-4


def write_bundle(
    out: Path, audio: Path, text: Path, fusion: Fusion, labels: Sequence[str], system: str
) -> Bundle:
    """Write the bundle `out` of two encoder folders and the head that joins what they say.

    Args:
        fusion: trained on the wide embeddings (embedding, logits, affect) of these encoders, whose
            heads answer `labels`.
        system: its name, for people.

    Raises:
        ExportError: an encoder has no logits or other labels, or `out` holds something else.
    """
    with replacing(out) as draft:
        placed = [
            place(_part(modality, folder, labels), folder, draft, labels)
            for modality, folder in (("audio", audio), ("text", text))
        ]
        graph = draft / "fusion" / GRAPH_FILE
        export_head(fusion, fusion.audio.width, fusion.text.width, graph, ("logits", "affect"))
        description = _describe(placed, fusion, labels, system)
        card = f"# {system}\n\nA reproduction of a published system; see export/papers.\n"
        bundle = finish_bundle(draft, description, _golden_cases(placed, fusion), card)
    return Bundle(out.resolve(), bundle.description, bundle.hash)


def _part(modality: str, folder: Path, labels: Sequence[str]) -> PartRecipe:
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
        tolerance=TOLERANCE,
        model_labels=(),
        labels={label: label for label in labels},
        dropped=(),
        range=None,
        embedding="all",
    )


def _golden_cases(placed: Sequence[Placed], fusion: Fusion) -> tuple[GoldenCase, ...]:
    """From the encoder folders' graphs and the head in torch, none of which is in the bundle."""
    served = [serve_folder(each.folder) for each in placed]
    cases = []
    for asked in golden_inputs():
        outputs: dict[str, dict[str, Any]] = {
            each.part.name: expected_outputs(each, encoder, asked)
            for each, encoder in zip(placed, served, strict=True)
        }
        wide = []
        for each in placed:
            name = next(o["name"] for o in each.entry["outputs"] if o["role"] == "embedding")
            wide.append(torch.from_numpy(outputs[each.part.name][name][None]))
        with torch.no_grad():
            logits, affect = fusion(*wide, torch.ones(1))
        outputs["fusion"] = {"logits": logits[0].numpy(), "affect": affect[0].numpy()}
        cases.append(GoldenCase(asked, outputs, has_text=True))
    return tuple(cases)


def _describe(
    placed: Sequence[Placed], fusion: Fusion, labels: Sequence[str], system: str
) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in fusion.parameters())
    head = describe_head(
        tuple(labels), fusion.audio.width, fusion.text.width, parameters, affect=True
    )
    licences = {each.record.source.licence or "not stated" for each in placed}
    return {
        "format_version": FORMAT_VERSION,
        "name": "paper",
        "version": "0.0.0",
        "description": f"{system}; a reproduction, for comparison only.",
        "licence": {
            "weights": " and ".join(sorted(licences)),
            "data": [{"name": "of the encoders", "licence": "see them", "used_for": "training"}],
        },
        "languages": ["und"],
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": list(labels),
        "parts": {"audio": [placed[0].entry], "text": [placed[1].entry], "fusion": head},
        "calibration": {"temperature": float(fusion.temperature), "abstain_below": 0.0},
        "affect": {"method": "part", "part": head["name"], "source": PAD_SOURCE},
        "metrics": [],
        "golden": {"file": GOLDEN_FILE, "tolerance": TOLERANCE},
    }
