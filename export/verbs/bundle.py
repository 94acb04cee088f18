"""The verbs `bundle` and `inspect`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..bundles.recipe import packaged_recipes
from ..errors import ExportError

_BUNDLE = """\
Make a bundle by a recipe: export what it names, or take the encoders you give; map the labels,
build the head, and try the result before it takes its place.
"""

_INSPECT = """\
Say what a bundle, an encoder folder or a single ONNX file holds: inputs and outputs, labels,
sizes, precision, operators, and which of them a GPU would leave to the CPU.
"""


def add_verbs(verbs: Any) -> None:
    """Add the verbs to an argparse sub-command group; each sets `run`."""
    bundle = verbs.add_parser(
        "bundle",
        help="make a bundle by a recipe",
        description=_BUNDLE,
        epilog="\n  ".join(["recipes that came with this program:", *packaged_recipes()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bundle.set_defaults(run=_bundle)
    bundle.add_argument("recipe", metavar="RECIPE", help="a TOML file, or the name of one of ours")
    bundle.add_argument("--out", type=Path, required=True, help="folder to write or replace")
    bundle.add_argument(
        "--encoder",
        type=_named,
        action="append",
        default=[],
        metavar="PART=DIR",
        help="take this encoder folder for a part of the recipe; may be repeated",
    )
    bundle.add_argument(
        "--model",
        type=_named,
        action="append",
        default=[],
        metavar="PART=MODEL",
        help="export this Hugging Face id or folder in place of the recipe's; may be repeated",
    )
    bundle.add_argument(
        "--fusion-weights", type=Path, metavar="FILE", help="safetensors file of the fusion head"
    )
    bundle.add_argument(
        "--untrained-fusion",
        action="store_true",
        help="fill the head with random weights, to try the chain; the bundle then says UNTRAINED",
    )
    inspect = verbs.add_parser(
        "inspect", help="say what a bundle, an encoder or a graph holds", description=_INSPECT
    )
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("what", metavar="BUNDLE|DIR|FILE", type=Path)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not PART=VALUE, such as audio=my-encoder")
    return name, value


def _by_part(pairs: Sequence[tuple[str, str]], flag: str) -> dict[str, str]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ExportError(f"{flag} names a part twice; give each one once")
    return named


def _bundle(options: argparse.Namespace) -> None:
    from realtime_ser.models.describe import describe

    from ..bundles.compose_bundle import Ingredients, compose
    from ..bundles.recipe import read_recipe

    encoders = _by_part(options.encoder, "--encoder")
    given = Ingredients(
        encoders={name: Path(folder) for name, folder in encoders.items()},
        models=_by_part(options.model, "--model"),
        fusion_weights=options.fusion_weights,
        untrained_fusion=options.untrained_fusion,
    )
    print(describe(compose(read_recipe(options.recipe), options.out, given)))


def _inspect(options: argparse.Namespace) -> None:
    from ..graphs.inspect_graph import inspect

    print(inspect(options.what))
