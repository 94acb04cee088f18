"""All figures of a subject under a protocol, as one document: `metrics.json`.

Everything is measured through the exported graphs, on clips cut as the product cuts them. Dev is
calibrated on, test is measured on, once. Figures "within" a corpus are restricted to the labels
that it and the subject have; figures "as served" are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from realtime_ser.models.bundle_description import AFFECT_LABELS

from . import metrics
from .calibration import Calibration
from .corpora import LABELS, Clip
from .metrics import Flags, Floats, Labels
from .predictions import EARLY_SECONDS, Material, Predictions, calibrate, joined, predict_clips
from .protocols import Protocol, Split
from .sounds import extra_sounds, shares
from .subjects import Subject

FORMAT_VERSION = 1
FILE = "metrics.json"
GIVEN, MISSING, NONE = "given", "missing", "not read"
# Resampling one or two voices says nothing about new ones.
_FEWEST_SPEAKERS = 4
_WEAK, _STRONG = ("low", "normal"), ("high", "strong")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """One subject with the split it is measured on; of a k-fold run there are k.

    Attributes:
        trained: labels that were trained on, bool [7]; all where nobody knows.
    """

    subject: Subject
    split: Split
    trained: Flags


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The document and the predictions that it was computed from."""

    document: Document
    predictions: Predictions


def evaluate(
    measured: Sequence[Measured],
    material: Material,
    data: Path,
    protocol: Protocol,
    *,
    texts: bool = True,
    unseen: Sequence[str] = (),
) -> Evaluation:
    """Measure one subject, or the subjects of all splits of one protocol together.

    Args:
        data: the folder with `sound/`, for readers and noises; they may be missing.
        texts: give the text of each clip to a subject that reads, and measure it without, too;
            else it has none.
        unseen: corpora that took no part in training, measured whole.

    Raises:
        ExportError: there is no dev to calibrate on.
    """
    first = measured[0].subject
    calibrations = [calibrate(m.subject, material, m.split.dev, texts) for m in measured]

    def predict(texts: bool, early: Sequence[float]) -> Predictions:
        return joined(
            [
                predict_clips(
                    m.subject,
                    calibration,
                    material,
                    _and_unseen(m.split, material, unseen),
                    trained=m.trained,
                    texts=texts,
                    early=early,
                )
                for m, calibration in zip(measured, calibrations, strict=True)
            ]
        )

    predictions = predict(texts, EARLY_SECONDS)
    of_test = _in_corpora(predictions, material, protocol.corpora)
    document: Document = {
        "format_version": FORMAT_VERSION,
        "subject": {
            "kind": first.kind,
            "name": first.name,
            "sha256": [m.subject.digest for m in measured],
            "text": (GIVEN if texts else MISSING) if first.reads else NONE,
        },
        "protocol": {
            **asdict(protocol),
            "splits": [m.split.name for m in measured],
            "speaker_dependent": any(m.split.speaker_dependent for m in measured),
        },
        "labels": list(LABELS),
        "calibration": [asdict(calibration) for calibration in calibrations],
        **figures(predictions, of_test, material.clips),
        "sounds": _sounds(measured, calibrations, data),
    }
    if texts and first.reads:
        document["without_text"] = figures(predict(False, ()), of_test, material.clips)
    return Evaluation(document, predictions)


def figures(predictions: Predictions, of_test: Flags, all_clips: Sequence[Clip]) -> Document:
    """Figures by corpus, their means, and those of all test clips together.

    Args:
        of_test: bool [n], the clips of corpora that were trained on or left out by the protocol;
            the others are reported, and count in no mean.
    """
    clips = [all_clips[i] for i in predictions.indices]
    names = np.array([clip.corpus for clip in clips])
    corpora = {
        str(name): corpus_figures(
            predictions.of(names == name), [c for c in clips if c.corpus == name]
        )
        for name in sorted(set(names))
    }
    tested = sorted(set(names[of_test]))
    together = predictions.of(of_test)
    return {
        "corpora": {
            name: {**found, "unseen": name not in tested} for name, found in corpora.items()
        },
        "mean": _mean([corpora[name] for name in tested]),
        "pooled": _pooled(together, [c for c, use in zip(clips, of_test, strict=True) if use]),
    }


