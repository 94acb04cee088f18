"""Paper 2, section III-B: 94 hand-crafted features and eight classical classifiers."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from ..training.corpora import SAMPLE_RATE_HZ
from .bars import bar
from .prepare import Sounds
from .recordings import Waveform

CLASSIFIERS = (
    "KNeighborsClassifier",
    "MLPClassifier",
    "XGBClassifier",
    "LGBMClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
    "GaussianNB",
    "DecisionTreeClassifier",
)

FEATURES = (
    *(f"chroma {n}" for n in range(12)),
    *(f"mel {n}" for n in range(60)),
    *(f"mfcc {n}" for n in range(20)),
    "zero crossing rate",
    "spectral centroid",
)

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def handcrafted(waveform: Waveform) -> Floats:
    """Means over time of 12 chroma, 60 mel powers, 20 MFCC, zero crossings, centroid: [94]."""
    # librosa's defaults are meant for music at 22 kHz; its frame of 93 ms is kept, as 1,024 here
    # would be 64 ms, which is what speech is usually cut into.
    spectrum = np.abs(librosa.stft(waveform, n_fft=1024, hop_length=256)) ** 2
    mel = librosa.feature.melspectrogram(S=spectrum, sr=SAMPLE_RATE_HZ, n_mels=60)
    rows = (
        librosa.feature.chroma_stft(S=spectrum, sr=SAMPLE_RATE_HZ, tuning=0.0),
        mel,
        librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=SAMPLE_RATE_HZ, n_mfcc=20),
        librosa.feature.zero_crossing_rate(waveform, frame_length=1024, hop_length=256),
        librosa.feature.spectral_centroid(S=np.sqrt(spectrum), sr=SAMPLE_RATE_HZ),
    )
    return np.concatenate([row.mean(axis=1) for row in rows]).astype(np.float32)


def features_of(sounds: Sounds, cache: Path, what: str) -> Floats:
    """float32 [n, 94], computed once for the same sounds."""
    key = hashlib.sha256(sounds.offsets.tobytes() + sounds.samples[:1_000_000].tobytes())
    path = cache / f"handcrafted-{key.hexdigest()[:16]}.npy"
    if not path.is_file():
        rows = [
            handcrafted(sounds[index]) for index in bar(range(len(sounds)), f"features of {what}")
        ]
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array(rows, np.float32).reshape(-1, len(FEATURES)))
    loaded: Floats = np.load(path)
    return loaded


def classifier(name: str, seed: int = 0, threads: int = 1) -> Any:
    """A classifier of `CLASSIFIERS` with its library's defaults, as the paper has them."""
    if name == "XGBClassifier":
        from xgboost import XGBClassifier

        return XGBClassifier(random_state=seed, n_jobs=threads)
    if name == "LGBMClassifier":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(random_state=seed, n_jobs=threads, verbose=-1)
    made = {
        "KNeighborsClassifier": lambda: KNeighborsClassifier(n_jobs=threads),
        "MLPClassifier": lambda: MLPClassifier(random_state=seed),
        "LogisticRegression": lambda: LogisticRegression(max_iter=2000, random_state=seed),
        "RandomForestClassifier": lambda: RandomForestClassifier(random_state=seed, n_jobs=threads),
        "GaussianNB": GaussianNB,
        "DecisionTreeClassifier": lambda: DecisionTreeClassifier(random_state=seed),
    }
    return made[name]()


def fitted(name: str, features: Floats, labels: Labels, seed: int = 0, threads: int = 1) -> Any:
    """A classifier that has learnt [n, 94] and int64 [n]."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # By default the perceptron stops after 200 rounds, at its best or not, and says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier(name, seed, threads).fit(features, labels)


def standardised(train: Floats, *others: Floats) -> Sequence[Floats]:
    """All of them by the mean and the deviation of `train` ("standard scaling")."""
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1
    return [((part - mean) / deviation).astype(np.float32) for part in (train, *others)]
