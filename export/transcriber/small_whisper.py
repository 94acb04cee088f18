"""A small Whisper: its tokenizer, its network, and the folder that faster-whisper loads.

Everything has Whisper's layout, so that nothing downstream need know that it is small: text tokens,
then <|endoftext|>, <|startoftranscript|>, languages, tasks, and a timestamp every 20 ms.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from realtime_ser.models.transcriber_profile import PROFILE_FILE

from ..training.corpora import SAMPLE_RATE_HZ
from .log_mel import BANDS, HOP_SAMPLES

AUDIO_POSITIONS = 1500
"""As in Whisper, although the window is shorter: `faster_whisper.WhisperModel.transcribe` pads to
1500 positions whatever its chunk length."""

TEXT_POSITIONS = 448
TIMESTAMPS = 1501
TIMESTAMP_S = 0.02

# In the order of Whisper's tokens: openai/whisper, whisper/tokenizer.py.
_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no "
    "th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw "
    "gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl "
    "mg as tt haw ln ha ba jw su"
)
LANGUAGES = _LANGUAGES.split()

# faster-whisper suppresses the first token of " -", " '" and " ♪". Were that the bare space, no
# word that begins with it could be written.
_MERGED_WITH_SPACE = ("-", "'", "â")
_SPACE = "Ġ"


@dataclass(frozen=True, slots=True)
class WhisperSizes:
    """Of the network; the defaults have 1.8 million parameters."""

    width: int = 128
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2
    text_tokens: int = 700
    dropout: float = 0.0


def train_tokenizer(texts: Iterable[str], text_tokens: int) -> Tokenizer:
    """Byte-level BPE learnt from `texts`, at most `text_tokens` text tokens, and Whisper's own."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    room = text_tokens - len(_MERGED_WITH_SPACE) - 1
    trainer = trainers.BpeTrainer(
        vocab_size=room,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator((f" {text}" for text in texts), trainer)
    learnt = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learnt["vocab"]
    merges = [tuple(merge) for merge in learnt["merges"]]
    for symbol in _MERGED_WITH_SPACE:
        if _SPACE + symbol not in vocabulary:
            vocabulary[_SPACE + symbol] = len(vocabulary)
            merges.append((_SPACE, symbol))
    # CTranslate2 takes a model for multilingual by the empty token that Whisper's vocabulary has.
    vocabulary[""] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    names += [f"{index * TIMESTAMP_S:.2f}" for index in range(TIMESTAMPS)]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    return tokenizer


def token_id(tokenizer: Tokenizer, name: str) -> int:
    """The id of <|name|>."""
    found = tokenizer.token_to_id(f"<|{name}|>")
    if found is None:
        raise ValueError(f"Whisper has no token <|{name}|>; languages are codes such as en or de")
    return int(found)


def build_network(sizes: WhisperSizes, tokenizer: Tokenizer) -> WhisperForConditionalGeneration:
    """A network with random weights."""
    end, start = token_id(tokenizer, "endoftext"), token_id(tokenizer, "startoftranscript")
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        num_mel_bins=BANDS,
        d_model=sizes.width,
        encoder_layers=sizes.encoder_layers,
        decoder_layers=sizes.decoder_layers,
        encoder_attention_heads=sizes.heads,
        decoder_attention_heads=sizes.heads,
        encoder_ffn_dim=4 * sizes.width,
        decoder_ffn_dim=4 * sizes.width,
        dropout=sizes.dropout,
        init_std=sizes.width**-0.5,
        max_source_positions=AUDIO_POSITIONS,
        max_target_positions=TEXT_POSITIONS,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    network = WhisperForConditionalGeneration(config)
    # transformers' 0.02 suits a width of 1000. In a small network it drowns the sound in the
    # positions that are added to it, and the decoder learns its sentences without listening.
    for conv in (network.model.encoder.conv1, network.model.encoder.conv2):
        torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return network


def encode(network: WhisperForConditionalGeneration, features: Tensor) -> Tensor:
    """The encoder on a window of any length: [batch, frames, BANDS] -> [batch, frames / 2, width].

    transformers insists on windows of 1500 positions; CTranslate2 and faster-whisper do not.
    """
    encoder = network.model.encoder
    hidden = torch.nn.functional.gelu(encoder.conv1(features.transpose(1, 2)))
    hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    dropout = network.config.dropout
    hidden = torch.nn.functional.dropout(hidden, dropout, encoder.training)
    for layer in encoder.layers:
        hidden = layer(hidden, None, layer_head_mask=None)[0]
    out: Tensor = encoder.layer_norm(hidden)
    return out


def decode(network: WhisperForConditionalGeneration, encoded: Tensor, tokens: Tensor) -> Tensor:
    """Logits [batch, length, vocabulary] of what follows each of int64 [batch, length] tokens."""
    hidden = network.model.decoder(
        input_ids=tokens, encoder_hidden_states=encoded, use_cache=False
    ).last_hidden_state
    out: Tensor = network.proj_out(hidden)
    return out


def parameter_count(network: WhisperForConditionalGeneration) -> int:
    """Numbers that were learnt, so without the sine waves of the encoder's positions."""
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


def write_folder(
    network: WhisperForConditionalGeneration,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    window_s: int,
    profile: dict[str, Any],
) -> Path:
    """Convert with CTranslate2, int8, into `folder`; other files there, such as a card, stay.

    `profile` becomes realtime_ser.json: see `realtime_ser.models.transcriber_profile`.
    """
    from ctranslate2.converters import TransformersConverter

    checkpoint = folder.with_name(folder.name + ".hf")
    draft = folder.with_name(folder.name + ".new")
    network.generation_config = GenerationConfig.from_dict(_generation(network, tokenizer))
    network.save_pretrained(checkpoint)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(checkpoint)
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    _write_json(
        checkpoint / "preprocessor_config.json",
        {
            "chunk_length": window_s,
            "feature_size": BANDS,
            "hop_length": HOP_SAMPLES,
            "n_fft": 400,
            "sampling_rate": SAMPLE_RATE_HZ,
        },
    )
    copied = ["tokenizer.json", "preprocessor_config.json"]
    converter = TransformersConverter(str(checkpoint), copy_files=copied)
    converter.convert(str(draft), quantization="int8", force=True)
    folder.mkdir(parents=True, exist_ok=True)
    for file in draft.iterdir():
        file.replace(folder / file.name)
    write_profile(folder, profile)
    draft.rmdir()
    shutil.rmtree(checkpoint)
    return folder


def write_profile(folder: Path, profile: dict[str, Any]) -> None:
    """Write realtime_ser.json."""
    _write_json(folder / PROFILE_FILE, profile)


def _generation(network: WhisperForConditionalGeneration, tokenizer: Tokenizer) -> dict[str, Any]:
    control = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev")
    return {
        "suppress_tokens": [token_id(tokenizer, name) for name in (*control, "nospeech")],
        # OpenAI's models may not end at once. These were taught to, by speech they do not know.
        "begin_suppress_tokens": [tokenizer.token_to_id(_SPACE)],
        "lang_to_id": {f"<|{code}|>": token_id(tokenizer, code) for code in LANGUAGES},
        "alignment_heads": [
            [layer, head]
            for layer in range(network.config.decoder_layers)
            for head in range(network.config.decoder_attention_heads)
        ],
        "decoder_start_token_id": network.config.decoder_start_token_id,
        "eos_token_id": network.config.eos_token_id,
        "pad_token_id": network.config.pad_token_id,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
