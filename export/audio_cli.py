"""The verb `audio`: a speech model to an encoder folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from realtime_ser.types import SAMPLE_RATE_HZ

from .progress import say

_DESCRIPTION = """\
Export a speech model from the Hugging Face hub, or from a folder, as one ONNX graph that takes raw
waveforms. Base models (wav2vec2, HuBERT, WavLM, UniSpeech-SAT, data2vec-audio, wav2vec2-conformer,
Whisper's encoder, Audio Spectrogram Transformer) give an embedding; those with a head for emotions,
or for arousal, dominance and valence, give its answer too. The graph is compared with the original
model before anything is written.
"""

_EPILOG = """\
MODEL `mfcc-mean` is no model but the cepstral coefficients of the audio, averaged over time.
"""


WITHOUT_MODEL = "mfcc-mean"
"""`mfcc_encoder.NAME`, whose module imports torch."""


def add_verbs(verbs: Any) -> None:
    """Add the verb to an argparse sub-command group; it sets `run`."""
    audio = verbs.add_parser(
        "audio", help="export a speech model", description=_DESCRIPTION, epilog=_EPILOG
    )
    audio.set_defaults(run=run)
    audio.add_argument("model", metavar="MODEL", help="id on the Hugging Face hub, or a folder")
    audio.add_argument("--out", type=Path, required=True, help="folder to write or replace")
    audio.add_argument("--revision", help="commit, tag or branch on the hub")
    audio.add_argument(
        "--head",
        choices=("auto", "none", "classification", "regression"),
        default="auto",
        help="auto: what the model has; none: the embedding alone; otherwise it must have that",
    )
    audio.add_argument(
        "--name-labels",
        type=_names,
        metavar="A,B,...",
        help="names of the head's outputs, in their order, where config.json has none",
    )
    audio.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="what a head for arousal, dominance and valence was trained on; audeering's: 0 1",
    )
    audio.add_argument(
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


def run(options: argparse.Namespace) -> None:
    """Export, and say what came of it."""
    from .hf_source import AUDIO_FILES, resolve

    if options.model != WITHOUT_MODEL:
        # First, for torch takes seconds to import, and what is not there is known before.
        resolve(options.model, options.revision, needs=AUDIO_FILES)
    say("loading torch and transformers")
    from .hf_audio_export import export_audio

    record = export_audio(
        options.model,
        options.out,
        revision=options.revision,
        head=options.head,
        labels=options.name_labels,
        affect_range=tuple(options.range) if options.range else None,
        multi_label_shares=options.multi_label_shares,
    )
    part = record.part
    print(f"wrote {options.out}: {record.source.family}, {part['parameters']:,} parameters")
    if part["parameters"]:
        print(f"licence of the weights: {record.source.licence or 'not said in its model card'}")
    for output in part["outputs"]:
        holds = ", ".join(output.get("labels", ())) or f"{output['shape'][1]} wide"
        print(f"{output['name']}: {holds}")
    mixed = part["batching"] == "masked"
    print(
        f"hears up to {part['maximum_samples'] / SAMPLE_RATE_HZ:g} s; batches of "
        f"{'mixed lengths' if mixed else 'one length only'}"
    )
    error = max(min(row["max_abs_error"], row["max_relative_error"]) for row in record.parity)
    print(f"largest difference from the original: {error:.1e}")