def corpus_figures(predictions: Predictions, clips: Sequence[Clip]) -> Document:
    """All figures of the clips of one corpus."""
    truth = np.array([clip.label for clip in clips], np.int64)
    known = predictions.allowed[np.arange(len(truth)), truth]
    answers = predictions.of(known)
    speakers = [clip.speaker for clip, use in zip(clips, known, strict=True) if use]
    served = _served(predictions, truth)
    found: Document = {"count": len(truth), "not_among_labels": int(np.sum(~known))}
    if not known.any():
        return {**found, "classes": 0, "served": served}
    inside, right = _within(answers.scores, answers.allowed), truth[known]
    probabilities = metrics.softmax(metrics.restricted(answers.scores, answers.allowed))
    return {
        **found,
        "classes": len(np.unique(right)),
        "speakers": len(set(speakers)),
        "unweighted_average_recall": asdict(metrics.recall_interval(inside, right)),
        "over_speakers": (
            asdict(metrics.recall_interval(inside, right, speakers))
            if len(set(speakers)) >= _FEWEST_SPEAKERS
            else None
        ),
        "weighted_accuracy": metrics.weighted_accuracy(inside, right),
        "macro_f1": metrics.macro_f1(inside, right),
        "area_under_curve": metrics.area_under_curve(probabilities, right),
        "of_class": metrics.class_report(inside, right, LABELS),
        "confusion": metrics.confusion(inside, right, len(LABELS)).tolist(),
        "of_sex": _by_sex(inside, right, [c for c, use in zip(clips, known, strict=True) if use]),
        "after_seconds": _after_seconds(answers, right),
        "served": served,
        **affect_figures(predictions.affect, clips),
    }


def _within(scores: Floats, allowed: Flags) -> Labels:
    answers: Labels = metrics.restricted(scores, allowed).argmax(1)
    return answers


def _served(predictions: Predictions, truth: Labels) -> Document:
    """What a user gets: any label may be the answer, and there may be none."""
    tops, given = predictions.scores.argmax(1), ~predictions.abstained
    return {
        "unweighted_average_recall": metrics.unweighted_recall(tops, truth),
        "weighted_accuracy": metrics.weighted_accuracy(tops, truth),
        "abstained": float(np.mean(predictions.abstained)),
        "accuracy_where_answered": (
            metrics.weighted_accuracy(tops[given], truth[given]) if given.any() else None
        ),
    }


def _by_sex(inside: Labels, truth: Labels, clips: Sequence[Clip]) -> Document:
    """Recall of each sex, and the difference between the largest and the smallest."""
    sexes = np.array([clip.sex for clip in clips])
    recalls = {
        str(sex): metrics.unweighted_recall(inside[sexes == sex], truth[sexes == sex])
        for sex in sorted(set(sexes))
        if sex
    }
    gap = max(recalls.values()) - min(recalls.values()) if len(recalls) > 1 else None
    return {"recall": recalls, "gap": gap}


def _after_seconds(answers: Predictions, truth: Labels) -> list[Document]:
    """Recall when only the first seconds of speech were heard; None is the whole utterance."""
    heard: list[tuple[float | None, Floats]] = [*sorted(answers.early.items())]
    heard.append((None, answers.scores))
    return [
        {
            "seconds": seconds,
            "unweighted_average_recall": metrics.unweighted_recall(
                _within(scores, answers.allowed), truth
            ),
        }
        for seconds, scores in heard
    ]


