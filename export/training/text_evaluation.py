"""Text encoders, measured on the test sentences of `data/text` as speech encoders are on clips.

Each corpus is asked for those of the seven emotions that its own labels stand for; sentences with
none of them, or several, are left out. Sentences with ratings count for valence, arousal and
dominance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from realtime_ser.models.bundle_description import Role
from realtime_ser.models.experts import ExpertOutput
from realtime_ser.models.text import TextExpert

from ..encoder_folder import GRAPH_FILE, read_record
from ..errors import ExportError
from ..graphs.served import serve_folder
from ..text.corpora import TextRow
from ..text.labels import SHARED
from .calibration import Calibration, fit
from .corpora import LABELS, Clip, label_masks
from .evaluation import FORMAT_VERSION, GIVEN, Document, Evaluation, affect_figures, figures
from .metrics import RULED_OUT, Floats
from .predictions import Predictions, apply
from .subjects import Answers, by_length, columns_of, sha256_of

_NO_LABEL = -1


class TextSubject:
    """The encoder folder of a text model with a head for emotions, or for dimensions.

    Raises:
        ExportError: it is none, or it answers with labels of its own.
    """

    kind = "text encoder"

    def __init__(self, folder: Path, threads: int = 1) -> None:
        record = read_record(folder)
        served = serve_folder(folder, threads=threads)
        if not isinstance(served.expert, TextExpert):
            raise ExportError(f"{folder} is a model of {record.modality}, not of text")
        self._expert = served.expert
        head = next((spec for spec in served.part.outputs if spec.role is Role.LOGITS), None)
        rated = any(spec.role is Role.AFFECT for spec in served.part.outputs)
        if head is None and not rated:
            raise ExportError(f"{folder} has no head, only an embedding; train one first")
        self.name = record.source.model
        self.digest = sha256_of(folder / GRAPH_FILE)
        self._own = tuple(head.labels) if head else ()
        self.labels, self._columns = columns_of(self._own, str(folder))

    def read(self, texts: Sequence[str]) -> Answers:
        """Scores of n texts, and affect where the model has it."""
        scores = np.full((len(texts), len(LABELS)), RULED_OUT)
        affect: Floats | None = None
        for rows in by_length(texts):
            values = self._expert.run([texts[row] for row in rows])
            answer = ExpertOutput(self._expert.part, values, self._own)
            if answer.logits is not None:
                scores[np.ix_(rows, self._columns)] = answer.logits
            if answer.affect is not None:
                if affect is None:
                    affect = np.zeros((len(texts), answer.affect.shape[1]))
                affect[rows] = answer.affect
        return Answers(scores, None, affect)


def evaluate_text(
    subject: TextSubject, rows: Sequence[TextRow]
) -> tuple[Evaluation, tuple[Clip, ...]]:
    """Measure a text encoder on the test rows; those of dev calibrate.

    Returns:
        The evaluation, and the sentences as clips, to which its predictions belong.

    Raises:
        ExportError: no dev row fits the labels.
    """
    clips = tuple(_clip(number, row) for number, row in enumerate(rows))
    labelled = np.array([clip.label != _NO_LABEL for clip in clips])
    rated = np.array([clip.affect is not None for clip in clips])
    sides = np.array([clip.split for clip in clips])
    truth = np.array([clip.label for clip in clips], np.int64)
    known = np.flatnonzero(labelled & subject.labels[truth])
    dev = known[sides[known] == "dev"]
    calibration = Calibration(1.0, 0.0, "no labels")
    if subject.labels.any():
        calibration = fit(subject.read([clips[i].text for i in dev]).scores, truth[dev])
    test = np.flatnonzero((labelled | rated) & (sides == "test"))
    answers = subject.read([clips[i].text for i in test])
    scores, abstained = apply(calibration, answers)
    masks = label_masks([clip for clip in clips if clip.label != _NO_LABEL])
    none = np.zeros(len(LABELS), bool)
    allowed = np.array([masks.get(clips[i].corpus, none) for i in test]) & subject.labels
    whole = Predictions(test, scores, abstained, allowed, answers.affect)
    predictions = whole.of(labelled[test])
    document: Document = {
        "format_version": FORMAT_VERSION,
        "subject": {
            "kind": subject.kind,
            "name": subject.name,
            "sha256": [subject.digest],
            "text": GIVEN,
        },
        "protocol": {
            "kind": "given",
            "corpora": sorted({clip.corpus for clip in clips}),
            "splits": ["given"],
            "speaker_dependent": False,
        },
        "labels": list(LABELS),
        "calibration": [asdict(calibration)],
        **figures(predictions, np.ones(len(predictions.indices), bool), clips),
        "ratings": _ratings(whole, clips),
        "sounds": {},
    }
    return Evaluation(document, predictions), clips


def _ratings(predictions: Predictions, clips: Sequence[Clip]) -> dict[str, Document]:
    """Agreement with ratings by corpus, labelled or not."""
    names = np.array([clips[i].corpus for i in predictions.indices])
    found = {}
    for name in np.unique(names):
        part = predictions.of(names == name)
        agreement = affect_figures(part.affect, [clips[i] for i in part.indices])
        if "ratings" in agreement:
            found[str(name)] = agreement["ratings"]
    return found


def _clip(number: int, row: TextRow) -> Clip:
    """A sentence as a clip of a speaker of its own."""
    shared = SHARED.get(row.corpus, {})
    emotions = {shared[label] for label in row.labels if label in shared}
    label = LABELS.index(emotions.pop()) if len(emotions) == 1 else _NO_LABEL
    rated = not all(np.isnan(row.affect))
    return Clip(
        file=f"{row.corpus}/{number}",
        corpus=row.corpus,
        split=row.split,
        speaker=f"{number}",
        label=label,
        votes=None,
        language=row.language,
        text=row.text,
        affect=row.affect if rated else None,
    )
