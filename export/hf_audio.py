"""Load a Hugging Face speech model: the module to export, and the original to hold it against.

The module takes raw waveforms and does all preprocessing itself. The original is transformers'
own model behind its own feature extractor, which hears one utterance alone, without padding:
whatever the module says of that utterance, in whatever company, must be what the original says.
"""

from __future__ import annotations

import copy
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
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
)
from transformers.utils import logging

from realtime_ser.models.bundle_description import AFFECT_LABELS
from realtime_ser.types import SAMPLE_RATE_HZ

from . import hf_audio_wav2vec2
from .encoder_folder import GRAPH_FILE
from .errors import ExportError
from .hf_audio_heads import DenseHead, has_dense_head
from .hf_source import labels_of, load_weights, read_config

Floats = NDArray[np.float32]

_MODULES: tuple[ModuleType, ...] = (hf_audio_wav2vec2,)
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
    config, extractor = AutoConfig.from_pretrained(folder), _extractor(folder)
    weights = load_weights(folder)
    top = _find_head(folder.name, settings, weights, head, labels)
    dense = DenseHead(weights) if top.kind == "dense" else None

    def load() -> Any:
        return _load(folder.name, config, weights, with_head=top.kind == "projection")

    code = FAMILIES[family]
    module = code.build(load(), dense, extractor).eval().requires_grad_(False)
    return AudioModel(
        module=module,
        reference=_reference(code, load(), dense, extractor, top.role),
        part=_part(module, top, affect_range),
        config=config,
        family=family,
        architecture=next(iter(settings.get("architectures") or ()), ""),
        fp32_scopes=code.FLOAT32_SCOPES,
    )


def _extractor(folder: Path) -> Any:
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise ExportError(
            f"{folder.name} hears {extractor.sampling_rate} Hz, and realtime-ser gives "
            f"{SAMPLE_RATE_HZ} Hz; choose a model trained at that rate"
        )
    return extractor


def _load(name: str, config: Any, weights: Mapping[str, Tensor], *, with_head: bool) -> Any:
    """The model as transformers has it; a weight that is missing is an error, not a random one."""
    classes = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING if with_head else MODEL_MAPPING
    verbosity = logging.get_verbosity()
    # It lists what it has no use for (heads of pretraining) as a warning; what it lacks is below.
    logging.set_verbosity_error()
    try:
        model, report = classes[type(config)].from_pretrained(
            None,
            config=copy.deepcopy(config),
            state_dict=dict(weights),
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    except RuntimeError as error:  # Tensors of other shapes than the configuration says.
        raise ExportError(f"{name}: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    # Pretraining masks with it; nothing else does.
    missing = sorted(key for key in report["missing_keys"] if "masked_spec_embed" not in key)
    if missing:
        raise ExportError(
            f"{name}: its weights lack {', '.join(missing[:4])}"
            f"{' and more' if len(missing) > 4 else ''}, which {type(model).__name__} has; "
            "is its head a class of its own? With --head none the encoder alone is exported"
        )
    return model.eval().requires_grad_(False)


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
    architecture = next(iter(settings.get("architectures") or ()), "")
    kind = "none"
    if has_dense_head(weights) and "audio-spectrogram-transformer" != settings["model_type"]:
        kind = "dense"
    elif architecture.endswith(("ForSequenceClassification", "ForAudioClassification")):
        kind = "projection"
    if wanted == "none" or (wanted == "auto" and kind == "none"):
        return _Head("none")
    if kind == "none":
        raise ExportError(f"{name} ({architecture}) has no head; use --head none")
    labels = labels or labels_of(settings)
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
    """The part entry; see BUNDLE.md of the export chain for its fields."""
    outputs: list[dict[str, Any]] = []
    if head.role:
        width = len(head.labels)
        output = {"name": head.role, "role": head.role, "dtype": "float32"}
        output |= {"shape": ["batch", width], "labels": list(head.labels)}
        if head.role == "affect":
            output |= {"unit": "none", "range": list(affect_range)}
        else:
            output |= {"unit": "nat"}
        outputs.append(output)
    outputs.append(
        {
            "name": "embedding",
            "role": "embedding",
            "dtype": "float32",
            "shape": ["batch", module.width],
            "unit": "none",
        }
    )
    return {
        "file": GRAPH_FILE,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "inputs": AUDIO_INPUTS,
        "outputs": outputs,
        "batching": "masked",
        "minimum_samples": module.minimum_samples,
        "maximum_samples": module.maximum_samples,
    }


AUDIO_INPUTS: list[dict[str, Any]] = [
    {
        "name": "waveform",
        "dtype": "float32",
        "shape": ["batch", "samples"],
        "unit": "full scale, -1 to 1",
        "normalisation": "none, done in the graph",
    },
    {
        "name": "lengths",
        "dtype": "int64",
        "shape": ["batch"],
        "unit": "samples",
        "normalisation": "none",
    },
]
