"""What the verbs `audio` and `text` share: the arguments that name a model, and what is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..encoder_folder import EncoderRecord


def add_model_arguments(verb: argparse.ArgumentParser, *, range_help: str) -> None:
    """Add which model is exported, where to, and how its head is read."""
    verb.add_argument("model", metavar="MODEL", help="id on the Hugging Face hub, or a folder")
    verb.add_argument("--out", type=Path, required=True, help="folder to write or replace")
    verb.add_argument("--revision", help="commit, tag or branch on the hub")
    verb.add_argument(
        "--head",
        choices=("auto", "none", "classification", "regression"),
        default="auto",
        help="auto: what the model has; none: the embedding alone; otherwise it must have that",
    )
    verb.add_argument(
        "--name-labels",
        type=_names,
        metavar="A,B,...",
        help="names of the head's outputs, in their order, where config.json has none",
    )
    verb.add_argument("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=range_help)
    verb.add_argument(
        "--multi-label-shares",
        action="store_true",
        help="of a model that answers each label on its own, let each have its share of the sum "
        "of all probabilities; it cannot say then that no label holds",
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME,NAME,..., such as angry,happy")
    return names


def model_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments as `export_audio` and `export_text` take them, besides model and folder."""
    return {
        "revision": options.revision,
        "head": options.head,
        "labels": options.name_labels,
        "affect_range": tuple(options.range) if options.range else None,
        "multi_label_shares": options.multi_label_shares,
    }


def print_encoder(record: EncoderRecord, out: Path) -> None:
    """Say what was written: size, licence, outputs."""
    part = record.part
    print(f"wrote {out}: {record.source.family}, {part['parameters']:,} parameters")
    if part["parameters"]:
        print(f"licence of the weights: {record.source.licence or 'not said in its model card'}")
    for output in part["outputs"]:
        holds = ", ".join(output.get("labels", ())) or f"{output['shape'][1]} wide"
        print(f"{output['name']}: {holds}")
