"""The published figures: everything measured through the exported graph, as it will be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..speech.audio_cache import PRE_ROLL_SAMPLES, AudioCache
from ..speech.noises import NoiseBank
from .corpora import LABELS, SAMPLE_RATE_HZ, TRAINING_CORPORA, UNSEEN_CORPUS, Clip, select
from .evaluate import (
    Floats,
    Model,
    bootstrap_interval,
    calibration_error,
    fit_temperature,
    predict,
    restricted,
    softmax,
    unweighted_recall,
    weighted_accuracy,
)

CORPUS_TITLES = {
    "cremad": "CREMA-D",
    "ravdess": "RAVDESS",
    "emodb": "EmoDB",
    "nemo": "nEMO",
    "banglaser": "BanglaSER",
    "tess": "TESS",
}
_LONGEST_SERVED_SAMPLES = 15 * SAMPLE_RATE_HZ
DEV_ABSTENTIONS = 0.1
# Another seed than training's: sounds of the same kinds, none of them heard before.
_CALIBRATION_NOISE_SEED = 9001

Metric = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Calibration:
    """softmax(logits / temperature); abstain where its top is below `abstain_below`.

    `dev_abstained` and `noise_abstained` are the shares of dev clips and of made-up non-speech
    for which that happens.
    """

    temperature: float
    abstain_below: float
    dev_abstained: float
    noise_abstained: float


class Measurement:
    """One model on all corpora: `model` is the exported graph, `masks` each corpus's labels."""

    def __init__(
        self,
        model: Model,
        clips: Sequence[Clip],
        audio: AudioCache,
        masks: dict[str, NDArray[np.bool_]],
    ) -> None:
        self.model, self.clips, self.audio, self.masks = model, clips, audio, masks
        self._known: dict[tuple[str, str, float | None], Floats] = {}

    def logits(self, corpus: str, split: str, seconds: float | None = None) -> Floats:
        """Logits of a split, float32 [n, 7]; of the first `seconds` of speech, if given."""
        key = (corpus, split, seconds)
        if key not in self._known:
            waves = [self.audio.utterance(int(i)) for i in self._indices(corpus, split)]
            if seconds is not None:
                heard = PRE_ROLL_SAMPLES + int(min(seconds, 15.0) * SAMPLE_RATE_HZ)
                waves = [wave[:heard] for wave in waves]
            waves = [wave[:_LONGEST_SERVED_SAMPLES] for wave in waves]
            self._known[key] = predict(self.model, waves)
        return self._known[key]

    def truth(self, corpus: str, split: str) -> NDArray[np.int64]:
        return np.array([self.clips[i].label for i in self._indices(corpus, split)], np.int64)

    def _indices(self, corpus: str, split: str) -> NDArray[np.int64]:
        return select(self.clips, [corpus], [split])

    def calibrate(self) -> Calibration:
        """Temperature with the best likelihood on dev, over all seven labels, as served.

        The threshold is the highest at which no more than 10 % of the dev clips abstain. Of the
        answers given up so, about a quarter would have been right, hardly more than by chance.
        """
        logits = np.concatenate([self.logits(corpus, "dev") for corpus in TRAINING_CORPORA])
        truth = np.concatenate([self.truth(corpus, "dev") for corpus in TRAINING_CORPORA])
        temperature = fit_temperature(logits, truth)
        confidence = softmax(logits, temperature).max(1)
        abstain_below = float(np.round(np.quantile(confidence, DEV_ABSTENTIONS), 3))
        rng = np.random.default_rng(_CALIBRATION_NOISE_SEED)
        bank = NoiseBank(_CALIBRATION_NOISE_SEED, 100)
        sounds = [bank.draw(int(rng.integers(8_000, 64_000)), rng) for _ in range(200)]
        noise = softmax(predict(self.model, sounds), temperature).max(1)
        return Calibration(
            temperature=round(temperature, 4),
            abstain_below=abstain_below,
            dev_abstained=float(np.mean(confidence < abstain_below)),
            noise_abstained=float(np.mean(noise < abstain_below)),
        )

    def corpus_metrics(self, corpus: str, split: str, protocol: str) -> list[Metric]:
        """UA and WA over the labels of the corpus, and UA over all seven, as served."""
        logits, truth = self.logits(corpus, split), self.truth(corpus, split)
        allowed = self.masks[corpus]
        within = restricted(logits, allowed).argmax(1)
        low, high = bootstrap_interval(within, truth)
        own = f"{protocol}; answers restricted to the corpus's {allowed.sum()} labels"
        interval = f"; 95 % bootstrap interval over clips {low:.3f} to {high:.3f}"
        describe = {"dataset": CORPUS_TITLES[corpus], "split": split, "count": len(truth)}
        classes = len(set(truth))
        recall = "unweighted_average_recall"
        return [
            _metric(recall, unweighted_recall(within, truth), describe, own + interval, classes),
            _metric("weighted_accuracy", weighted_accuracy(within, truth), describe, own, classes),
            _metric(
                recall,
                unweighted_recall(logits.argmax(1), truth),
                describe,
                f"{protocol}; all seven answers allowed, as served",
                classes,
            ),
        ]

    def early_metrics(self, seconds: float) -> Metric:
        """Mean restricted UA over the corpora's test splits when only so much speech was heard."""
        recalls = [
            unweighted_recall(
                restricted(self.logits(corpus, "test", seconds), self.masks[corpus]).argmax(1),
                self.truth(corpus, "test"),
            )
            for corpus in TRAINING_CORPORA
        ]
        count = sum(len(self.truth(corpus, "test")) for corpus in TRAINING_CORPORA)
        heard = "whole utterance" if seconds == np.inf else f"first {seconds:g} s of speech"
        return _metric(
            "unweighted_average_recall",
            float(np.mean(recalls)),
            {"dataset": "mean of the five training corpora", "split": "test", "count": count},
            f"speaker-independent; {heard}; answers restricted to each corpus's labels",
        )

    def calibration_metric(self, calibration: Calibration) -> Metric:
        logits = np.concatenate([self.logits(corpus, "test") for corpus in TRAINING_CORPORA])
        truth = np.concatenate([self.truth(corpus, "test") for corpus in TRAINING_CORPORA])
        error = calibration_error(softmax(logits, calibration.temperature), truth)
        return _metric(
            "expected_calibration_error",
            error,
            {"dataset": "the five training corpora, pooled", "split": "test", "count": len(truth)},
            "speaker-independent; all seven answers allowed; 15 bins; temperature fitted on dev",
            len(LABELS),
        )


