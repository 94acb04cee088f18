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

from realtime_ser.models.hub import first_line
from realtime_ser.types import SAMPLE_RATE_HZ

from ..encoder_folder import GRAPH_FILE
from ..errors import ExportError
from ..graphs.spectrograms import empty_bands_expected
from . import audio_ast, audio_moonshine, audio_wav2vec2, audio_whisper
from .audio_heads import DenseHead, has_dense_head
from .head import Head, architecture_of, find_head
from .source import load_model, load_weights, read_config

Floats = NDArray[np.float32]

_MODULES: tuple[ModuleType, ...] = (audio_wav2vec2, audio_whisper, audio_moonshine, audio_ast)
FAMILIES = {family: module for module in _MODULES for family in module.FAMILIES}


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


def load_audio(
    folder: Path,
    head: str = "auto",
    *,
    labels: tuple[str, ...] | None = None,
    affect_range: tuple[float, float] | None = None,
    multi_label_shares: bool = False,
) -> AudioModel:
    """Read a Hugging Face folder: configuration, weights, feature extractor.

    Args:
        folder: with config.json, weights and preprocessor_config.json.
        head: none gives the pooled embedding alone; classification and regression demand that
            the model has such a head; auto takes what it has.
        labels: names of the head's outputs, in their order, instead of the configuration's.
        affect_range: what lowest and highest are in the numbers of a dimensional head.
        multi_label_shares: accept a head that answers each label on its own; its logits become
            the logarithms of those probabilities, so that their softmax is each label's share.

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
    code, (config, extractor) = FAMILIES[family], _read(folder)
    weights = load_weights(folder)
    kind = _head_kind(settings, weights)
    found = find_head(
        folder.name,
        settings,
        head,
        present=kind != "none",
        labels=labels,
        affect_range=affect_range,
        shares=multi_label_shares,
    )
    dense = None
    if found.role and kind == "dense":
        dense = DenseHead(weights, len(found.labels), settings.get("pooling_mode"))
    if found.role and kind == "projection":
        classes = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
        original = load_model(classes[type(config)], config, weights, folder.name)
    else:
        original = load_model(*code.bare_encoder(config, weights), folder.name)
    module = code.build(original, dense, extractor)
    if found.shares:
        module.head = nn.Sequential(module.head, nn.LogSigmoid())
    return AudioModel(
        module=module.eval().requires_grad_(False),
        reference=_reference(code, original, dense, extractor, found),
        part=audio_part(module, [*found.outputs(), embedding_output(module.width)]),
        config=config,
        family=family,
        architecture=architecture_of(settings),
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


def _head_kind(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """none, projection (a class of transformers), or dense (`DenseHead`)."""
    if has_dense_head(weights) and settings["model_type"] not in audio_ast.FAMILIES:
        return "dense"
    classes = ("ForSequenceClassification", "ForAudioClassification")
    return "projection" if architecture_of(settings).endswith(classes) else "none"


def _reference(
    code: ModuleType, original: Any, dense: nn.Module | None, extractor: Any, head: Head
) -> Callable[[Floats], dict[str, Floats]]:
    encoder = code.encoder_of(original)
    whole = original if head.role and dense is None else encoder

    def reference(waveform: Floats) -> dict[str, Floats]:
        # Alone there is nothing to mask, and WavLM's attention warns of its own mask.
        inputs = extractor(
            waveform,
            sampling_rate=SAMPLE_RATE_HZ,
            return_tensors="pt",
            return_attention_mask=False,
        )
        if code is audio_whisper:
            inputs = audio_whisper.features_for(original, inputs, len(waveform))
        states: list[Any] = []
        # The embedding is not among the answers of a model with a head; see what the head gets.
        hook = encoder.register_forward_hook(lambda _module, _inputs, output: states.append(output))
        with torch.no_grad():
            answer = whole(**inputs)
            hook.remove()
            embedding = code.pooled(states[0], len(waveform))
            outputs = {"embedding": embedding}
            if head.role:
                logits = answer.logits if dense is None else dense(embedding)
                outputs[head.role] = torch.sigmoid(logits).log() if head.shares else logits
        return {name: value[0].numpy() for name, value in outputs.items()}

    return reference


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
