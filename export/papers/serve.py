"""A head that was trained on two encoders becomes a bundle that `realtime-ser` serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime_ser.models.bundle import Bundle
from realtime_ser.types import SAMPLE_RATE_HZ

from ..bundles.centroids import PAD_SOURCE
from ..bundles.fusion_head import describe_head, export_head
from ..bundles.place_encoder import Placed, place
from ..bundles.trained_parts import golden_of_trained, trained_part
from ..bundles.write_bundle import FORMAT_VERSION, GOLDEN_FILE, finish_bundle
from ..encoder_folder import GRAPH_FILE, replacing
from ..fusion.heads import Fusion

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
            place(
                trained_part(modality, folder, labels, embedding="all", tolerance=TOLERANCE),
                folder,
                draft,
                labels,
            )
            for modality, folder in (("audio", audio), ("text", text))
        ]
        graph = draft / "fusion" / GRAPH_FILE
        export_head(fusion, fusion.audio.width, fusion.text.width, graph, ("logits", "affect"))
        description = _describe(placed, fusion, labels, system)
        bundle = finish_bundle(
            draft, description, golden_of_trained(placed, fusion), card_of(system)
        )
    return Bundle(out.resolve(), bundle.description, bundle.hash)


def _describe(
    placed: Sequence[Placed], fusion: Fusion, labels: Sequence[str], system: str
) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in fusion.parameters())
    head = describe_head(
        tuple(labels), fusion.audio.width, fusion.text.width, parameters, affect=True
    )
    return describe(
        {"audio": [placed[0].entry], "text": [placed[1].entry], "fusion": head},
        labels,
        system,
        licences=[each.record.source.licence or "not stated" for each in placed],
        temperature=float(fusion.temperature),
        affect={"method": "part", "part": head["name"], "source": PAD_SOURCE},
    )


def describe(
    parts: Mapping[str, Any],
    labels: Sequence[str],
    system: str,
    *,
    licences: Sequence[str],
    affect: Mapping[str, Any],
    temperature: float = 1.0,
    languages: Sequence[str] = ("und",),
) -> dict[str, Any]:
    """All of `bundle.json` but `files`, for a reproduced system.

    Args:
        licences: of the weights of each part.
        affect: how the bundle comes to valence, arousal and dominance.
    """
    return {
        "format_version": FORMAT_VERSION,
        "name": "paper",
        "version": "0.0.0",
        "description": f"{system}; a reproduction, for comparison only.",
        "licence": {
            "weights": " and ".join(sorted(set(licences))),
            "data": [{"name": "of the encoders", "licence": "see them", "used_for": "training"}],
        },
        "languages": list(languages),
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": list(labels),
        "parts": dict(parts),
        "calibration": {"temperature": temperature, "abstain_below": 0.0},
        "affect": dict(affect),
        "metrics": [],
        "golden": {"file": GOLDEN_FILE, "tolerance": TOLERANCE},
    }


def card_of(system: str) -> str:
    """MODEL_CARD.md of a reproduced system."""
    return f"# {system}\n\nA reproduction of a published system; see export/papers.\n"
