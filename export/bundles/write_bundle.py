"""A folder of graphs becomes a bundle (format version 1), and is tried before anyone gets it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime_ser.models.bundle import Bundle, load_bundle
from realtime_ser.models.bundle_description import FORMAT_VERSION
from realtime_ser.models.bundle_files import DESCRIPTION_FILE, HASH_FILE
from realtime_ser.models.golden import verify_golden

from ..errors import ExportError
from .golden import GoldenCase, write_golden

__all__ = ["CARD_FILE", "FORMAT_VERSION", "GOLDEN_FILE", "finish_bundle"]

GOLDEN_FILE = "golden.npz"
CARD_FILE = "MODEL_CARD.md"


def finish_bundle(
    folder: Path, description: Mapping[str, Any], cases: Sequence[GoldenCase], card: str
) -> Bundle:
    """Complete the bundle whose graphs already lie in `folder`: golden cases, card, hashes.

    Then it is loaded and asked the golden cases, by the same code that will serve it.

    Args:
        folder: holds what the parts need and nothing else.
        description: all of `bundle.json` but `files`.
        cases: inputs, and the answers that were worked out without the graphs in `folder`.
        card: text of MODEL_CARD.md.

    Raises:
        ExportError: the bundle answers otherwise.
        BundleError: the description breaks a rule of the contract.
    """
    write_golden(cases, folder / GOLDEN_FILE)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    records = {
        path.relative_to(folder).as_posix(): {
            "sha256": _sha256(path),
            "bytes": path.stat().st_size,
        }
        for path in files
    }
    text = json.dumps({**description, "files": records}, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
    digest = _sha256(folder / DESCRIPTION_FILE)
    (folder / HASH_FILE).write_text(f"{digest}  {DESCRIPTION_FILE}\n", encoding="utf-8")
    bundle = load_bundle(folder)
    _try(bundle)
    return bundle


def _try(bundle: Bundle) -> None:
    report = verify_golden(bundle)
    if not report.passed:
        worst = report.worst
        raise ExportError(
            f"the bundle {bundle.description.name} does not answer as what it was made of: part "
            f"{worst.part}, output {worst.output} differs by {worst.error:.2g} (allowed "
            f"{report.tolerance:g}); it was not written: check the graph of {worst.part} with "
            "`realtime-ser-export parity`, or allow more in the recipe's tolerance"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
