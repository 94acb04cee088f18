"""Sharma, "Speech and Text-Based Emotion Recognizer": five corpora, seven classes, twelve systems.

Its protocol is a stratified split whoever speaks; beside each figure stands that of actors who are
on one side only, which is what a user gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..training.metrics import softmax
from . import paper2_encoders
from .fit import FitSettings, Indices, fit, predict, rows_of
from .handcrafted import CLASSIFIERS, FEATURES, features_of, fitted, standardised
from .images import block_count, blocks, halved, spectrogram_images
from .networks import Convolutions1d, ImageNetwork, mean_of_blocks
from .options import Options
from .paper2_material import (
    CORPORA_REASON,
    DEPENDENT,
    DISJOINT,
    FOLDS,
    Material,
    corpora_of,
    gather,
    materials_of,
    reported,
)
from .prepare import LABELS
from .recordings import Recording
from .results import Answered, Bench, write_report

TITLE = "Paper 2: Speech and Text-Based Emotion Recognizer"
METRICS = ("wa", "ua", "sum")

Floats = NDArray[np.float32]

_IMAGE_EPOCHS = 3
_FEATURE_EPOCHS = 4  # The paper's 10 take 20 minutes of a core for both protocols.


def reproduce(options: Options) -> str:
    """Run all systems under both protocols; returns the report."""
    bench = Bench(options.out, options.only)
    recordings, sounds = gather(options)
    data = _data_words(recordings, options)
    for protocol in (DEPENDENT, DISJOINT):
        [material] = materials_of(options, recordings, sounds, protocol)
        _classical(bench, options, material, data)
        _networks(bench, options, material, data)
        paper2_encoders.add_rows(bench, options, [material], data)
    if not options.fine_tune:  # training them once takes hours
        folds = materials_of(options, recordings, sounds, FOLDS)
        paper2_encoders.add_rows(bench, options, folds, data)
    return write_report(bench, TITLE, METRICS, _NOTES)


def _classical(bench: Bench, options: Options, material: Material, data: str) -> None:
    names = CLASSIFIERS[:1] + CLASSIFIERS[4:] if options.quick else CLASSIFIERS

    def run(name: str) -> Answered:
        even = features_of(material.even.sounds, options.cache, "the training part")
        every = features_of(material.sounds, options.cache, "all clips")
        train, rest = standardised(even, every[material.split.test])
        model = fitted(name, train, material.even.labels, options.seed, options.threads)
        probabilities = np.zeros((len(rest), len(LABELS)), np.float32)
        probabilities[:, model.classes_] = model.predict_proba(rest)
        return material.answered(probabilities)

    for name in names:
        bench.add(
            f"{material.protocol}/{name}", name, material.protocol, LABELS,
            lambda folder, name=name: run(name),
            paper=reported(name, material.protocol), data=data,
            reason=CORPORA_REASON + " Each classifier has its library's defaults, of which the "
            "paper says nothing.",
        )  # fmt: skip


def _networks(bench: Bench, options: Options, material: Material, data: str) -> None:
    epochs = 1 if options.quick else _FEATURE_EPOCHS

    def convolutions(folder: Path) -> Answered:
        even = features_of(material.even.sounds, options.cache, "the training part")
        every = features_of(material.sounds, options.cache, "all clips")
        torch.manual_seed(options.seed)
        network = Convolutions1d(len(FEATURES), len(LABELS))
        inputs = rows_of(np.concatenate(standardised(even, every)))
        settings = FitSettings(epochs, 32, 1e-3, seed=options.seed)
        fit(network, inputs, material.all_labels, material.train, material.dev, settings, folder,
            "CNN (1D)")  # fmt: skip
        return material.answered(softmax(predict(network, inputs, material.test, 256)))

    bench.add(
        f"{material.protocol}/cnn1d", "CNN (1D)", material.protocol, LABELS, convolutions,
        paper=reported("CNN (1D)", material.protocol), data=data,
        reason=CORPORA_REASON + " The table leaves the dense layers' sizes, batch and rate blank; "
        f"128, 64, 32 and 1e-3 here, without its unnamed L1 and L2, for {_FEATURE_EPOCHS} epochs "
        "of its 10.",
    )  # fmt: skip
    bench.add(
        f"{material.protocol}/mobilenet", "MobileNetV2", material.protocol, LABELS,
        lambda folder: _mobilenet(options, material, folder),
        paper=reported("MobileNetV2", material.protocol), data=data,
        reason=CORPORA_REASON + (
            " Its weights from ImageNet are not to be had here: this starts from random ones, with "
            "channels a third as wide and the paper's images halved in height and width, and in "
            f"each of {_IMAGE_EPOCHS} epochs sees one second of every clip, drawn at random, not "
            "all, so that two cores do it in minutes; a clip's answer is the mean of its blocks'."
            if not options.image_network
            else " A clip's answer is the mean of its blocks'."
        ),
    )  # fmt: skip


def _mobilenet(options: Options, material: Material, folder: Path) -> Answered:
    even, sounds = material.even.sounds, material.sounds
    chosen = [(even, int(i)) for i in range(len(even))]
    chosen += [(sounds, int(i)) for i in (*material.split.dev, *material.split.test)]
    counts = np.array([block_count(len(source[i])) for source, i in chosen])
    # One place for each block: its clip among `chosen`, and which of its blocks it is.
    clip_of = np.repeat(np.arange(len(chosen)), counts)
    first = np.cumsum(counts) - counts
    number = np.arange(len(clip_of)) - first[clip_of]
    last_dev = len(even) + len(material.split.dev)

    def inputs(places: Indices) -> tuple[torch.Tensor, ...]:
        clips = clip_of[places]
        # A clip of the training part shows another of its blocks each time.
        drawn = (torch.rand(len(places)).numpy() * counts[clips]).astype(np.int64)
        shown = np.where(clips < len(even), drawn, number[places])
        cut = [
            blocks(chosen[clip][0][chosen[clip][1]])[block]
            for clip, block in zip(clips, shown, strict=True)
        ]
        images = spectrogram_images(np.stack(cut))
        return (images if options.image_network else halved(images),)

    labels = np.concatenate(
        [material.even.labels, material.labels[material.split.dev],
         material.labels[material.split.test]]
    )[clip_of]  # fmt: skip
    torch.manual_seed(options.seed)
    width = 1.0 if options.image_network else 0.1 if options.quick else 0.35
    network = ImageNetwork(len(LABELS), options.image_network or None, width)
    settings = FitSettings(1 if options.quick else _IMAGE_EPOCHS, 32, 1e-3, seed=options.seed)
    dev = np.flatnonzero((clip_of >= len(even)) & (clip_of < last_dev))
    fit(network, inputs, labels, first[: len(even)], dev, settings, folder, "MobileNetV2")
    test = np.flatnonzero(clip_of >= last_dev)
    scores = torch.from_numpy(predict(network, inputs, test, 32))
    of_test = torch.from_numpy(clip_of[test] - last_dev)
    means = mean_of_blocks(scores, of_test, len(material.split.test))
    return material.answered(means.numpy())


def _data_words(recordings: Sequence[Recording], options: Options) -> str:
    titles = {"cremad": "CREMA-D", "ravdess": "RAVDESS", "tess": "TESS", "iemocap": "IEMOCAP",
              "savee": "SAVEE"}  # fmt: skip
    names = ", ".join(titles[corpus] for corpus in corpora_of(recordings))
    return f"{names} ({len(recordings)} clips{', a quick run' if options.quick else ''})"


_NOTES = (
    "Speaker-dependent is the paper's protocol: a stratified random fifth of the clips is the "
    "test, and its actors are heard in training.",
    "Actor-disjoint is ours: nobody in the test is heard in training (the data's own division). "
    "TESS has two speakers, both in the training part.",
    "Speaker-dependent folds: that division five times over, so that each clip is tested on "
    "once; the first fold's test is the random fifth of the other rows. A fifth has 32 calm clips, "
    "each of which is .45 of the sum.",
    "The dev part is not augmented here. The paper's is (tables 1 and 2: 400 calm clips out of "
    "154), with copies of one clip on both sides, so that what it chose by is too good.",
)
