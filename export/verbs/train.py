"""The verbs of the default bundle: train-default, train-audio, bundle-audio.

train-default does everything, resuming where it was stopped; its two stages also run alone:
train-audio trains the encoder, bundle-audio measures the best one so far and writes the bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoder_folder import replacing
from ..errors import ExportError

if TYPE_CHECKING:
    from ..speech.audio_cache import AudioCache
    from ..training.corpora import Clip

_VERBS = {
    "train-default": "train the default bundle's encoder, measure it, write the bundle",
    "train-audio": "train that encoder only, or go on where it was stopped",
    "bundle-audio": "measure the best encoder so far and write the bundle",
}


def add_verbs(verbs: Any) -> None:
    """Add the verbs to an argparse sub-command group; each sets `run`."""
    for name, purpose in _VERBS.items():
        verb = verbs.add_parser(name, help=purpose, description=purpose)
        verb.set_defaults(run=run)
        verb.add_argument("--data", type=Path, required=True, help="folder with speech.csv")
        verb.add_argument(
            "--out",
            type=Path,
            required=name != "train-audio",
            help="bundle directory to write or replace",
        )
        verb.add_argument(
            "--work",
            type=Path,
            default=Path("~/.cache/realtime-ser-export").expanduser(),
            help="caches and checkpoints, 2 GB (default: %(default)s)",
        )
        verb.add_argument("--steps", type=int, help="optimiser steps in all (5000)")
        verb.add_argument("--threads", type=int, help="CPU threads (1)")


def run(options: argparse.Namespace) -> None:
    """Do what the verb says."""
    from ..speech.audio_cache import open_cache
    from ..training.corpora import read_clips

    if not (options.data / "speech.csv").is_file():
        raise ExportError(f"{options.data} holds no speech.csv; give --data the folder that does")
    clips = read_clips(options.data)
    files = [clip.file for clip in clips]
    audio = open_cache(options.work / "cache", options.data / "speech", files)
    if options.verb != "bundle-audio":
        _train(options, clips, audio)
    if options.verb != "train-audio":
        _bundle(options, clips, audio)


def _train(options: argparse.Namespace, clips: list[Clip], audio: AudioCache) -> None:
    from ..speech.audio_encoder import EncoderConfig
    from ..speech.train_audio import TrainConfig, train

    given = {"steps": options.steps, "threads": options.threads}
    config = TrainConfig(**{name: value for name, value in given.items() if value is not None})
    train(clips, audio, options.work / "audio", EncoderConfig(), config)


def _bundle(options: argparse.Namespace, clips: list[Clip], audio: AudioCache) -> None:
    """Export the best encoder so far, measure it as served, write the bundle."""
    import torch

    from ..bundles.default_bundle import describe, export_encoder, golden_cases
    from ..bundles.model_card import model_card
    from ..bundles.write_bundle import finish_bundle
    from ..speech.audio_encoder import parameter_count
    from ..speech.train_audio import load_best
    from ..training.corpora import TRAINING_CORPORA, label_masks, select
    from ..training.figures import measure

    model, training = load_best(options.work / "audio")
    with replacing(options.out) as draft:
        served = export_encoder(model, draft)
        calibration, metrics = measure(
            served, clips, audio, label_masks(clips), options.data / "sound"
        )
        trained_on = select(clips, TRAINING_CORPORA, ["train"])
        card = model_card(
            parameters=parameter_count(model),
            training=training,
            calibration=calibration,
            metrics=metrics,
            speakers=len({clips[i].speaker for i in trained_on}),
            torch_version=torch.__version__.split("+")[0],
        )
        finish_bundle(draft, describe(model, calibration, metrics), golden_cases(model), card)
    print(f"wrote {options.out}")
