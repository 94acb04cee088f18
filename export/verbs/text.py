"""The verbs `text` and `random`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..huggingface.random_models import FAMILIES, HEADS, SIZES, random_model
from ..progress import say
from .model_arguments import add_model_arguments, model_options, print_encoder

_TEXT = """\
Export a Hugging Face text model: DistilBERT, BERT (BETO, MiniLM), RoBERTa (MarIA, BERTIN), XLM-R.
DIR gets the graph, its tokenizer.json, and encoder.json, which says what was exported and how far
its answers are from the original's.
"""

_RANDOM = """\
Write a Hugging Face folder of a real architecture with RANDOM WEIGHTS, for `audio` and `text`: to
measure latency and memory before you have weights. What such a model answers means nothing.
"""


def add_verbs(verbs: Any) -> None:
    """Add the verbs to an argparse sub-command group; each sets `run`."""
    text = verbs.add_parser("text", help="export a text model", description=_TEXT)
    text.set_defaults(run=_text)
    add_model_arguments(
        text,
        range_help="what a head for valence, arousal and dominance was trained on, such as 1 5",
    )
    text.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="cut longer texts (default: at what the model can take); a minute of speech has "
        "about 200",
    )
    text.add_argument(
        "--pooling",
        choices=("mean", "first"),
        default="mean",
        help="embedding: mean over the tokens, or the first one, [CLS] (default: %(default)s)",
    )
    random = verbs.add_parser(
        "random",
        help="write a model with random weights, to measure latency",
        description=_RANDOM,
        epilog=f"families: {', '.join(FAMILIES)}. Of wav2vec2-conformer only a large one is "
        "published; base has half its layers, and is 768 wide.",
    )
    random.set_defaults(run=_random)
    random.add_argument("family", metavar="FAMILY", choices=FAMILIES, help="see below")
    random.add_argument("--out", type=Path, required=True, help="folder to write")
    random.add_argument(
        "--size",
        choices=SIZES,
        default="base",
        help="base: the published one; tiny: two layers, 32 wide (default: %(default)s)",
    )
    random.add_argument("--head", choices=HEADS, default="none", help="(default: %(default)s)")
    random.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")


def _text(options: argparse.Namespace) -> None:
    from ..huggingface.source import TEXT_FILES, resolve

    # First, for torch takes seconds to import, and that the hub is out of reach is known before.
    resolve(options.model, options.revision, needs=TEXT_FILES)
    say("loading torch and transformers")
    from ..huggingface.text_export import export_text

    record = export_text(
        options.model,
        options.out,
        max_tokens=options.max_tokens,
        pooling=options.pooling,
        **model_options(options),
    )
    print_encoder(record, options.out)
    error = max(row["max_abs_error"] for row in record.parity)
    print(f"texts are cut at {record.part['max_tokens']} tokens")
    print(f"largest difference from the original: {error:.1e}")


def _random(options: argparse.Namespace) -> None:
    out: Path = options.out
    if out.exists() and not _is_replaceable(out):
        raise ExportError(f"{out} holds something else; give a new folder with --out")
    say("drawing RANDOM WEIGHTS")
    random_model(options.family, out, size=options.size, head=options.head, seed=options.seed)
    modality = FAMILIES[options.family].modality
    print(
        f"wrote {out}: {options.family}, size {options.size}, RANDOM WEIGHTS: its answers mean "
        f"nothing. Export it with `realtime-ser-export {modality} {out} --out DIR`"
    )


def _is_replaceable(out: Path) -> bool:
    """Whether there is nothing to lose in it."""
    if not out.is_dir():
        return False
    card = out / "README.md"
    if card.is_file():
        return "\n# RANDOM WEIGHTS\n" in card.read_text(encoding="utf-8", errors="replace")
    return not any(out.iterdir())
