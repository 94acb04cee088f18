"""PATHOSnet as a bundle: what pools each modality into its parts, the linear layer into the head.

audio   encoder or bands, convolution blocks, pooling   one part for each encoder of frames
text    word vectors, convolution blocks, pooling       of all networks, side by side
fusion  all of them side by side, linear
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realtime_ser.models.bundle import Bundle
from realtime_ser.models.bundle_description import Role

from ..bundles.centroids import PAD_SOURCE, centroids
from ..bundles.fusion_head import OPSET, describe_head, export_head
from ..bundles.golden import GoldenCase, golden_inputs
from ..bundles.write_bundle import finish_bundle
from ..encoder_folder import GRAPH_FILE, TOKENIZER_FILE, replacing
from ..graphs.graph_metadata import forget_the_exporting_machine
from ..huggingface.audio import audio_part, embedding_output
from .frames import (
    LONGEST_SAMPLES,
    SHORTEST_SAMPLES,
    FrameEncoder,
    LogMelFrames,
    frames_of,
)
from .pathosnet import FRAME_CHANNELS, WORD_CHANNELS, Branch, PathosNetwork, Sequences
from .serve import card_of, describe
from .word_vectors import MOST_WORDS, PAD_ID, WIDTH, Lexicon, tokenizer_of

Floats = NDArray[np.float32]
_TEXT = "text"
_OURS = "that of the data that it was trained on"


@dataclass(frozen=True, slots=True)
class Trained:
    """One or more networks and the linear layer on them.

    Attributes:
        encoders: of each network.
        linear: on `PathosNetwork.features` of one network after the other.
        lexicon: that all have learnt with.
    """

    encoders: Sequence[FrameEncoder]
    networks: Sequence[PathosNetwork]
    linear: nn.Linear
    lexicon: Lexicon

    def head(self) -> PathosHead:
        """What the bundle calls the fusion."""
        return PathosHead(self.linear, len(self.networks)).eval()


class PathosHead(nn.Module):
    """The linear layer, on embeddings in the order of a bundle: all voices, then all words.

    Args:
        linear: on the features of so many networks, voice and words of each together.
    """

    def __init__(self, linear: nn.Linear, networks: int) -> None:
        super().__init__()
        width = FRAME_CHANNELS + WORD_CHANNELS
        starts = np.arange(networks)[:, None] * width
        voices = starts + np.arange(FRAME_CHANNELS)
        words = starts + np.arange(FRAME_CHANNELS, width)
        order = torch.from_numpy(np.concatenate([voices.ravel(), words.ravel()]))
        self.linear = nn.Linear(linear.in_features, linear.out_features)
        with torch.no_grad():
            self.linear.weight.copy_(linear.weight[:, order])
            self.linear.bias.copy_(linear.bias)

    def forward(self, audio: Tensor, text: Tensor, present: Tensor) -> Tensor:
        """Embeddings [batch, 256 n] and [batch, 128 n], present [batch] -> logits [batch, labels].

        Of a missing text the network sees what it sees of one without a known word: zeros.
        """
        logits: Tensor = self.linear(torch.cat([audio, text * present[:, None]], dim=1))
        return logits


def write_pathosnet(
    out: Path, trained: Trained, labels: Sequence[str], system: str, languages: Sequence[str]
) -> Bundle:
    """Write the bundle `out`, whole and tried, or nothing.

    Args:
        labels: in the order of the linear layer.
        system: its name, for people.

    Raises:
        ExportError: it does not answer as the networks do, or `out` holds something else.
    """
    head = trained.head()
    count = len(trained.networks)
    widths = (FRAME_CHANNELS * count, WORD_CHANNELS * count)
    with replacing(out) as draft:
        audio = [
            _audio_part(name, encoder, network.frames, draft)
            for name, encoder, network in zip(
                _audio_names(trained), trained.encoders, trained.networks, strict=True
            )
        ]
        text = _text_part(trained, draft)
        export_head(head, *widths, draft / "fusion" / GRAPH_FILE)
        parameters = sum(parameter.numel() for parameter in head.parameters())
        description = describe(
            {
                "audio": audio,
                "text": [text],
                "fusion": describe_head(tuple(labels), *widths, parameters),
            },
            labels,
            system,
            licences=[encoder.licence or _OURS for encoder in trained.encoders],
            affect={
                "method": "label_centroids",
                "centroids": centroids(labels),
                "source": PAD_SOURCE,
            },
            languages=languages,
        )
        bundle = finish_bundle(draft, description, _golden(trained, head), card_of(system))
    return Bundle(out.resolve(), bundle.description, bundle.hash)


def _audio_names(trained: Trained) -> list[str]:
    return [f"audio-{number}" for number in range(1, len(trained.encoders) + 1)]


class _Bands(nn.Module):
    """Log-mel frames and their branch."""

    minimum_samples, maximum_samples = SHORTEST_SAMPLES, LONGEST_SAMPLES

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.frames, self.branch = LogMelFrames(), branch

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        pooled: Tensor = self.branch(*self.frames(waveform, lengths))
        return pooled


class _Pooled(nn.Module):
    """What an encoder said of all pieces of a batch, and the branch that looks at it in order."""

    minimum_samples, maximum_samples = SHORTEST_SAMPLES, LONGEST_SAMPLES

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, said: Tensor, counts: Tensor) -> Tensor:
        """float32 [batch * n, width], int64 [batch] -> [batch, channels]."""
        frames = said.reshape(counts.shape[0], -1, said.shape[1])
        pooled: Tensor = self.branch(frames, counts)
        return pooled


class _Words(nn.Module):
    """Word vectors, and the branches of all networks side by side."""

    def __init__(self, vectors: Floats, branches: Sequence[Branch]) -> None:
        super().__init__()
        padded = np.concatenate([np.zeros((1, WIDTH), np.float32), vectors])
        self.vectors = nn.Embedding.from_pretrained(torch.from_numpy(padded), freeze=True)
        self.branches = nn.ModuleList(branches)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, words] twice -> [batch, 128 * networks]."""
        words, counts = self.vectors(input_ids), attention_mask.sum(1)
        return torch.cat([branch(words, counts) for branch in self.branches], dim=1)


