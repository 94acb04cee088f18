"""The verb `audio`: a speech model to an encoder folder."""

from __future__ import annotations

import argparse
from typing import Any

from realtime_ser.types import SAMPLE_RATE_HZ

from ..progress import say
from .model_arguments import add_model_arguments, model_options, print_encoder

_DESCRIPTION = """\
Export a speech model from the Hugging Face hub, or from a folder, as one ONNX graph that takes raw
waveforms. Base models (wav2vec2, HuBERT, WavLM, UniSpeech-SAT, data2vec-audio, wav2vec2-conformer,
Whisper's and Moonshine's encoders, Audio Spectrogram Transformer) give an embedding; those with a
head for emotions, or for arousal, dominance and valence, give its answer too. The graph is compared
with the original model before anything is written.
"""

_EPILOG = """\
MODEL `mfcc-mean` is no model but the cepstral coefficients of the audio, averaged over time.
`smart-turn-v3.2` (Whisper tiny's encoder, fine-tuned) and `moonshine-tiny-en` come out of wheels of
the package index, where the hub is out of reach.
"""


WITHOUT_MODEL = "mfcc-mean"
"""`mfcc_encoder.NAME`, whose module imports torch."""


def add_verbs(verbs: Any) -> None:
    """Add the verb to an argparse sub-command group; it sets `run`."""
    audio = verbs.add_parser(
        "audio", help="export a speech model", description=_DESCRIPTION, epilog=_EPILOG
    )
    audio.set_defaults(run=run)
    add_model_arguments(
        audio,
        range_help="what a head for arousal, dominance and valence was trained on; "
        "audeering's: 0 1",
    )


def run(options: argparse.Namespace) -> None:
    """Export, and say what came of it."""
    from ..huggingface.source import AUDIO_FILES, resolve

    if options.model != WITHOUT_MODEL:
        # First, for torch takes seconds to import, and what is not there is known before.
        resolve(options.model, options.revision, needs=AUDIO_FILES)
    say("loading torch and transformers")
    from ..huggingface.audio_export import export_audio

    record = export_audio(options.model, options.out, **model_options(options))
    print_encoder(record, options.out)
    part = record.part
    mixed = part["batching"] == "masked"
    print(
        f"hears up to {part['maximum_samples'] / SAMPLE_RATE_HZ:g} s; batches of "
        f"{'mixed lengths' if mixed else 'one length only'}"
    )
    error = max(min(row["max_abs_error"], row["max_relative_error"]) for row in record.parity)
    print(f"largest difference from the original: {error:.1e}")
