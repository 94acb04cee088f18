"""Run a text expert: transcripts in, one row of answers for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realtime_ser.errors import BundleFormatError
from realtime_ser.models.buckets import padded_rows
from realtime_ser.models.bundle_description import TextPart
from realtime_ser.models.experts import ExpertOutput
from realtime_ser.models.graph import Graph

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextExpert:
    """A text part with its tokenizer and its graph.

    Args:
        part: its description.
        graph: the loaded graph.
        tokenizer: the part's `tokenizer.json`.
        labels: the bundle's labels, in order.
        sizes_tokens: batches are padded to the next of these, in ascending order; none leaves
            them as they are. See `buckets`.

    Raises:
        BundleFormatError: the tokenizer does not load.
    """

    def __init__(
        self,
        part: TextPart,
        graph: Graph,
        tokenizer: Path,
        labels: tuple[str, ...],
        *,
        sizes_tokens: tuple[int, ...] = (),
    ) -> None:
        self.part = part
        self._graph = graph
        self._labels = labels
        self._sizes = sizes_tokens
        self._tokenizer = _load_tokenizer(tokenizer, part.max_tokens)

    def read(self, texts: Sequence[str]) -> ExpertOutput:
        """Answer one or more texts.

        Raises:
            InferenceError: the graph failed.
        """
        return ExpertOutput(self.part, self._graph.infer(self._feeds(texts)), self._labels)

    def run(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The graph's own outputs by name, [batch, ...]."""
        return self._graph.run(self._feeds(texts))

    def prepare(self, texts: Sequence[str]) -> None:
        """Meet the size of a batch, so that later ones of that size cost no extra.

        Raises:
            InferenceError: the graph failed.
        """
        self._graph.prepare(self._feeds(texts))

    def warm_up(self) -> None:
        """Meet every size of batch and of text that `read` pads to, longest first.

        Raises:
            InferenceError: the graph failed.
        """
        if not self._sizes:
            self.prepare(["warm up"])
        for rows in reversed(self._graph.rows):
            for tokens in reversed(self._sizes):
                ids = np.full((rows, tokens), self.part.pad_id, np.int64)
                mask = np.ones_like(ids)
                self._graph.prepare({"input_ids": ids, "attention_mask": mask})

    def _feeds(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        # One by one: encode_batch starts a thread on every core, for a few dozen tokens.
        token_ids = [self._tokenizer.encode(text).ids for text in texts]
        width = padded_rows(max(1, *(len(ids) for ids in token_ids)), self._sizes)
        input_ids = np.full((len(texts), width), self.part.pad_id, np.int64)
        mask = np.zeros((len(texts), width), np.int64)
        for row, ids in enumerate(token_ids):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": mask}


def _load_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        # The file may bring settings of its own; bundle.json is what counts.
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
    except Exception as error:  # tokenizers raises bare Exception.
        raise BundleFormatError(
            f"{path}: is not a tokenizer ({error}); re-export the bundle"
        ) from error
    return tokenizer