def _audio_part(name: str, encoder: FrameEncoder, branch: Branch, draft: Path) -> dict[str, Any]:
    path = draft / name / GRAPH_FILE
    path.parent.mkdir()
    waveform = {"waveform": torch.zeros(2, 40_000), "lengths": torch.tensor([40_000, 17_000])}
    free = {"waveform": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}}
    module: _Bands | _Pooled
    if encoder.expert is None:
        module = _Bands(branch)
        _export(module, waveform, free, ("embedding",), path)
    else:
        module = _Pooled(branch)
        _join(encoder, module, waveform, free, path)
    part = audio_part(module, [embedding_output(FRAME_CHANNELS)])
    more = encoder.expert.part.parameters or 0 if encoder.expert else 0
    return {
        **part,
        "name": name,
        "file": f"{name}/{GRAPH_FILE}",
        "parameters": part["parameters"] + more,
    }


def _join(
    encoder: FrameEncoder,
    pool: _Pooled,
    waveform: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """What cuts, the encoder's own graph, and what pools, as one graph."""
    assert encoder.expert is not None and encoder.graph is not None
    part = encoder.expert.part
    embedding = part.output(Role.EMBEDDING)
    assert embedding is not None  # `frozen.hear` refuses encoders without
    inside = onnx.load(str(encoder.graph))
    opset = next(each.version for each in inside.opset_import if each.domain in ("", "ai.onnx"))
    # The encoder's inputs are named alike, and prefixes keep the three apart.
    cut, pooled = path.with_name("cut.onnx"), path.with_name("pooled.onnx")
    cuts = {"pieces": {0: "pieces"}, "piece_lengths": {0: "pieces"}, "counts": {0: "batch"}}
    _export(encoder.module, waveform, {**free, **cuts}, tuple(cuts), cut, opset)
    said = {"said": torch.zeros(4, int(embedding.shape[1])), "counts": torch.tensor([2, 1])}
    free = {"said": {0: "pieces"}, "counts": {0: "batch"}}
    _export(pool, said, free, ("embedding",), pooled, opset)
    first, last = onnx.load(str(cut)), onnx.load(str(pooled))
    for model in (first, inside, last):
        model.ir_version = max(first.ir_version, inside.ir_version, last.ir_version)
    inputs = {"waveform": "pieces", "lengths": "piece_lengths"}
    known = onnx.compose.merge_models(
        first,
        onnx.compose.add_prefix(inside, "encoder/"),
        io_map=[(inputs[spec.name], f"encoder/{spec.name}") for spec in part.inputs],
        outputs=["counts", f"encoder/{embedding.name}"],
    )
    whole = onnx.compose.merge_models(
        known,
        onnx.compose.add_prefix(last, "pool/"),
        io_map=[(f"encoder/{embedding.name}", "pool/said"), ("counts", "pool/counts")],
        outputs=["pool/embedding"],
    )
    whole.graph.output[0].name = "embedding"
    for node in whole.graph.node:
        for index, name in enumerate(node.output):
            if name == "pool/embedding":
                node.output[index] = "embedding"
    # Noted shapes call the pieces of a batch a batch, too; the runtime works them out anew.
    del whole.graph.value_info[:]
    onnx.save(whole, str(path))
    cut.unlink()
    pooled.unlink()
    forget_the_exporting_machine(path)


def _export(
    module: nn.Module,
    example: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
    path: Path,
    opset: int = OPSET,
) -> None:
    """Trace a module to ONNX; `free` are the free axes of inputs and of outputs that are no
    embedding."""
    axes = {**{name: {0: "batch"} for name in outputs}, **free}
    with warnings.catch_warnings():
        # The exporter of TorchScript announces its own end, and names every Python value that
        # comes from a tensor; whether one was baked in is measured by the golden cases.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes={name: dict(each) for name, each in axes.items()},
        )
    forget_the_exporting_machine(path)


