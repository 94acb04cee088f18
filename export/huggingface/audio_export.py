"""A speech model from the hub, or from a folder, to an encoder folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from ..encoder_folder import GRAPH_FILE, EncoderRecord, Source, replacing
from ..errors import ExportError
from ..graphs.encoder_export import finish_encoder
from ..graphs.export_graph import GraphInterface, export_graph
from ..progress import say
from . import mfcc_encoder
from .audio import AudioModel, load_audio
from .source import AUDIO_FILES, resolve, source_record

# Padding may change an answer by this much before mixed lengths are forbidden.
PADDING_TOLERANCE = 1e-3
_TRACED_SAMPLES = (17_001, 12_345)


def export_audio(
    model: str,
    out: Path,
    *,
    revision: str | None = None,
    tolerance: float = 1e-3,
    **options: Any,
) -> EncoderRecord:
    """Write the encoder folder `out` of a Hugging Face speech model.

    Args:
        model: hub id, or a folder, or `mfcc_encoder.NAME`, which needs no model.
        revision: commit, tag or branch on the hub.
        tolerance: largest difference between the graph, as served, and the original model.
        **options: head, labels, affect_range and multi_label_shares of `load_audio`.

    Raises:
        ExportError: the model is not there or not of a kind that can be exported, or the graph
            does not answer as the model does.
    """
    loaded, source = _load(model, revision, **options)
    with replacing(out) as draft:
        say("tracing the graph")
        write_graph(loaded, draft / GRAPH_FILE)
        say("trying padding")
        part = {**loaded.part, "batching": measured_batching(draft / GRAPH_FILE, loaded.part)}
        return finish_encoder(
            draft,
            loaded,
            part,
            modality="audio",
            source=source,
            options=options,
            tolerance=tolerance,
        )


def _load(model: str, revision: str | None, **options: Any) -> tuple[AudioModel, Source]:
    if model == mfcc_encoder.NAME:
        if options.get("head", "auto") not in ("auto", "none"):
            raise ExportError(f"{model} has no head; use --head none")
        return mfcc_encoder.load_mfcc(), mfcc_encoder.source()
    folder = resolve(model, revision, needs=AUDIO_FILES)
    return load_audio(folder, **options), source_record(folder, model, revision)


def write_graph(model: AudioModel, path: Path) -> None:
    """Export the module of `model` to `path`."""
    lengths = torch.tensor(_TRACED_SAMPLES)
    waveform = 0.1 * torch.randn(2, int(lengths.max()), generator=torch.Generator().manual_seed(0))
    interface = GraphInterface(
        inputs={"waveform": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}},
        outputs={output["name"]: {0: "batch"} for output in model.part["outputs"]},
        example={"waveform": waveform, "lengths": lengths},
    )
    export_graph(model.module, model.config, interface, path)


def measured_batching(path: Path, part: Mapping[str, Any]) -> str:
    """masked if padding changes no answer of the graph, else exact_length, said on stderr."""
    difference = padding_difference(path, part)
    if difference <= PADDING_TOLERANCE:
        return "masked"
    say(
        f"padding changes answers by {difference:.2g} (allowed {PADDING_TOLERANCE:g}): only "
        "utterances of equal length will share a batch"
    )
    return "exact_length"


def padding_difference(path: Path, part: Mapping[str, Any]) -> float:
    """Largest difference of any value between an utterance alone and in a padded batch.

    Absolute, or relative to the largest value of its row, whichever is smaller. The padding holds
    noise, which a graph with lengths must not hear.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    shortest, longest = part["minimum_samples"], part["maximum_samples"]
    lengths = np.array([min(each, longest) for each in (shortest, 9_601, 20_011)], np.int64)
    rng = np.random.default_rng(0)
    # Louder than the utterances, and with an offset: what leaks shows.
    batch = rng.normal(0.5, 1, (len(lengths), int(lengths.max()))).astype(np.float32)
    for row, length in enumerate(lengths):
        batch[row, :length] = rng.normal(0.01, 0.1, length)
    together = session.run(None, {"waveform": batch, "lengths": lengths})
    worst = 0.0
    for row, length in enumerate(lengths):
        feeds = {"waveform": batch[row : row + 1, :length], "lengths": lengths[row : row + 1]}
        for alone, padded in zip(session.run(None, feeds), together, strict=True):
            scale = max(1.0, float(np.abs(alone).max()))
            worst = max(worst, float(np.abs(alone[0] - padded[row]).max()) / scale)
    return worst
