"""Paper 2's systems on published encoders: frozen, fused with the texts, trained with their top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..huggingface import moonshine, smart_turn
from ..training.metrics import softmax
from .fit import FitSettings
from .frozen import has_text, hear, read
from .options import Options
from .paper2_material import CORPORA_REASON, FOLDS, Both, Material, joined, reported
from .prepare import LABELS
from .results import Answered, Bench
from .tops import KERNEL, LINEAR, Top

Floats = NDArray[np.float32]


def add_rows(bench: Bench, options: Options, materials: Sequence[Material], data: str) -> None:
    """The rows of one protocol: its only division, or one for each of its folds."""
    protocol = materials[0].protocol
    reader = options.text or "default"
    missing = "" if has_text(reader) else "it needs a text encoder; give --text"

    def heard(material: Material) -> list[Floats]:
        return [_heard(options, encoder, material) for encoder in _encoders(options)]

    def known(material: Material) -> Floats:
        return _known(options, reader, material)

    def on_top(top: Top, *, text: bool) -> Answered:
        def of_division(material: Material) -> Answered:
            embeddings = [*heard(material), known(material)] if text else heard(material)
            scores = top.scores(
                embeddings, material.all_labels, len(LABELS), material.train, material.dev,
                material.test,
            )  # fmt: skip
            return material.answered(softmax(scores))

        return joined([of_division(material) for material in materials])

    def fused(folder: Path) -> Answered:
        models = options.fine_tune
        if not models:
            return on_top(LINEAR, text=True)
        [material] = materials
        as_it_is = [] if "audio" in models else heard(material)
        as_it_is += [] if "text" in models else [known(material)]
        return _fine_tuned(options, material, as_it_is, folder)

    encoders = f"{CORPORA_REASON} {_encoder_words(options)}"
    reason = (
        f"{encoders} The layer on top is fitted to its optimum, with a penalty on its weights "
        "instead of dropout; dev chooses the penalty, and then the layer learns from dev, too."
    )
    if protocol != FOLDS:
        bench.add(
            f"{protocol}/frozen", "frozen speech encoders + linear", protocol, LABELS,
            lambda folder: on_top(LINEAR, text=False), paper=reported("HuBERT", protocol),
            data=data, reason=reason,
        )  # fmt: skip
    found = bench.add(
        f"{protocol}/fused", "speech + text: concatenated, linear", protocol, LABELS,
        fused if "text" in options.fine_tune else missing or fused,
        paper=reported("HuBERT + BERT", protocol), data=data,
        reason=(
            f"{CORPORA_REASON} The models that were given, trained with the layer on top."
            if options.fine_tune
            else f"{reason} The paper trains both encoders with it; ours stay as they are: what "
            "little training them was tried is in export/papers/README.md."
        )
        + _TEXTS_REASON,
    )  # fmt: skip
    _ravdess(bench, protocol, found)
    bench.add(
        f"{protocol}/kernel", "speech + text: concatenated, Gaussian kernel (ours)", protocol,
        LABELS, missing or (lambda folder: on_top(KERNEL, text=True)),
        paper=reported("HuBERT + BERT", protocol), data=data,
        reason=(
            f"{encoders} Instead of a layer of weights, the likeness to every clip that was learnt "
            f"from; it takes the place of the training of the encoders.{_TEXTS_REASON}"
        ),
    )  # fmt: skip


def _heard(options: Options, encoder: str | Path, material: Material) -> Floats:
    """What an encoder hears in the balanced training clips, then in all clips."""
    every, copies = (
        hear(encoder, sounds, options.cache, options.threads).embedding
        for sounds in (material.sounds, material.even.copies)
    )
    as_they_are = material.even.origin[: len(material.even.origin) - len(copies)]
    return np.concatenate([every[as_they_are], copies, every])


def _known(options: Options, reader: str, material: Material) -> Floats:
    """What the text encoder reads in their texts."""
    texts = [recording.text for recording in material.recordings]
    every = read(reader, texts, options.cache, options.threads).embedding
    return np.concatenate([every[material.even.origin], every])


def _fine_tuned(
    options: Options, material: Material, as_it_is: Sequence[Floats], folder: Path
) -> Answered:
    """Section III-D.2: the transformers trained with the layer on top, at one rate; table 7.

    `as_it_is` is the embedding of a modality for which no model is given.
    """
    from .finetune import Given, fine_tune

    texts = [recording.text for recording in material.recordings]
    texts = [texts[i] for i in material.even.origin] + texts
    given = Given(Both(material.even.sounds, material.sounds), texts, as_it_is)
    # 16 at once: the paper's batches of 4, of which it adds up 4.
    settings = FitSettings(
        1 if options.quick else 6, 16, 5e-5, "adamw", 0.01, warmup_steps=500, seed=options.seed
    )
    scores = fine_tune(
        options.fine_tune, given, material.all_labels, len(LABELS), material.train, material.dev,
        material.test, settings, folder,
    )  # fmt: skip
    return material.answered(softmax(scores))


def _ravdess(bench: Bench, protocol: str, found: Mapping[str, Any] | None) -> None:
    """Table 9: the fusion on RAVDESS alone; its test clips, where the paper does not say which."""
    whole = bench.rows[-1]
    ours = None
    if found is not None and "ravdess" in found.get("groups", {}):
        ours = {**found, **found["groups"]["ravdess"]}
    bench.rows.append(
        replace(
            whole,
            system="the same on RAVDESS (table 9)",
            ours=ours,
            paper=reported("RAVDESS", protocol),
        )
    )


def _encoders(options: Options) -> list[str | Path]:
    """The speech encoders that stay as they are.

    The default bundle's has heard the given training actors, and so four fifths of any random test
    part: a quick run has it for want of time, and shows nothing but that all runs.
    """
    if options.audio or options.quick:
        return [options.audio or "default"]
    return [_exported(name, options.cache / name) for name in (smart_turn.NAME, moonshine.NAME)]


def _exported(model: str, folder: Path) -> Path:
    if not folder.is_dir():
        from ..huggingface.audio_export import export_audio

        export_audio(model, folder, head="none")
    return folder


def _encoder_words(options: Options) -> str:
    if options.quick and not options.audio:
        return "A quick run has the default bundle's encoders."
    if options.audio:
        return "The speech encoder is the one that was given."
    return (
        "No HuBERT is to be had here: the speech encoders are those of Smart Turn v3.2 (Whisper "
        "tiny's) and Moonshine tiny, 15.5 million weights together, which the package index has, "
        "mean and deviation of the states of all their layers; the text encoder is the default "
        "bundle's."
    )


_TEXTS_REASON = (
    " The texts are the sentences as given to the actors; those of CREMA-D, RAVDESS and TESS are "
    "spoken with every emotion alike, so that all they tell is the corpus."
)
