"""Run an audio expert: waveforms of any length in, one row of answers for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.buckets import padded_samples, sample_sizes
from realtime_ser.models.bundle_description import AudioPart, Batching
from realtime_ser.models.experts import ExpertOutput
from realtime_ser.models.graph import Graph
from realtime_ser.types import Samples

_FULL_SCALE = 32768.0


class AudioExpert:
    """An audio part with its graph.

    Args:
        part: its description.
        graph: the loaded graph.
        labels: the bundle's labels, in order.
        pad_multiple_samples: with masked batching, batches are padded to a multiple of this;
            see `buckets`.
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
        self._pad_multiple = pad_multiple_samples if part.batching is Batching.MASKED else 1

    def hear(self, waveforms: Sequence[Samples]) -> ExpertOutput:
        """Answer one or more waveforms, int16 [samples] at 16 kHz each.

        Of audio longer than the part's maximum, the last so many samples are heard: the end is
        the present. Shorter audio than its minimum is followed by silence.

        Raises:
            InferenceError: the graph failed.
        """
        scaled = [waveform.astype(np.float32) / _FULL_SCALE for waveform in waveforms]
        return ExpertOutput(self.part, self._infer(scaled), self._labels)

    def run(self, waveforms: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The graph's own outputs by name, [batch, ...], for float32 waveforms in -1..1."""
        return self._graph.do(lambda: dict(self._infer(waveforms)))

    def prepare(self, waveforms: Sequence[NDArray[np.float32]]) -> None:
        """Meet the size of a batch, so that later ones of that size cost no extra.

        Args:
            waveforms: as of `run`; of one length where batching is exact.

        Raises:
            InferenceError: the graph failed.
        """
        fitted = [self._fit(waveform) for waveform in waveforms]
        self._graph.prepare(self._feeds(fitted))

    def warm_up(self, longest: Samples) -> None:
        """Meet every size of batch and of audio that `hear` pads to, up to that of `longest`.

        Longest first, so that memory is taken once. Where nothing is padded there is no end of
        sizes, and none costs extra but the first.

        Raises:
            InferenceError: the graph failed.
        """
        scaled = self._fit(longest.astype(np.float32) / _FULL_SCALE)
        if self._pad_multiple == 1:
            self.prepare([scaled])
            return
        sizes = sample_sizes(len(scaled), self._pad_multiple, self.part.maximum_samples)
        for rows in reversed(self._graph.rows):
            for size in reversed(sizes):
                self.prepare([scaled[:size]] * rows)

    def _infer(self, waveforms: Sequence[NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        fitted = [self._fit(waveform) for waveform in waveforms]
        if self.part.batching is Batching.MASKED:
            return self._graph.infer(self._feeds(fitted))
        by_length: dict[int, list[int]] = {}
        for row, waveform in enumerate(fitted):
            by_length.setdefault(len(waveform), []).append(row)
        results: dict[str, NDArray[np.float32]] = {}
        for rows in by_length.values():
            feeds = self._feeds([fitted[row] for row in rows])
            for name, value in self._graph.infer(feeds).items():
                whole = results.setdefault(
                    name, np.empty((len(fitted), *value.shape[1:]), np.float32)
                )
                whole[rows] = value
        return results

    def _fit(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        recent = waveform[-self.part.maximum_samples :]
        missing = self.part.minimum_samples - len(recent)
        return np.pad(recent, (0, missing)) if missing > 0 else recent

    def _feeds(self, waveforms: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
        longest = int(lengths.max())
        width = padded_samples(longest, self._pad_multiple, self.part.maximum_samples)
        batch = np.zeros((len(waveforms), width), np.float32)
        for row, waveform in enumerate(waveforms):
            batch[row, : len(waveform)] = waveform
        feeds: dict[str, NDArray[Any]] = {"waveform": batch, "lengths": lengths}
        return {spec.name: feeds[spec.name] for spec in self.part.inputs}