def _text_part(trained: Trained, draft: Path) -> dict[str, Any]:
    path = draft / _TEXT / GRAPH_FILE
    path.parent.mkdir()
    words = _Words(trained.lexicon.vectors, [network.words for network in trained.networks])
    tokens = {0: "batch", 1: "tokens"}
    ids = torch.zeros(2, 5, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    _export(words, example, dict.fromkeys(example, tokens), ("embedding",), path)
    tokenizer = tokenizer_of(trained.lexicon.words)
    tokenizer.save(str(path.with_name(TOKENIZER_FILE)), pretty=False)
    specs = (
        ("input_ids", "token", "that of tokenizer.json"),
        ("attention_mask", "1 for tokens of the text, 0 for padding", "none"),
    )
    return {
        "name": _TEXT,
        "file": f"{_TEXT}/{GRAPH_FILE}",
        "parameters": sum(parameter.numel() for parameter in words.parameters()),
        "inputs": [
            {
                "name": name,
                "dtype": "int64",
                "shape": ["batch", "tokens"],
                "unit": unit,
                "normalisation": normalisation,
            }
            for name, unit, normalisation in specs
        ],
        "outputs": [embedding_output(WORD_CHANNELS * len(trained.networks))],
        "tokenizer": f"{_TEXT}/{TOKENIZER_FILE}",
        "max_tokens": MOST_WORDS,
        "pad_id": PAD_ID,
    }


def _golden(trained: Trained, head: PathosHead) -> tuple[GoldenCase, ...]:
    """From the encoders' own graphs and the networks in torch, none of which is in the bundle."""
    one = np.zeros(1, np.int64)
    cases = []
    for asked in golden_inputs():
        said = Sequences.of(trained.lexicon.sequences([asked.text]), WIDTH).batch(one)
        outputs: dict[str, dict[str, Floats]] = {}
        with torch.no_grad():
            voices = []
            for name, encoder, network in zip(
                _audio_names(trained), trained.encoders, trained.networks, strict=True
            ):
                frames = frames_of(encoder, [asked.waveform], None)
                voices.append(network.eval().frames(*frames.batch(one)))
                outputs[name] = {"embedding": voices[-1][0].numpy()}
            words = torch.cat([network.words(*said) for network in trained.networks], dim=1)
            logits = head(torch.cat(voices, dim=1), words, torch.ones(1))
        outputs |= {_TEXT: {"embedding": words[0].numpy()}, "fusion": {"logits": logits[0].numpy()}}
        cases.append(GoldenCase(asked, outputs, has_text=True))
    return tuple(cases)
