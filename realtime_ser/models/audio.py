"""Run an audio expert: waveforms of any length in, one row of answers for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AudioPart, Batching
from realtime_ser.models.experts import ExpertOutput, read_output
from realtime_ser.models.ort import Graph
from realtime_ser.types import Samples

_FULL_SCALE = 32768.0


class AudioExpert:
    """An audio part with its graph.

    Args:
        part: its description.
        graph: the loaded graph.
        labels: the bundle's labels, in order.
        pad_multiple_samples: with masked batching, batches are padded to a multiple of this. On
            a GPU it keeps the number of different shapes small, each of which costs extra once.
    """

    def __init__(
        self,
        part: AudioPart,
        graph: Graph,
        labels: tuple[str, ...],
        *,
        pad_multiple_samples: int = 1,
    ) -> None:
        self.part = part
        self._graph = graph
        self._labels = labels
        self._pad_multiple = pad_multiple_samples

    def hear(self, waveforms: Sequence[Samples]) -> ExpertOutput:
        """Answer one or more waveforms, int16 [samples] at 16 kHz each.

        Of audio longer than the part's maximum, the last so many samples are heard: the end is
        the present. Shorter audio than its minimum is followed by silence.

        Raises:
            InferenceError: the graph failed.
        """
        scaled = [waveform.astype(np.float32) / _FULL_SCALE for waveform in waveforms]
        return read_output(self.part, self.run(scaled), self._labels)

    def run(self, waveforms: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The graph's own outputs by name, [batch, ...], for float32 waveforms in -1..1."""
        fitted = [self._fit(waveform) for waveform in waveforms]
        if self.part.batching is Batching.MASKED:
            return self._run_batch(fitted, self._pad_multiple)
        by_length: dict[int, list[int]] = {}
        for row, waveform in enumerate(fitted):
            by_length.setdefault(len(waveform), []).append(row)
        results: dict[str, NDArray[np.float32]] = {}
        for rows in by_length.values():
            for name, value in self._run_batch([fitted[row] for row in rows], 1).items():
                whole = results.setdefault(
                    name, np.empty((len(fitted), *value.shape[1:]), np.float32)
                )
                whole[rows] = value
        return results

    def _fit(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        recent = waveform[-self.part.maximum_samples :]
        missing = self.part.minimum_samples - len(recent)
        return np.pad(recent, (0, missing)) if missing > 0 else recent

    def _run_batch(
        self, waveforms: Sequence[NDArray[np.float32]], multiple: int
    ) -> dict[str, NDArray[np.float32]]:
        lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
        width = -(-int(lengths.max()) // multiple) * multiple
        batch = np.zeros((len(waveforms), width), np.float32)
        for row, waveform in enumerate(waveforms):
            batch[row, : len(waveform)] = waveform
        feeds: dict[str, NDArray[Any]] = {"waveform": batch, "lengths": lengths}
        return self._graph.run({spec.name: feeds[spec.name] for spec in self.part.inputs})
