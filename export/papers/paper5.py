"""ITST at EmoSPeech 2024: three Spanish text models; wav2vec 2.0 and BETO by mean and maximum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..fusion.answers import Answers
from ..training.metrics import softmax
from .fit import FitSettings, fit, predict, rows_of
from .frozen import hear
from .join import join, with_logits
from .networks import FrozenHead
from .options import Options
from .own_texts import ENGLISH, SPANISH, TUNING, own_text_scores
from .paper35 import SPEECH_REASON, TEXT_REASON, Divided, task_speech, task_texts
from .results import Answered, Bench, write_report
from .texts import text_scores, text_system

TITLE = "Paper 5: ITST at EmoSPeech 2024"
METRICS = ("wa", "macro_f1", "ua")

# Tables 1 to 5: accuracy, F1 and recall, macro averages.
_PAPER: Mapping[str, tuple[float, float, float]] = {
    "BETO": (73.67, 71.55, 74.25),
    "MarIA": (74.67, 70.25, 66.77),
    "BERTIN": (71.33, 66.69, 63.33),
    "mean": (75.00, 72.49, 74.76),
    "max": (70.33, 50.59, 49.56),
}

Floats = NDArray[np.float32]


def reproduce(options: Options) -> str:
    """Task 1 and task 2; returns the report."""
    bench = Bench(options.out, options.only)
    _task_1(bench, options)
    _task_2(bench, options)
    return write_report(bench, TITLE, METRICS, _NOTES)


def _text_settings(options: Options) -> FitSettings:
    return FitSettings(1 if options.quick else 5, 16, 2e-5, "adamw", 0.01, seed=options.seed)


def _paper(key: str) -> dict[str, float]:
    return dict(zip(METRICS, _PAPER[key], strict=True))


def _task_1(bench: Bench, options: Options) -> None:
    task = task_texts(options)

    def run(folder: Path) -> Answered:
        scores = text_scores(
            options, task.texts, task.labels, len(task.names), task.train, task.dev,
            _text_settings(options), folder,
        )  # fmt: skip
        return Answered(softmax(scores[task.test]), task.labels[task.test])

    def own(folder: Path, corpora: tuple[str, ...]) -> Answered:
        scores = own_text_scores(
            options, corpora, task.texts, task.labels, len(task.names), task.train, task.dev,
            folder,
        )  # fmt: skip
        return Answered(softmax(scores[task.test]), task.labels[task.test])

    # One stand-in is one row: the same figure three times would look like three findings.
    rows = (
        ("BETO", run, f"Text by {text_system(options)}"),
        ("MarIA", lambda folder: own(folder, (*ENGLISH, *SPANISH)), _own_reason("all the labelled "
         "sentences here but MEACorpus's, English and Spanish")),
        ("BERTIN", lambda folder: own(folder, SPANISH), _own_reason("the labelled Spanish "
         "sentences here but MEACorpus's, a fraction of the row above")),
    )  # fmt: skip
    for name, answer, reason in rows:
        bench.add(
            f"task-1/{name}", f"text alone (task 1), the paper's {name}", task.protocol, task.names,
            answer, paper=_paper(name), data=f"{task.data}, texts",
            reason=f"{reason} instead of {name}. {TEXT_REASON}",
        )  # fmt: skip


def _own_reason(learnt: str) -> str:
    return (
        f"A text encoder of two million weights, trained from scratch on {learnt}, and then "
        f"fine-tuned whole on the training part ({TUNING.epochs} epochs at "
        f"{TUNING.learning_rate:g}, for 2e-5 would leave so small a network where it is),"
    )


def _task_2(bench: Bench, options: Options) -> None:
    task = task_speech(options)
    work = _Work(options, task)
    own = "meacorpus" in options.corpora
    reason = ("" if own else SPEECH_REASON + " ") + (
        f"Text by {text_system(options)}."
        + ("" if "audio" in options.fine_tune else " The voice by a linear layer on the default "
           "bundle's encoder, where the paper fine-tunes wav2vec2-large-xlsr-53-spanish.")
    )  # fmt: skip
    rows = (
        ("voice", "the voice alone", {}),
        ("words", "the words alone", {}),
        ("mean", "mean of the probabilities (task 2)", _paper("mean")),
        ("max", "maximum of the probabilities (task 2)", _paper("max")),
    )
    for key, title, paper in rows:
        bench.add(
            f"task-2/{key}", title, task.protocol, task.names,
            lambda folder, key=key: work.answered(folder, key), paper=paper, data=task.data,
            reason=reason,
        )  # fmt: skip


class _Work:
    """Both models of task 2, trained once, and what is made of their answers."""

    def __init__(self, options: Options, task: Divided) -> None:
        self.options, self.task = options, task

    def answered(self, folder: Path, key: str) -> Answered:
        """The test clips by the voice, the words, or both."""
        if key == "voice":
            scores = self._voice(folder.parent)
        elif key == "words":
            scores = self._words(folder.parent)
        else:
            scores = self._joined(key, folder)
        task = self.task
        groups = tuple(task.recordings[int(i)].corpus for i in task.test)
        return Answered(softmax(scores[task.test]), task.labels[task.test], groups)

    def _voice(self, folder: Path) -> Floats:
        options, task = self.options, self.task
        sounds = task.sounds(options.cache)
        if "audio" in options.fine_tune:
            from .finetune import Given, fine_tune

            only = {"audio": options.fine_tune["audio"]}
            return fine_tune(only, Given(sounds), task.labels, len(task.names), task.train,
                             task.dev, np.arange(len(task.labels)), _text_settings(options),
                             folder / "voice")  # fmt: skip
        heard = hear(options.audio or "default", sounds, options.cache, options.threads)
        torch.manual_seed(options.seed)
        network = FrozenHead(heard.embedding.shape[1], len(task.names))
        inputs = rows_of(heard.embedding)
        settings = FitSettings(1 if options.quick else 20, 16, 1e-3, "adamw", 0.01,
                               seed=options.seed)  # fmt: skip
        fit(network, inputs, task.labels, task.train, task.dev, settings, folder / "voice", "voice")
        return predict(network, inputs, np.arange(len(task.labels)), 256)

    def _words(self, folder: Path) -> Floats:
        options, task = self.options, self.task
        return text_scores(
            options, task.texts, task.labels, len(task.names), task.train, task.dev,
            _text_settings(options), folder / "words",
        )  # fmt: skip

    def _joined(self, strategy: str, folder: Path) -> Floats:
        task = self.task
        blank = np.zeros((len(task.labels), 1), np.float32)
        empty = Answers(blank, blank, np.zeros((len(task.labels), 0), np.float32))
        _, scores = join(
            strategy, with_logits(empty, self._voice(folder.parent)),
            with_logits(empty, self._words(folder.parent)), task.labels, task.train, task.dev,
            FitSettings(1, 16, 1e-3), folder,
        )  # fmt: skip
        return scores


_NOTES = (
    "The classification reports of the paper's tables 1 to 5, class by class, stand in each "
    "system's figures.json under classes.",
)
