"""The verb `reproduce`: the systems of a paper, trained and measured, beside what it reports."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ExportError

PAPERS = ("paper1", "paper2", "paper3", "paper4", "paper5")
_READERS = "iemocap, savee, emofilm, ses, aesi, meacorpus, tv_debates"

_DESCRIPTION = """\
Trains every system of a paper, measures it by the paper's protocol, and prints the paper's table
and ours side by side with the reason for each difference. Writes results.json, report.md and plots
into --out. What was stopped goes on when the same command is given again.

  paper1  Acoustic and text emotion in Spanish TV debates: logit fusion, spectrogram DCNN
  paper2  Speech and text-based emotion recognizer: 8 classifiers, 2 CNNs, HuBERT, HuBERT + BERT
  paper3  CogniCIC at EmoSPeech 2024: MFCC and BERT through subnets, attention variants
  paper4  PATHOSnet: convolutions over word vectors and acoustic frames, several languages
  paper5  ITST at EmoSPeech 2024: mean and maximum of the probabilities
"""


def add_verbs(verbs: Any) -> None:
    """Add the verb to an argparse sub-command group; it sets `run`."""
    verb = verbs.add_parser(
        "reproduce",
        help="the systems of one of the five papers, trained and measured",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=run)
    add = verb.add_argument
    add("paper", choices=PAPERS)
    add("--data", type=Path, required=True, help="folder with speech.csv and text/")
    add("--out", type=Path, required=True, help="folder of the results, and of what is trained")
    add("--quick", action="store_true", help="a few clips, one epoch: does it all run?")
    add(
        "--work",
        type=Path,
        default=Path("~/.cache/realtime-ser-export").expanduser(),
        help="caches (default: %(default)s)",
    )
    add("--threads", type=int, default=1, help="CPU threads (1)")
    add("--seed", type=int, default=0, help="of everything that is drawn (0)")
    add("--only", default="*", metavar="PATTERN", help="systems to run, such as '*/cnn1d'")
    add("--audio", default="", metavar="ENCODER", help="speech encoder: a bundle or encoder folder")
    add("--text", default="", metavar="ENCODER", help="text encoder: a bundle or encoder folder")
    add(
        "--fine-tune",
        action="append",
        default=[],
        metavar="audio|text=MODEL",
        help="a Hugging Face model, by folder or hub id, to train with its head; smart-turn-v3.2 "
        "and moonshine-tiny-en, speech encoders, come from the package index",
    )
    add(
        "--corpus",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help=f"a licensed corpus: {_READERS}",
    )
    add(
        "--vectors",
        action="append",
        default=[],
        metavar="LANG=FILE",
        help="word vectors of a language, GloVe or MUSE text files (paper4)",
    )
    add(
        "--frames",
        action="append",
        default=[],
        metavar="ENCODER",
        help="encoder of acoustic frames, or log-mel; twice for the ensemble (paper4)",
    )
    add("--image-network", default="", metavar="DIR", help="a published MobileNetV2 (paper2)")


def run(options: argparse.Namespace) -> None:
    """Reproduce one paper, and print its report."""
    from ..papers.options import Options

    if options.threads < 1:
        raise ExportError("--threads must be 1 or more")
    chosen = Options(
        data=options.data,
        out=options.out,
        cache=options.work / "papers",
        quick=options.quick,
        threads=options.threads,
        seed=options.seed,
        audio=options.audio,
        text=options.text,
        fine_tune=dict(_pairs(options.fine_tune, "--fine-tune")),
        corpora=_folders(options.corpus, "--corpus"),
        vectors=_folders(options.vectors, "--vectors"),
        frames=tuple(options.frames),
        image_network=options.image_network,
        only=options.only,
    )
    # sklearn, librosa and torch are imported by it, and not before the arguments are right.
    print(import_module(f"..papers.{options.paper}", __package__).reproduce(chosen))


def _folders(given: list[str], flag: str) -> dict[str, Path]:
    return {name: Path(value) for name, value in _pairs(given, flag)}


def _pairs(given: list[str], flag: str) -> list[tuple[str, str]]:
    pairs = [tuple(each.partition("=")[::2]) for each in given]
    for (name, value), whole in zip(pairs, given, strict=True):
        if not name or not value:
            raise ExportError(f"{flag} {whole!r} is not NAME=VALUE")
    return [(name, value) for name, value in pairs]
