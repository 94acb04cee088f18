"""Join the experts: with the bundle's fusion head, or by the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AffectRule, Calibration, Part
from realtime_ser.models.experts import ExpertOutput
from realtime_ser.models.graph import Graph
from realtime_ser.models.ort_bound import Feed


@dataclass(frozen=True, slots=True)
class TextAnswers:
    """What the text experts say, for the rows of a batch that have text.

    Attributes:
        rows: indices of those rows in the batch.
        outputs: one an expert, each with len(rows) rows.
    """

    rows: tuple[int, ...]
    outputs: tuple[ExpertOutput, ...]


class FusionHead:
    """A fusion part with its graph."""

    def __init__(self, part: Part, graph: Graph, labels: tuple[str, ...]) -> None:
        self.part = part
        self._graph = graph
        self._labels = labels
        self._widths = {spec.name: spec.shape[-1] for spec in part.inputs}

    @property
    def uses_text(self) -> bool:
        """Whether the head looks at text at all."""
        return "text_embedding" in self._widths

    def fuse(self, audio: Sequence[ExpertOutput], text: TextAnswers) -> ExpertOutput:
        """Join embeddings; a row without text gets zeros and text_present = 0.

        Raises:
            InferenceError: the graph failed.
        """
        values = self._graph.infer(self._feeds(audio, text))
        return ExpertOutput(self.part, values, self._labels)

    def run(
        self, audio: Sequence[ExpertOutput], text: TextAnswers
    ) -> dict[str, NDArray[np.float32]]:
        """The graph's own outputs by name, [batch, ...]."""
        return self._graph.run(self._feeds(audio, text))

    def prepare(self, audio: Sequence[ExpertOutput], text: TextAnswers) -> None:
        """Meet a size of batch, with text or without.

        Raises:
            InferenceError: the graph failed.
        """
        self._graph.prepare(self._feeds(audio, text))

    def _feeds(self, audio: Sequence[ExpertOutput], text: TextAnswers) -> dict[str, Feed]:
        audio_embedding = _side_by_side(audio)
        if not self.uses_text:
            return {"audio_embedding": audio_embedding}
        present = np.zeros(len(audio_embedding), np.float32)
        present[list(text.rows)] = 1
        return {
            "audio_embedding": audio_embedding,
            "text_embedding": self._text_embedding(text, len(present)),
            "text_present": present,
        }

    def _text_embedding(self, text: TextAnswers, batch: int) -> Feed:
        if len(text.rows) == batch:
            return _side_by_side(text.outputs)
        embedding = np.zeros((batch, int(self._widths["text_embedding"])), np.float32)
        if text.rows:
            embedding[list(text.rows)] = _on_host(text.outputs)
        return embedding


def _side_by_side(outputs: Sequence[ExpertOutput]) -> Feed:
    """Embeddings of several experts in the order of the bundle: [batch, sum of widths].

    That of a single one stays on the device where it is there.
    """
    on_device = outputs[0].embedding_on_device if len(outputs) == 1 else None
    return on_device or _on_host(outputs)


def _on_host(outputs: Sequence[ExpertOutput]) -> NDArray[np.float32]:
    return np.concatenate(
        [output.embedding for output in outputs if output.embedding is not None], axis=1
    )


def posterior(logits: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """Calibrated probabilities, float64 [batch, labels]; each row sums to 1."""
    scaled = logits / calibration.temperature
    # The largest exponent is 0, so nothing overflows.
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return result


def mean_answer(
    audio: Sequence[NDArray[np.float64]],
    text: Sequence[NDArray[np.float64]],
    text_rows: Sequence[int],
) -> NDArray[np.float64]:
    """Mean over the experts that answered each row.

    The plain mean, every expert counting the same: anything cleverer has to be learnt, and is
    then a fusion head.

    Args:
        audio: one [batch, columns] an expert, one or more experts.
        text: one [len(text_rows), columns] an expert.
        text_rows: the rows of the batch that `text` answers.
    """
    total: NDArray[np.float64] = np.asarray(np.sum(audio, axis=0, dtype=np.float64))
    votes = np.full((len(total), 1), float(len(audio)))
    for answer in text:
        total[list(text_rows)] += answer
        votes[list(text_rows)] += 1
    result: NDArray[np.float64] = total / votes
    return result


def centroid_affect(
    probabilities: NDArray[np.float64], rule: AffectRule, labels: tuple[str, ...]
) -> NDArray[np.float64]:
    """Expected point under the posterior: [batch, 3] valence, arousal, dominance in 0..1."""
    points = np.array([rule.centroids[label] for label in labels])
    result: NDArray[np.float64] = probabilities @ points
    return result
