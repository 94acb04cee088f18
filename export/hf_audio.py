"""Load a Hugging Face speech model: the module to export, and the original to hold it against.

The module takes raw waveforms and does all preprocessing itself. The original is transformers'
own model behind its own feature extractor, which hears one utterance alone, without padding:
whatever the module says of that utterance, in whatever company, must be what the original says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
)

from realtime_ser.models.bundle_description import AFFECT_LABELS
from realtime_ser.models.hub import first_line
from realtime_ser.types import SAMPLE_RATE_HZ

from . import hf_audio_ast, hf_audio_wav2vec2, hf_audio_whisper
from .encoder_folder import GRAPH_FILE
from .errors import ExportError
from .hf_audio_heads import DenseHead, has_dense_head
from .hf_source import labels_of, load_model, load_weights, read_config
from .spectrograms import empty_bands_expected

Floats = NDArray[np.float32]

_MODULES: tuple[ModuleType, ...] = (hf_audio_wav2vec2, hf_audio_whisper, hf_audio_ast)
FAMILIES = {family: module for module in _MODULES for family in module.FAMILIES}
HEADS = ("auto", "none", "classification", "regression")


@dataclass(frozen=True, slots=True)
class AudioModel:
    """A speech model, ready to be exported.

    Attributes:
        module: forward(waveform float32 [batch, samples] in -1..1, lengths int64 [batch]) ->
            tuple of the part's outputs, in their order.
        reference: float32 [samples] at 16 kHz, one utterance -> the same outputs by name,
            [...] without a batch axis, from the original model.
        part: the part entry of `bundle.json`, without a name; logits carry the model's labels.
        config: the transformers configuration.
        family: its model_type.
        architecture: the class that its config names.
        fp32_scopes: prefixes of node names that half precision must leave alone.
    """

    module: nn.Module
    reference: Callable[[Floats], dict[str, Floats]]
    part: Mapping[str, Any]
    config: Any
    family: str
    architecture: str
    fp32_scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    """What is on top of the encoder.

    Attributes:
        kind: none, projection (a class of transformers), or dense (`DenseHead`).
        role: of its output: logits or affect.
        labels: in the order of its output.
    """

    kind: str
    role: str = ""
    labels: tuple[str, ...] = ()


def load_audio(
    folder: Path,
    head: str = "auto",
    *,
    labels: tuple[str, ...] | None = None,
    affect_range: tuple[float, float] = (0.0, 1.0),
) -> AudioModel:
    """Read a Hugging Face folder: configuration, weights, feature extractor.

    Args:
        folder: with config.json, weights and preprocessor_config.json.
        head: none gives the pooled embedding alone; classification and regression demand that
            the model has such a head; auto takes what it has.
        labels: names of the head's outputs, in their order, instead of the configuration's.
        affect_range: what lowest and highest stand for in the output of a dimensional head.

    Raises:
        ExportError: an architecture that is not known, weights or labels that do not fit.
    """
    settings = read_config(folder)
    family = settings.get("model_type", "")
    if family not in FAMILIES:
        raise ExportError(
            f"{folder.name}: model_type {family!r} is no speech encoder that can be exported; "
            f"known: {', '.join(FAMILIES)}"
        )
    code = FAMILIES[family]
    config, extractor = _read(folder)
    weights = load_weights(folder)
    top = _find_head(folder.name, settings, weights, head, labels)
    dense = None
    if top.kind == "dense":
        dense = DenseHead(weights, len(top.labels), settings.get("pooling_mode"))
    if top.kind == "projection":
        original = load_model(
            MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)], config, weights, folder.name
        )
    else:
        original = load_model(*code.bare_encoder(config, weights), folder.name)
    module = code.build(original, dense, extractor).eval().requires_grad_(False)
    return AudioModel(
        module=module,
        reference=_reference(code, original, dense, extractor, top.role),
        part=_part(module, top, affect_range),
        config=config,
        family=family,
        architecture=_architecture(settings),
        fp32_scopes=code.FLOAT32_SCOPES,
    )


def _read(folder: Path) -> tuple[Any, Any]:
    """Configuration and feature extractor, as classes of transformers; never code of the folder."""
    try:
        with empty_bands_expected():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise ExportError(
            f"{folder.name}: transformers cannot read config.json and preprocessor_config.json "
            f"({first_line(error)}); copy the model again"
        ) from error
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise ExportError(
            f"{folder.name} hears {extractor.sampling_rate} Hz, and realtime-ser gives "
            f"{SAMPLE_RATE_HZ} Hz; choose a model trained at that rate"
        )
    return config, extractor


def _find_head(
    name: str,
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    wanted: str,
    labels: tuple[str, ...] | None,
) -> _Head:
    """What head the model has, held against what is wanted."""
    if wanted not in HEADS:
        raise ExportError(f"there is no head {wanted!r}; use one of {', '.join(HEADS)}")
    architecture = _architecture(settings)
    kind = "none"
    if has_dense_head(weights) and settings["model_type"] != "audio-spectrogram-transformer":
        kind = "dense"
    elif architecture.endswith(("ForSequenceClassification", "ForAudioClassification")):
        kind = "projection"
    if wanted == "none" or (wanted == "auto" and kind == "none"):
        return _Head("none")
    if kind == "none":
        raise ExportError(f"{name} ({architecture}) has no head; use --head none")
    labels = labels_of(settings, labels, model=name)
    role = "affect" if set(labels) == set(AFFECT_LABELS) else "logits"
    found = "regression" if role == "affect" else "classification"
    if found == "classification" and settings.get("problem_type") == "regression":
        raise ExportError(
            f"{name} has a regression head for {', '.join(labels)}; only "
            f"{', '.join(AFFECT_LABELS)} are known. Name its outputs with --name-labels, or use "
            "--head none"
        )
    if wanted not in ("auto", found):
        raise ExportError(
            f"{name} has a head for {found} ({', '.join(labels)}), not {wanted}; use --head auto"
        )
    return _Head(kind, role, labels)


def _architecture(settings: Mapping[str, Any]) -> str:
    return next(iter(settings.get("architectures") or ()), "")


def _reference(
    code: ModuleType, original: Any, dense: nn.Module | None, extractor: Any, role: str
) -> Callable[[Floats], dict[str, Floats]]:
    encoder = code.encoder_of(original)
    heard: list[Any] = []
    # The embedding is not among the answers of a model with a head, so look what it is fed with.
    encoder.register_forward_hook(lambda _module, _inputs, output: heard.append(output))

    def reference(waveform: Floats) -> dict[str, Floats]:
        # Alone there is nothing to mask, and WavLM's attention warns of its own mask.
        inputs = extractor(
            waveform,
            sampling_rate=SAMPLE_RATE_HZ,
            return_tensors="pt",
            return_attention_mask=False,
        )
        with torch.no_grad():
            answer = (encoder if dense or not role else original)(**inputs)
            embedding = code.pooled(heard.pop(), len(waveform))
            outputs = {"embedding": embedding}
            if role:
                logits = answer.logits if dense is None else dense(embedding)
                outputs = {role: logits, **outputs}
        return {name: value[0].numpy() for name, value in outputs.items()}

    return reference


def _part(module: Any, head: _Head, affect_range: tuple[float, float]) -> dict[str, Any]:
    outputs = [embedding_output(module.width)]
    if head.role:
        shape, labels = ["batch", len(head.labels)], list(head.labels)
        answer: dict[str, Any] = {"name": head.role, "role": head.role, "dtype": "float32"}
        answer |= {"shape": shape, "labels": labels}
        affect = head.role == "affect"
        answer |= {"unit": "none", "range": list(affect_range)} if affect else {"unit": "nat"}
        outputs.insert(0, answer)
    return audio_part(module, outputs)


def embedding_output(width: int) -> dict[str, Any]:
    """The entry of an embedding among the outputs of a part."""
    shape = ["batch", width]
    return {"name": "embedding", "role": "embedding", "dtype": "float32", "shape": shape} | {
        "unit": "none"
    }


def audio_part(module: Any, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """A part entry of `bundle.json`, without its name; batching is measured later."""
    waveform = {"name": "waveform", "dtype": "float32", "shape": ["batch", "samples"]}
    lengths = {"name": "lengths", "dtype": "int64", "shape": ["batch"], "unit": "samples"}
    return {
        "file": GRAPH_FILE,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "inputs": [
            {
                **waveform,
                "unit": "full scale, -1 to 1",
                "normalisation": "none, done in the graph",
            },
            {**lengths, "normalisation": "none"},
        ],
        "outputs": outputs,
        "batching": "masked",
        "minimum_samples": module.minimum_samples,
        "maximum_samples": module.maximum_samples,
    }