def _metric(
    name: str, value: float, describe: Metric, protocol: str, classes: int | None = None
) -> Metric:
    metric = {"name": name, "value": round(value, 4), **describe, "protocol": protocol}
    return metric if classes is None else metric | {"classes": classes}


def share_metrics(
    model: Model, folder: Path, title: str, calibration: Calibration, longest_samples: int
) -> list[Metric]:
    """How often each label is given, and none, for the sounds in a folder, one answer a file."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".opus", ".flac"))
    waves = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != SAMPLE_RATE_HZ:
            raise ValueError(f"{path.name}: {rate} Hz, expected {SAMPLE_RATE_HZ}; resample it")
        waves.append(samples[:longest_samples, 0])
    probabilities = softmax(predict(model, waves), calibration.temperature)
    answers = probabilities.argmax(1)
    describe = {"dataset": title, "split": "all", "count": len(waves)}
    abstained = float(np.mean(probabilities.max(1) < calibration.abstain_below))
    protocol = f"share of files, first {longest_samples / SAMPLE_RATE_HZ:g} s of each"
    shares = [
        _metric(f"share_{label}", float(np.mean(answers == i)), describe, protocol + ", as served")
        for i, label in enumerate(LABELS)
    ]
    return [_metric("share_abstained", abstained, describe, protocol), *shares]


def measure(
    model: Model,
    clips: Sequence[Clip],
    audio: AudioCache,
    masks: dict[str, NDArray[np.bool_]],
    sounds: Path,
) -> tuple[Calibration, list[Metric]]:
    """Calibration from dev, and every figure that `bundle.json` publishes."""
    measurement = Measurement(model, clips, audio, masks)
    calibration = measurement.calibrate()
    metrics: list[Metric] = []
    for corpus in TRAINING_CORPORA:
        metrics += measurement.corpus_metrics(corpus, "test", "speaker-independent")
    metrics += measurement.corpus_metrics(
        UNSEEN_CORPUS, "train", "corpus never seen in training, all its clips"
    )
    metrics += [measurement.early_metrics(seconds) for seconds in (1.0, 2.0, np.inf)]
    metrics.append(measurement.calibration_metric(calibration))
    for folder, title, longest in (
        ("read_speech", "LibriSpeech, neutral reading", _LONGEST_SERVED_SAMPLES),
        ("noise", "non-speech recordings", 4 * SAMPLE_RATE_HZ),
    ):
        metrics += share_metrics(model, sounds / folder, title, calibration, longest)
    return calibration, metrics
