"""Hugging Face folders with random weights of real architectures.

For tests, and for measuring latency before weights are at hand: time and memory do not depend on
what the weights are. The numbers such a model gives mean nothing, and its README.md says so.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import ExportError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

SIZES = ("tiny", "base")
HEADS = ("none", "classification", "regression")
LABELS = ("angry", "happy", "neutral", "sad")
LICENCE = "none, RANDOM WEIGHTS"
DIMENSIONS = ("arousal", "dominance", "valence")


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture.

    Attributes:
        modality: audio or text.
        stem: what the names of its classes in `transformers` begin with.
        model, classifier: what the names of those without and with a head end with; none for an
            architecture that transformers has no head for.
        tiny: fields of the config for tests.
        base: fields for the published size; what is not named is the config's own default.
        extractor: class and settings of the published preprocessor_config.json (audio).
        tokenizer: a name of `random_tokenizers.KINDS` (text).
        extra_positions: position embeddings that no token can use (RoBERTa counts from 2).
    """

    modality: str
    stem: str
    model: str = "Model"
    classifier: str | None = "ForSequenceClassification"
    _: KW_ONLY
    tiny: Mapping[str, Any]
    base: Mapping[str, Any] = field(default_factory=dict)
    extractor: tuple[str, Mapping[str, Any]] | None = None
    tokenizer: str | None = None
    extra_positions: int = 0


def _transformer(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
    }


def _whisper(width: int, layers: int, heads: int) -> dict[str, Any]:
    sizes = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}
    sides = {f"{side}_{key}": sizes[key] for side in ("encoder", "decoder") for key in sizes}
    return {"d_model": width, **sides}


def _moonshine(width: int, layers: int, heads: int) -> dict[str, Any]:
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads}
    sides = {f"{side}_{key}": sizes[key] for side in ("encoder", "decoder") for key in sizes}
    return {"hidden_size": width, "intermediate_size": 4 * width, "pad_head_dim_to_multiple_of": 8,
            "partial_rotary_factor": 0.9, **sides}  # fmt: skip