def affect_figures(said: Floats | None, clips: Sequence[Clip]) -> Document:
    """Agreement with ratings where clips have them, and whether arousal follows intensity.

    Args:
        said: valence, arousal, dominance of each clip, [n, 3].
    """
    found: Document = {}
    if said is None:
        return found
    truth = np.array([clip.affect or [np.nan] * len(AFFECT_LABELS) for clip in clips])
    for i, name in enumerate(AFFECT_LABELS):
        rated = ~np.isnan(truth[:, i])
        if rated.sum() > 1:
            found.setdefault("ratings", {})[name] = {
                "count": int(rated.sum()),
                "concordance": metrics.concordance(said[rated, i], truth[rated, i]),
                "pearson": metrics.pearson(said[rated, i], truth[rated, i]),
            }
    degrees = np.array([clip.intensity for clip in clips])
    strong, weak = np.isin(degrees, _STRONG), np.isin(degrees, _WEAK)
    if strong.any() and weak.any():
        use = strong | weak
        arousal = said[use, AFFECT_LABELS.index("arousal")]
        sides = np.stack([-arousal, arousal], axis=1)
        found["arousal_tells_intensity"] = metrics.area_under_curve(sides, strong[use].astype(int))
    return found


def _mean(corpora: Sequence[Document]) -> Document:
    """Means over the corpora, each counting the same, and the gap between best and worst."""
    measured = [found for found in corpora if found["classes"]]
    if not measured:
        return {}
    recalls = [found["unweighted_average_recall"]["value"] for found in measured]
    lines = [found["after_seconds"] for found in measured]
    return {
        "corpora": len(measured),
        "unweighted_average_recall": float(np.mean(recalls)),
        "gap": max(recalls) - min(recalls),
        "weighted_accuracy": float(np.mean([found["weighted_accuracy"] for found in measured])),
        "macro_f1": float(np.mean([found["macro_f1"] for found in measured])),
        "after_seconds": [
            {
                "seconds": points[0]["seconds"],
                "unweighted_average_recall": float(
                    np.mean([point["unweighted_average_recall"] for point in points])
                ),
            }
            for points in zip(*lines, strict=True)
        ],
    }


def _pooled(predictions: Predictions, clips: Sequence[Clip]) -> Document:
    """All test clips together, all seven labels allowed, as served."""
    truth = np.array([clip.label for clip in clips], np.int64)
    probabilities = metrics.softmax(predictions.scores)
    tops = predictions.scores.argmax(1)
    served = _served(predictions, truth)
    return {
        "count": len(truth),
        **served,
        "sum_of_both": served["weighted_accuracy"] + served["unweighted_average_recall"],
        "macro_f1": metrics.macro_f1(tops, truth),
        "calibration_error": metrics.calibration_error(probabilities, truth),
        "reliability": metrics.reliability(probabilities, truth),
        "confusion": metrics.confusion(tops, truth, len(LABELS)).tolist(),
    }


def _sounds(
    measured: Sequence[Measured], calibrations: Sequence[Calibration], data: Path
) -> dict[str, Document]:
    """Shares of each answer to sounds that nobody acted; of several subjects, their mean."""
    found = {}
    for name, sounds in extra_sounds(data).items():
        each = [
            shares(m.subject, calibration, sounds)
            for m, calibration in zip(measured, calibrations, strict=True)
        ]
        found[name] = {
            **each[0],
            "abstained": float(np.mean([one["abstained"] for one in each])),
            "answered": _mean_shares([one["answered"] for one in each]),
            "top": _mean_shares([one["top"] for one in each]),
        }
    return found


def _mean_shares(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: float(np.mean([row[label] for row in rows])) for label in rows[0]}


def _and_unseen(split: Split, material: Material, unseen: Sequence[str]) -> Labels:
    strange = [i for i, clip in enumerate(material.clips) if clip.corpus in unseen]
    return np.concatenate([split.test, np.array(strange, np.int64)])


def _in_corpora(predictions: Predictions, material: Material, corpora: Sequence[str]) -> Flags:
    return np.array([material.clips[i].corpus in corpora for i in predictions.indices], bool)
