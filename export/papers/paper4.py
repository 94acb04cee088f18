"""Scotti et al., PATHOSnet: word vectors and acoustic frames, several languages, two encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..training.metrics import softmax
from .fit import FitSettings, Indices, fit, predict, rows_of
from .frames import LOG_MEL, FrameEncoder, frames_of, open_frames
from .options import Options
from .pathosnet import Ensemble, PathosNetwork, Sequences
from .pathosnet_bundle import Trained, write_pathosnet
from .readers import read_corpus
from .recordings import Recording
from .results import Answered, Bench, write_report
from .speech_here import Fold, few, folds, sounds_of, unheard
from .word_vectors import WIDTH, Lexicon, lexicon_of

TITLE = "Paper 4: PATHOSnet, multilingual speech emotion recognition"
METRICS = ("wa", "weighted_precision", "weighted_recall", "weighted_f1", "auc")
LABELS = ("happy", "angry", "sad", "neutral")
CORPORA = ("iemocap", "emofilm", "ses", "aesi")

_WORDS = {
    "happy": "happy", "hap": "happy", "happiness": "happy", "angry": "angry", "ang": "angry",
    "anger": "angry", "sad": "sad", "sadness": "sad", "neutral": "neutral", "neu": "neutral",
}  # fmt: skip
# Table 2; of IEMOCAP but for the multilingual network, whose first line is the cumulative one.
_PAPER: Mapping[str, tuple[float, ...]] = {
    "baseline": (77.0, 75.7, 74.1, 73.4, 93.4),
    "ensemble": (80.4, 79.1, 78.8, 78.6, 94.6),
    "multilingual": (78.5, 77.2, 77.0, 78.5, 92.6),
    "en iemocap": (77.6, 76.4, 75.8, 75.4, 93.4),
    "en emofilm": (39.4, 47.6, 45.5, 40.7, 70.1),
    "es emofilm": (37.0, 46.1, 41.4, 39.6, 65.9),
    "es ses": (91.2, 92.8, 92.7, 92.7, 99.2),
    "it emofilm": (37.7, 38.8, 37.7, 34.3, 67.8),
    "el aesi": (31.7, 25.6, 31.7, 24.6, 62.9),
}
_MOST_CLIPS = 3000
_MOST_OF_ALL = 800  # Evenly of all corpora: two networks on frames of 0.16 s take their time.

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inputs4:
    """What the networks see of n clips: frames of each encoder, and words."""

    encoders: Mapping[str, FrameEncoder]
    frames: Mapping[str, Sequences]
    lexicon: Lexicon
    words: Sequences

    def of(self, name: str) -> Callable[[Indices], tuple[torch.Tensor, ...]]:
        """The arguments of a network that hears by the encoder `name`."""
        frames = self.frames[name]
        return lambda clips: (*frames.batch(clips), *self.words.batch(clips))


def reproduce(options: Options) -> str:
    """Train the three networks under both protocols; returns the report."""
    bench = Bench(options.out, options.only)
    own = any(corpus in options.corpora for corpus in CORPORA)
    every = _gather(options)
    english = [recording for recording in every if recording.language == "en"]
    for protocol in ("5 folds", "5 folds by speaker"):
        _english(bench, options, english, protocol, own)
        _multilingual(bench, options, every, protocol, own)
    return write_report(bench, TITLE, METRICS, _NOTES)


def _gather(options: Options) -> list[Recording]:
    given = [corpus for corpus in CORPORA if corpus in options.corpora]
    found: list[Recording] = []
    for corpus in given:
        found += read_corpus(corpus, options.corpora[corpus])
    if not given:
        found = unheard(options.data)
    named = [
        replace(recording, emotion=_WORDS[recording.emotion])
        for recording in found
        if recording.emotion in _WORDS
    ]
    if options.quick:
        return few(named, 120, options.seed)
    return named if given else few(named, _MOST_CLIPS, options.seed)


def _encoders(options: Options) -> tuple[str, ...]:
    return options.frames or (options.audio or "default", LOG_MEL)


def _english(
    bench: Bench, options: Options, recordings: list[Recording], protocol: str, own: bool
) -> None:
    title = "IEMOCAP" if own else "the English clips of CREMA-D and RAVDESS"
    work = _Work(options, recordings, protocol, "english")
    for key, system, encoders in (
        ("baseline", "baseline: one encoder of frames", _encoders(options)[:1]),
        ("ensemble", "PATHOSnet: ensemble of two", _encoders(options)),
    ):
        bench.add(
            f"{work.name}/{key}", system, protocol, LABELS,
            work.run(encoders, system), paper=_paper(key, protocol), data=title,
            reason=_reason(options, own),
        )  # fmt: skip


def _multilingual(
    bench: Bench, options: Options, recordings: list[Recording], protocol: str, own: bool
) -> None:
    names = "IEMOCAP, EmoFilm, SES and AESI" if own else (
        "clips of CREMA-D, RAVDESS, EmoDB, nEMO and BanglaSER"
    )  # fmt: skip
    if not own:
        recordings = few(recordings, _MOST_OF_ALL, options.seed)
    work = _Work(options, recordings, protocol, "every-language")
    found = bench.add(
        f"{work.name}/multilingual", "PATHOSnet (multilingual), all", protocol, LABELS,
        work.run(_encoders(options), "PATHOSnet (multilingual)"),
        paper=_paper("multilingual", protocol), data=names,
        reason=_reason(options, own),
    )  # fmt: skip
    whole = bench.rows[-1]
    for group, values in (found or {}).get("groups", {}).items():
        bench.rows.append(
            replace(
                whole,
                system=f"the same, {group}",
                ours={**(found or {}), **values},
                paper=_paper(group, protocol),
            )
        )


def _paper(key: str, protocol: str) -> dict[str, float]:
    figures = _PAPER.get(key, ()) if protocol == "5 folds" else ()
    return dict(zip(METRICS, figures, strict=False))


class _Work:
    """One set of clips under one protocol.

    Args:
        clips: names the set: a network that was trained on it for one system serves the next.
    """

    def __init__(
        self, options: Options, recordings: Sequence[Recording], protocol: str, clips: str
    ) -> None:
        self.options, self.recordings, self.clips = options, recordings, clips
        self.by_speaker = protocol.endswith("by speaker")
        self.name = "by-speaker" if self.by_speaker else "folds"
        self.labels = np.array([LABELS.index(r.emotion) for r in recordings], np.int64)

    def run(self, encoders: Sequence[str], system: str) -> Callable[[Path], Answered]:
        """Train and answer with the frames of some encoders, and leave a bundle."""
        return lambda folder: self._run(folder, encoders, system)

    def _run(self, folder: Path, encoders: Sequence[str], system: str) -> Answered:
        inputs = self._inputs(encoders)
        speakers = [recording.speaker or recording.path.name for recording in self.recordings]
        count = 3 if self.options.quick else 5
        cut = folds(self.labels, count, self.options.seed, speakers if self.by_speaker else None)
        out = np.zeros((len(self.labels), len(LABELS)), np.float32)
        for number, fold in enumerate(cut, 1):
            trained = self._fold(folder, number, inputs, fold)
            out[fold.test] = self._scores(trained, inputs, fold.test)
            if number == 1:
                spoken = sorted({recording.language for recording in self.recordings})
                title = f"{system}, {self.name}, first of {count}"
                write_pathosnet(folder / "bundle", trained, LABELS, title, spoken)
        groups = tuple(f"{r.language} {r.corpus}" for r in self.recordings)
        return Answered(softmax(out), self.labels, groups)

    def _inputs(self, names: Sequence[str]) -> Inputs4:
        options = self.options
        sounds = sounds_of(self.recordings, options.cache)
        encoders = {name: open_frames(name, options.threads) for name in names}
        frames = {name: frames_of(encoders[name], sounds, options.cache) for name in names}
        texts: dict[str, list[str]] = {}
        for recording in self.recordings:
            texts.setdefault(recording.language, []).append(recording.text)
        lexicon = lexicon_of(texts, options.vectors)
        words = lexicon.sequences(recording.text for recording in self.recordings)
        return Inputs4(encoders, frames, lexicon, Sequences.of(words, WIDTH))

    def _fold(self, folder: Path, number: int, inputs: Inputs4, fold: Fold) -> Trained:
        """One network, or an ensemble."""
        networks = []
        for place, name in enumerate(inputs.encoders, 1):
            of_fold = folder.parent / "networks" / f"{self.clips}-{number}" / f"encoder-{place}"
            networks.append(self._two_steps(of_fold, inputs, name, fold))
        linear = networks[0].linear
        if len(networks) > 1:
            every = np.arange(len(self.labels))
            features = _features(networks, inputs, every)
            torch.manual_seed(self.options.seed)
            ensemble = Ensemble(features.shape[1], len(LABELS))
            fit(ensemble, rows_of(features), self.labels, fold.train, fold.dev,
                self._settings(1e-3), folder / f"fold-{number}", "ensemble")  # fmt: skip
            linear = ensemble.linear
        return Trained(list(inputs.encoders.values()), networks, linear, inputs.lexicon)

    def _two_steps(self, folder: Path, inputs: Inputs4, name: str, fold: Fold) -> PathosNetwork:
        """Section 6: train above frozen frames, then fine-tune with the first layer unlocked."""
        torch.manual_seed(self.options.seed)
        network = PathosNetwork(inputs.frames[name].vectors.shape[1], WIDTH, len(LABELS))
        for step, rate in (("frozen", 1e-3), ("unlocked", 1e-4)):
            if step == "unlocked":
                network.unlock()
            fit(network, inputs.of(name), self.labels, fold.train, fold.dev, self._settings(rate),
                folder / step, f"PATHOSnet, {step}", inputs.frames[name].lengths)  # fmt: skip
        return network

    def _scores(self, trained: Trained, inputs: Inputs4, clips: Indices) -> Floats:
        features = _features(trained.networks, inputs, clips)
        return predict(trained.linear, rows_of(features), np.arange(len(clips)), 256)

    def _settings(self, rate: float) -> FitSettings:
        epochs = 1 if self.options.quick else 45
        return FitSettings(
            epochs, 32, rate, "rmsprop", decay=0.1, patience=3, seed=self.options.seed
        )


def _features(networks: Sequence[PathosNetwork], inputs: Inputs4, clips: Indices) -> Floats:
    """What stands before the linear layer, of one network after the other: [clips, 384 n]."""
    parts = []
    with torch.no_grad():
        for network, name in zip(networks, inputs.encoders, strict=True):
            network.eval()
            batches = inputs.of(name)
            rows = [
                network.features(*batches(clips[start : start + 64])).numpy()
                for start in range(0, len(clips), 64)
            ]
            parts.append(np.concatenate(rows))
    return np.concatenate(parts, axis=1)


def _reason(options: Options, own: bool) -> str:
    parts = []
    if not own:
        parts.append(
            "IEMOCAP, EmoFilm, SES and AESI are licensed; here are four acted emotions in four "
            "other languages, of speakers that the encoder was not trained on."
        )
    if not options.frames:
        parts.append(
            "Frames are the default bundle's embedding of every 0.96 s and log-mel bands of every "
            "0.16 s, for VGGish and GhostVLAD are not to be had here (--frames takes them as ONNX "
            "encoder folders); 'unlocked' is a layer next to them."
        )
    if not options.vectors:
        parts.append(
            "Without --vectors each word has a random vector of its own: GloVe and MUSE are not to "
            "be had here. What these actors say is given to them and tells no feeling."
        )
    return " ".join(parts)


_NOTES = (
    "Figures are of all folds' test answers together, precision, recall and F1 weighted by class, "
    "as in the paper.",
    "By speaker nobody in a test fold is heard in training; the paper's folds are random.",
    "The folder of each system holds the networks of its first fold as a bundle, which "
    "`realtime-ser file --bundle` serves.",
)
