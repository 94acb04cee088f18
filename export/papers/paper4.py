"""Scotti et al., PATHOSnet: word vectors and acoustic frames, several languages, two encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import librosa
import numpy as np
import torch
from numpy.typing import NDArray

from ..training.corpora import SAMPLE_RATE_HZ
from ..training.metrics import softmax
from .bars import bar
from .fit import FitSettings, Indices, fit, predict, rows_of
from .frozen import hear
from .options import Options
from .pathosnet import Ensemble, PathosNetwork, Sequences, chunks
from .prepare import Sounds
from .readers import read_corpus
from .recordings import Recording
from .results import Answered, Bench, write_report
from .speech_here import Fold, few, folds, sounds_of, unheard
from .word_vectors import WIDTH, read_vectors, vectors_of, words_of

TITLE = "Paper 4: PATHOSnet, multilingual speech emotion recognition"
METRICS = ("wa", "weighted_precision", "weighted_recall", "weighted_f1", "auc")
LABELS = ("happy", "angry", "sad", "neutral")
CORPORA = ("iemocap", "emofilm", "ses", "aesi")
LOG_MEL = "log-mel"

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
_VGGISH_SAMPLES = 15_360  # 0.96 s
_MOST_CLIPS = 3000

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inputs4:
    """What the networks see of n clips: frames of each encoder, words, and the classes."""

    recordings: Sequence[Recording]
    labels: Indices
    words: Sequences
    frames: Mapping[str, Sequences]


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
    work = _Work(options, recordings, protocol)
    for key, system, encoders in (
        ("baseline", "baseline: one encoder of frames", _encoders(options)[:1]),
        ("ensemble", "PATHOSnet: ensemble of two", _encoders(options)),
    ):
        bench.add(
            f"{work.name}/{key}", system, protocol, LABELS, work.run(encoders),
            paper=_paper(key, protocol), data=title, reason=_reason(options, own),
        )  # fmt: skip


def _multilingual(
    bench: Bench, options: Options, recordings: list[Recording], protocol: str, own: bool
) -> None:
    names = "IEMOCAP, EmoFilm, SES and AESI" if own else (
        "clips of CREMA-D, RAVDESS, EmoDB, nEMO and BanglaSER"
    )  # fmt: skip
    work = _Work(options, recordings, protocol)
    found = bench.add(
        f"{work.name}/multilingual", "PATHOSnet (multilingual), all", protocol, LABELS,
        work.run(_encoders(options)), paper=_paper("multilingual", protocol), data=names,
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
    """One set of clips under one protocol."""

    def __init__(self, options: Options, recordings: Sequence[Recording], protocol: str) -> None:
        self.options, self.recordings = options, recordings
        self.by_speaker = protocol.endswith("by speaker")
        self.name = "by-speaker" if self.by_speaker else "folds"
        self.labels = np.array([LABELS.index(r.emotion) for r in recordings], np.int64)

    def run(self, encoders: Sequence[str]) -> Callable[[Path], Answered]:
        """Train and answer with the frames of some encoders."""
        return lambda folder: self._run(folder, encoders)

    def _run(self, folder: Path, encoders: Sequence[str]) -> Answered:
        inputs = self._inputs(encoders)
        speakers = [recording.speaker or recording.path.name for recording in self.recordings]
        count = 3 if self.options.quick else 5
        cut = folds(self.labels, count, self.options.seed, speakers if self.by_speaker else None)
        out = np.zeros((len(self.labels), len(LABELS)), np.float32)
        for number, fold in enumerate(cut, 1):
            out[fold.test] = self._fold(folder / f"fold-{number}", inputs, fold, encoders)
        groups = tuple(f"{r.language} {r.corpus}" for r in self.recordings)
        return Answered(softmax(out), self.labels, groups)

    def _inputs(self, encoders: Sequence[str]) -> Inputs4:
        sounds = sounds_of(self.recordings, self.options.cache)
        frames = {name: frames_of(name, sounds, self.options) for name in encoders}
        return Inputs4(self.recordings, self.labels, self._words(), frames)

    def _words(self) -> Sequences:
        parts: list[Floats] = [np.zeros((0, WIDTH), np.float32)] * len(self.recordings)
        for language in sorted({recording.language for recording in self.recordings}):
            places = [i for i, r in enumerate(self.recordings) if r.language == language]
            texts = [self.recordings[i].text for i in places]
            known = None
            if language in self.options.vectors:
                spoken = {word for text in texts for word in words_of(text)}
                known = read_vectors(self.options.vectors[language], spoken)
            for place, rows in zip(places, vectors_of(texts, language, known), strict=True):
                parts[place] = rows
        return Sequences.of(parts, WIDTH)

    def _fold(self, folder: Path, inputs: Inputs4, fold: Fold, encoders: Sequence[str]) -> Floats:
        """Scores of the test clips, by one network or the ensemble."""
        networks = [
            self._two_steps(folder / f"encoder-{number}", inputs, inputs.frames[name], fold)
            for number, name in enumerate(encoders, 1)
        ]
        if len(networks) == 1:
            sources = _batches(inputs.frames[encoders[0]], inputs.words)
            return predict(networks[0], sources, fold.test, 32)
        every = np.arange(len(self.labels))
        features = np.concatenate(
            [
                _features(network, _batches(inputs.frames[name], inputs.words), every)
                for network, name in zip(networks, encoders, strict=True)
            ],
            axis=1,
        )
        torch.manual_seed(self.options.seed)
        ensemble = Ensemble(features.shape[1], len(LABELS))
        rows = rows_of(features)
        fit(ensemble, rows, self.labels, fold.train, fold.dev, self._settings(1e-3),
            folder / "ensemble", "ensemble")  # fmt: skip
        return predict(ensemble, rows, fold.test, 256)

    def _two_steps(
        self, folder: Path, inputs: Inputs4, frames: Sequences, fold: Fold
    ) -> PathosNetwork:
        """Section 6: train above frozen frames, then fine-tune with the first layer unlocked."""
        torch.manual_seed(self.options.seed)
        network = PathosNetwork(frames.vectors.shape[1], WIDTH, len(LABELS))
        sources = _batches(frames, inputs.words)
        for step, rate in (("frozen", 1e-3), ("unlocked", 1e-4)):
            if step == "unlocked":
                network.unlock()
            fit(network, sources, self.labels, fold.train, fold.dev, self._settings(rate),
                folder / step, f"PATHOSnet, {step}")  # fmt: skip
        return network

    def _settings(self, rate: float) -> FitSettings:
        epochs = 1 if self.options.quick else 45
        return FitSettings(
            epochs, 32, rate, "rmsprop", decay=0.1, patience=6, seed=self.options.seed
        )


def frames_of(name: str, sounds: Sounds, options: Options) -> Sequences:
    """Acoustic frames of n clips by an encoder, or log-mel bands.

    An encoder answers every 0.96 s by itself, as VGGish does; `log-mel` is 64 bands every 40 ms.
    """
    if name == LOG_MEL:
        return _log_mel(sounds, options.cache)
    parts = [list(chunks(sounds[index], _VGGISH_SAMPLES)) for index in range(len(sounds))]
    pieces = [piece for part in parts for piece in part]
    embedding = hear(name, pieces, options.cache, options.threads).embedding
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Sequences(embedding, offsets)


def _log_mel(sounds: Sounds, cache: Path) -> Sequences:
    key = hashlib.sha256(sounds.offsets.tobytes() + sounds.samples[:1_000_000].tobytes())
    path = cache / f"log-mel-{key.hexdigest()[:16]}.npz"
    if not path.is_file():
        parts = []
        for index in bar(range(len(sounds)), "log-mel frames", brief=True):
            power = librosa.feature.melspectrogram(
                y=sounds[index], sr=SAMPLE_RATE_HZ, n_fft=512, win_length=400, hop_length=160,
                n_mels=64,
            )  # fmt: skip
            level = librosa.power_to_db(power, ref=np.max).T / 40 + 1
            whole = level[: max(4, len(level) // 4 * 4)]
            padded = np.pad(whole, ((0, -len(whole) % 4), (0, 0)), mode="edge")
            parts.append(padded.reshape(-1, 4, 64).mean(1).astype(np.float32))
        made = Sequences.of(parts, 64)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, vectors=made.vectors, offsets=made.offsets)
    with np.load(path, allow_pickle=False) as arrays:
        return Sequences(arrays["vectors"], arrays["offsets"])


def _batches(frames: Sequences, words: Sequences) -> Callable[[Indices], tuple[torch.Tensor, ...]]:
    return lambda clips: (*frames.batch(clips), *words.batch(clips))


def _features(
    network: PathosNetwork,
    sources: Callable[[Indices], tuple[torch.Tensor, ...]],
    clips: Indices,
) -> Floats:
    network.eval()
    with torch.no_grad():
        parts = [
            network.features(*sources(clips[start : start + 64])).numpy()
            for start in range(0, len(clips), 64)
        ]
    return np.concatenate(parts)


def _reason(options: Options, own: bool) -> str:
    parts = []
    if not own:
        parts.append(
            "IEMOCAP, EmoFilm, SES and AESI are licensed; here are four acted emotions in four "
            "other languages, of speakers that the encoder was not trained on."
        )
    if not options.frames:
        parts.append(
            "Frames are the default bundle's embedding of every 0.96 s and log-mel bands every "
            "40 ms, for VGGish and GhostVLAD are not to be had here (--frames takes them as ONNX "
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
)