# Kernels, strides and the positional convolution stay as published: time is what they shape.
_TINY_AUDIO = {**_transformer(32, 2, 2), "conv_dim": (16,) * 7, "classifier_proj_size": 16}
_POSITIONS = {"max_position_embeddings": 128}
_TINY_TEXT = _transformer(32, 2, 2) | _POSITIONS
_ROBERTA = {"type_vocab_size": 1, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
_LAYER_NORM = {"feat_extract_norm": "layer", "conv_bias": True}
# `return_attention_mask` follows feat_extract_norm: see `_write_extractor`.
_NORMALISED = ("Wav2Vec2FeatureExtractor", {"do_normalize": True})
_RAW = ("Wav2Vec2FeatureExtractor", {"do_normalize": False})

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "wav2vec2": Family("audio", "Wav2Vec2", tiny=_TINY_AUDIO, extractor=_NORMALISED),
        "hubert": Family("audio", "Hubert", tiny=_TINY_AUDIO, extractor=_NORMALISED),
        "wavlm": Family("audio", "WavLM", tiny=_TINY_AUDIO, extractor=_RAW),
        "unispeech-sat": Family("audio", "UniSpeechSat", tiny=_TINY_AUDIO, extractor=_RAW),
        "data2vec-audio": Family(
            "audio",
            "Data2VecAudio",
            tiny={**_TINY_AUDIO, **_LAYER_NORM},
            base=_LAYER_NORM,
            extractor=_NORMALISED,
        ),
        # Published in size large only: 24 layers, 1024 wide.
        "wav2vec2-conformer": Family(
            "audio",
            "Wav2Vec2Conformer",
            tiny={**_TINY_AUDIO, **_LAYER_NORM},
            base=_LAYER_NORM,
            extractor=_NORMALISED,
        ),
        "whisper": Family(
            "audio",
            "Whisper",
            model="ForConditionalGeneration",
            classifier="ForAudioClassification",
            tiny={**_whisper(32, 2, 2), "classifier_proj_size": 16},
            base=_whisper(512, 6, 8),
            extractor=("WhisperFeatureExtractor", {}),
        ),
        "moonshine": Family(
            "audio",
            "Moonshine",
            model="ForConditionalGeneration",
            classifier=None,
            tiny=_moonshine(32, 2, 2),
            base=_moonshine(288, 6, 8),
            extractor=_RAW,
        ),
        "audio-spectrogram-transformer": Family(
            "audio",
            "AST",
            classifier="ForAudioClassification",
            tiny=_transformer(32, 2, 2),
            extractor=("ASTFeatureExtractor", {}),
        ),
        "distilbert": Family(
            "text",
            "DistilBert",
            tiny={"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64} | _POSITIONS,
            tokenizer="distilbert",
        ),
        "bert": Family("text", "Bert", tiny=_TINY_TEXT, tokenizer="bert"),
        "roberta": Family(
            "text",
            "Roberta",
            tiny=_TINY_TEXT | _ROBERTA | {"max_position_embeddings": 130},
            base=_ROBERTA | {"max_position_embeddings": 514, "vocab_size": 50265},
            tokenizer="roberta",
            extra_positions=2,
        ),
        "xlm-roberta": Family(
            "text",
            "XLMRoberta",
            tiny=_TINY_TEXT | _ROBERTA | {"max_position_embeddings": 130},
            base=_ROBERTA | {"max_position_embeddings": 514, "vocab_size": 250002},
            tokenizer="xlm-roberta",
            extra_positions=2,
        ),
        "minilm": Family(
            "text",
            "Bert",
            tiny=_TINY_TEXT,
            base={"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
            tokenizer="bert",
        ),
    }
)
"""By the name that the verb `random` takes; minilm is BERT, 384 wide."""


def random_model(
    family: str,
    folder: Path,
    *,
    size: str = "tiny",
    head: str = "none",
    labels: tuple[str, ...] | None = None,
    seed: int = 0,
    extractor: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write config.json, model.safetensors, README.md and the extractor's or tokenizer's files.

    Args:
        family: a name of `FAMILIES`.
        folder: to write into; made if it is not there.
        size: tiny (two layers, for tests) or base (the published one).
        head: none, classification, or regression; for wav2vec2 the latter is the head of
            audeering's dimensional model (Wagner et al. 2023), which transformers has no class for.
        labels: of the head, in the order of its outputs.
        extractor: settings of preprocessor_config.json that differ from the published ones.
        **config: fields of config.json that differ, such as feat_extract_norm="layer",
            do_stable_layer_norm=True or use_weighted_layer_sum=True.

    Returns:
        `folder`.

    Raises:
        ExportError: there is no such family, size or head.
    """
    import torch

    known = _find(family, size, head)
    folder.mkdir(parents=True, exist_ok=True)
    if labels is None:
        labels = DIMENSIONS if head == "regression" else LABELS
    settings = {**(known.tiny if size == "tiny" else known.base), **config}
    if known.tokenizer:
        settings = {**_write_tokenizer(known, folder, settings, size), **settings}
    else:
        _write_extractor(known, folder, settings, extractor or {})
    if head != "none":
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
        if head == "regression":
            settings["problem_type"] = "regression"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write_model(known, folder, settings, head)
    (folder / "README.md").write_text(_readme(family, size, head, seed), encoding="utf-8")
    return folder


def _find(family: str, size: str, head: str) -> Family:
    for name, value, choices in (
        ("family", family, tuple(FAMILIES)),
        ("size", size, SIZES),
        ("head", head, HEADS),
    ):
        if value not in choices:
            raise ExportError(f"there is no {name} {value!r}; use one of {', '.join(choices)}")
    if head != "none" and FAMILIES[family].classifier is None:
        raise ExportError(f"{family} has no head in transformers; give --head none")
    return FAMILIES[family]


def _write_tokenizer(
    family: Family, folder: Path, settings: Mapping[str, Any], size: str
) -> dict[str, Any]:
    """Returns the fields of the config that depend on it."""
    from .random_tokenizers import write_tokenizer

    positions = settings.get("max_position_embeddings", 512) - family.extra_positions
    tokens = write_tokenizer(str(family.tokenizer), folder, positions)
    return {"vocab_size": tokens} if size == "tiny" else {}


def _write_extractor(
    family: Family, folder: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    import transformers

    name, published = family.extractor or ("", {})
    values: dict[str, Any] = dict(published)
    if name == "Wav2Vec2FeatureExtractor":
        # Of the published models those with group norm were trained without a mask.
        values["return_attention_mask"] = settings.get("feat_extract_norm", "group") == "layer"
    elif name == "WhisperFeatureExtractor":
        values["feature_size"] = settings.get("num_mel_bins", 80)
        # Two frames of 10 ms a position.
        values["chunk_length"] = settings.get("max_source_positions", 1500) // 50
    else:
        values["num_mel_bins"] = settings.get("num_mel_bins", 128)
        values["max_length"] = settings.get("max_length", 1024)
    with warnings.catch_warnings():
        # The published 128 bands of 512 points leave the lowest filters empty: so it was trained.
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)
        getattr(transformers, name)(**{**values, **overrides}).save_pretrained(folder)


def _write_model(family: Family, folder: Path, settings: Mapping[str, Any], head: str) -> None:
    import transformers

    config = getattr(transformers, f"{family.stem}Config")(**settings)
    if head == "regression" and family.stem == "Wav2Vec2":
        _write_dimensional(config, folder)
        return
    name = family.stem + ((None if head == "none" else family.classifier) or family.model)
    model: PreTrainedModel = getattr(transformers, name)(config)
    randomise(model)
    if head == "regression":
        last = model.classifier
        _centre(getattr(last, "out_proj", getattr(last, "dense", last)))
    model.save_pretrained(folder)
    _name_weight_norm_as_published(folder / "model.safetensors")


def _write_dimensional(config: PretrainedConfig, folder: Path) -> None:
    """The layout of audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim."""
    from safetensors.torch import save_file
    from torch import nn
    from transformers import Wav2Vec2Model

    model = nn.Module()
    model.wav2vec2 = Wav2Vec2Model(config)
    model.classifier = nn.Module()
    model.classifier.dense = nn.Linear(config.hidden_size, config.hidden_size)
    model.classifier.out_proj = nn.Linear(config.hidden_size, config.num_labels)
    randomise(model)
    _centre(model.classifier.out_proj)
    config.architectures = ["Wav2Vec2ForSpeechClassification"]
    config.pooling_mode = "mean"
    config.save_pretrained(folder)
    path = folder / "model.safetensors"
    save_file(model.state_dict(), path, metadata={"format": "pt"})
    _name_weight_norm_as_published(path)


def randomise(model: torch.nn.Module) -> None:
    """Draw weights so that each layer keeps the scale of what it is given.

    The initialisation of transformers (0.02, norms of 1 and 0) makes outputs that hardly depend
    on the input, and hides a norm that is left out or applied twice.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for name, module in model.named_modules():
            own = dict(module.named_parameters(recurse=False))
            if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm1d):
                for key, each in own.items():
                    each.normal_(1 if key == "weight" else 0, 0.2)
                statistics = dict(module.named_buffers(recurse=False))
                if "running_mean" in statistics:
                    statistics["running_mean"].normal_(0, 0.3)
                    statistics["running_var"].uniform_(0.5, 1.5)
            elif isinstance(module, nn.Embedding):
                # Whisper's positions are sine waves, and fixed.
                if module.weight.requires_grad:
                    module.weight.normal_(0, 0.3 if "position" in name else 1)
            elif "original0" in own:  # Weight norm: a length and a direction.
                length, direction = own["original0"], own["original1"]
                direction.normal_(0, math.sqrt(1 / direction[0].numel()))
                axes = [axis for axis, size in enumerate(length.shape) if size == 1]
                length.copy_(direction.pow(2).sum(axes, keepdim=True).sqrt())
                length.mul_(torch.empty_like(length).uniform_(0.7, 1.3))
            else:
                _randomise_others(own, isinstance(module, nn.Conv1d | nn.Conv2d))


def _randomise_others(own: Mapping[str, torch.Tensor], convolution: bool) -> None:
    """Linear layers, convolutions, and parameters that belong to no layer of torch."""
    for key, each in own.items():
        if key == "weight" and each.dim() > 1:
            each.normal_(0, math.sqrt((2 if convolution else 1) / each[0].numel()))
        elif key == "gru_rel_pos_const":
            each.normal_(1, 0.1)
        else:
            each.normal_(0, 0.1 if key == "bias" else 0.3)


def _centre(layer: torch.nn.Linear) -> None:
    """Put the answers of a regression about the middle of 0..1, where nothing clips them."""
    import torch

    with torch.no_grad():
        layer.weight.mul_(0.25)
        layer.bias.add_(0.5)


def _name_weight_norm_as_published(path: Path) -> None:
    """All published checkpoints have the names that torch gave weight norm before 2.0."""
    from safetensors.torch import load_file, save_file

    names = {"parametrizations.weight.original0": "weight_g"}
    names["parametrizations.weight.original1"] = "weight_v"
    tensors = load_file(path)
    renamed = {}
    for key, tensor in tensors.items():
        for new, old in names.items():
            key = key.replace(new, old)
        renamed[key] = tensor
    if renamed.keys() != tensors.keys():
        save_file(renamed, path, metadata={"format": "pt"})


def _readme(family: str, size: str, head: str, seed: int) -> str:
    # The front matter goes on into encoder.json, and into all that shows it.
    return (
        f"---\nlicense: other\nlicense_name: {LICENCE}\n---\n\n"
        "# RANDOM WEIGHTS\n\n"
        f"Architecture {family}, size {size}, head {head}, seed {seed}. Nothing was trained: what "
        "this model answers means nothing. It is for measuring latency and for tests. There is "
        "no licence, for there is nothing to license.\n"
    )
