"""The command line of training and export: `python -m realtime_ser_export VERB`.

train-default does everything, resuming where it was stopped; its two stages also run alone:
train-audio trains the encoder, bundle-audio measures the best one so far and writes the bundle.
train-transcriber makes a small Whisper out of any folder of recordings with transcripts.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .audio_cache import AudioCache, open_cache
from .audio_encoder import EncoderConfig, parameter_count
from .corpora import TRAINING_CORPORA, Clip, label_masks, read_clips, select
from .figures import measure
from .model_card import model_card
from .train_audio import TrainConfig, load_best, train
from .transcriber_cli import add_verbs
from .write_bundle import export_audio, finish_bundle, replace_directory


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where things are: corpora, the bundle to write, caches and checkpoints."""

    data: Path
    out: Path | None
    work: Path
    config: TrainConfig
    clips: list[Clip]
    audio: AudioCache


def train_audio(place: Workplace) -> None:
    """Train the encoder, or go on where it was stopped."""
    train(place.clips, place.audio, place.work / "audio", EncoderConfig(), place.config)


def bundle_audio(place: Workplace) -> None:
    """Export the best encoder so far, measure it as served, write the bundle."""
    if place.out is None:
        raise SystemExit("bundle-audio needs --out")
    model, training = load_best(place.work / "audio")
    draft = place.out.with_name(place.out.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    served = export_audio(model, draft)
    calibration, metrics = measure(
        served, place.clips, place.audio, label_masks(place.clips), place.data / "sound"
    )
    trained_on = select(place.clips, TRAINING_CORPORA, ["train"])
    card = model_card(
        parameters=parameter_count(model),
        training=training,
        calibration=calibration,
        metrics=metrics,
        speakers=len({place.clips[i].speaker for i in trained_on}),
        torch_version=torch.__version__.split("+")[0],
    )
    finish_bundle(draft, model, calibration, metrics, card)
    replace_directory(draft, place.out)
    print(f"wrote {place.out}")


def train_default(place: Workplace) -> None:
    """Train, then write the bundle."""
    train_audio(place)
    bundle_audio(place)


_VERBS: dict[str, Callable[[Workplace], None]] = {
    "train-default": train_default,
    "train-audio": train_audio,
    "bundle-audio": bundle_audio,
}


def main(arguments: list[str] | None = None) -> None:
    """Run one verb."""
    options = _parser().parse_args(arguments)
    if hasattr(options, "run"):
        options.run(options)
        return
    clips = read_clips(options.data)
    files = [clip.file for clip in clips]
    audio = open_cache(options.work / "cache", options.data / "speech", files)
    config = TrainConfig(steps=options.steps, threads=options.threads)
    place = Workplace(options.data, options.out, options.work, config, clips, audio)
    _VERBS[options.verb](place)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="realtime_ser_export", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, function in _VERBS.items():
        verb = verbs.add_parser(name, help=function.__doc__)
        verb.add_argument("--data", type=Path, required=True, help="folder with speech.csv")
        verb.add_argument("--out", type=Path, help="bundle directory to write or replace")
        verb.add_argument(
            "--work",
            type=Path,
            default=Path("~/.cache/realtime-ser-export").expanduser(),
            help="caches and checkpoints, 2 GB (default: %(default)s)",
        )
        verb.add_argument("--steps", type=int, default=TrainConfig().steps)
        verb.add_argument("--threads", type=int, default=TrainConfig().threads)
    add_verbs(verbs)
    return parser
