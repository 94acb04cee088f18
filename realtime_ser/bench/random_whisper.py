"""Whisper models of any size for measurements and tests: real files, made-up weights, no download.

`build_whisper` writes what `ct2-transformers-converter` writes: a CTranslate2 Whisper model with
random weights, Whisper's token ids and a byte-level BPE tokenizer. faster-whisper loads it like
any other. With `says=` it also decodes to a chosen sentence, whatever it hears: the position
vectors of the decoder are orthogonal and outweigh everything else in the residual stream, and the
output layer maps each of them to the token that is to come next. What a model costs depends on its
sizes and on the number of tokens, not on what its weights are.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

Floats = NDArray[np.float32]

# Whisper's languages in the order of their tokens: openai/whisper, whisper/tokenizer.py.
_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no "
    "th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw "
    "gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl "
    "mg as tt haw ln ha ba jw su"
)
LANGUAGES = _LANGUAGES.split()

# CTranslate2 takes a model for multilingual when its vocabulary has the empty token that Whisper's
# has at 50 256 (releases before 4.8: when it has 51 865 tokens), so the real layout is kept whole.
_TEXT_TOKENS_MULTILINGUAL = 50_257
_TEXT_TOKENS_ENGLISH = 50_256
_TIMESTAMPS = 1501
_POSITIONS_AUDIO = 1500
_POSITIONS_TEXT = 448
_LANGUAGE_LOGIT = 12.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the network; the defaults transcribe in some ten milliseconds."""

    layers: int = 1
    heads: int = 2
    width: int = 64
    mels: int = 80


SIZES = {
    "tiny": Architecture(layers=4, heads=6, width=384),
    "base": Architecture(layers=6, heads=8, width=512),
    "small": Architecture(layers=12, heads=12, width=768),
}
"""Those of openai/whisper-tiny and its bigger sisters."""

TOKENS_PER_SECOND = 3.3
"""Of speech: what Whisper's tokenizer makes of English at an everyday pace."""

_WORDS = (
    "well I think we should leave now before it gets dark because nobody knows how long this road "
    "will take us and there may be snow up on that hill again so bring your coat or hat along with "
    "some bread then call me when all is done"
)


def build_speaking_whisper(folder: Path, size: str, utterance_s: float) -> Path:
    """Write a Whisper of a real size that takes as many tokens as `utterance_s` of talk do."""
    words = _WORDS.split()
    count = max(1, round(TOKENS_PER_SECOND * utterance_s))
    says = " ".join(words[: min(count, len(words))])
    return build_whisper(folder, says=says, architecture=SIZES[size])


def build_whisper(
    folder: Path,
    *,
    says: str | None = None,
    language: str = "en",
    multilingual: bool = True,
    avg_logprob: float = -0.1,
    no_speech_prob: float = 0.01,
    architecture: Architecture | None = None,
    seed: int = 0,
) -> Path:
    """Write a Whisper model into `folder` and return it.

    Args:
        says: the sentence that it decodes to, up to 440 words of which each is one token; without
            it the output is noise, the same for the same seed and audio.
        language: the language that it detects; of no effect without `says`.
        multilingual: False for the layout of the `.en` models.
        avg_logprob: mean log probability per token of the sentence, in nats, approximately.
        no_speech_prob: what it answers as the probability of no speech, approximately.
        architecture: None for the smallest that can hold the sentence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = [] if says is None else [_byte_level(f" {word}") for word in says.split()]
    tokenizer = _tokenizer(words, multilingual)
    tokenizer.save(str(folder / "tokenizer.json"))
    if architecture is None:
        # One orthogonal direction for each step, and one lost to the zero mean.
        steps = _prompt_length(multilingual) + len(words) + 2
        architecture = Architecture(width=max(64, 64 * math.ceil(steps / 64)))

    network = _Network(np.random.default_rng(seed), architecture)
    spec = network.spec(tokenizer.get_vocab_size())
    if says is not None:
        script = _Script(tokenizer, words, language if multilingual else None, avg_logprob)
        script.write(spec, network, no_speech_prob)
    _configure(spec, tokenizer, architecture)
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    preprocessor = {"feature_size": architecture.mels, "sampling_rate": 16_000, "hop_length": 160}
    (folder / "preprocessor_config.json").write_text(
        json.dumps(preprocessor | {"chunk_length": 30, "n_fft": 400}), encoding="utf-8"
    )
    return folder


def _prompt_length(multilingual: bool) -> int:
    """Tokens before the text: start, (language, task), no timestamps."""
    return 4 if multilingual else 2


def _byte_level(text: str) -> str:
    """`text` in the alphabet of byte-level BPE, where a space is written Ġ."""
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text
    )
    return "".join(piece for piece, _ in pieces)


def _tokenizer(words: list[str], multilingual: bool) -> Tokenizer:
    """A byte-level BPE tokenizer with Whisper's ids, in which each of `words` is one token."""
    vocabulary = {symbol: index for index, symbol in enumerate(_byte_alphabet())}
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        # Every merge extends a Ġ, so merges of one word never eat into another.
        for end in range(2, len(word) + 1):
            vocabulary.setdefault(word[:end], len(vocabulary))
            merges.setdefault((word[: end - 1], word[end - 1]))
    text_tokens = _TEXT_TOKENS_MULTILINGUAL if multilingual else _TEXT_TOKENS_ENGLISH
    for index in range(len(vocabulary), text_tokens):
        vocabulary[f"Ġunused{index}"] = index
    if multilingual:
        del vocabulary[f"Ġunused{text_tokens - 1}"]
        vocabulary[""] = text_tokens - 1
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    names += [f"{index * 0.02:.2f}" for index in range(_TIMESTAMPS)]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    return tokenizer


def _byte_alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


class _Network:
    """Random weights for a Whisper of one architecture."""

    def __init__(self, random: np.random.Generator, architecture: Architecture) -> None:
        self._random = random
        self._sizes = architecture

    def spec(self, vocabulary_size: int) -> WhisperSpec:
        sizes, width = self._sizes, self._sizes.width
        spec = WhisperSpec(sizes.layers, sizes.heads, sizes.layers, sizes.heads)
        self._conv(spec.encoder.conv1, width, sizes.mels)
        self._conv(spec.encoder.conv2, width, width)
        spec.encoder.position_encodings.encodings = self.weights(_POSITIONS_AUDIO, width)
        self._norm(spec.encoder.layer_norm)
        for layer in spec.encoder.layer:
            self._attention(layer.self_attention, (3 * width, width))
            self._feed_forward(layer.ffn)
        spec.decoder.embeddings.weight = self.weights(vocabulary_size, width)
        spec.decoder.position_encodings.encodings = self.weights(_POSITIONS_TEXT, width)
        spec.decoder.projection.weight = self.weights(vocabulary_size, width)
        self._norm(spec.decoder.layer_norm)
        for layer in spec.decoder.layer:
            self._attention(layer.self_attention, (3 * width, width))
            self._attention(layer.attention, (width, 2 * width, width))
            self._feed_forward(layer.ffn)
        return spec

    def weights(self, *shape: int) -> Floats:
        return self._random.standard_normal(shape, np.float32) * np.float32(0.02)

    def directions(self, count: int) -> Floats:
        """[count, width] orthogonal rows of zero mean and unit variance, as a norm leaves them."""
        width = self._sizes.width
        if count >= width:
            raise ValueError(f"{count} steps need a width of more than {count}, not {width}")
        columns = self._random.normal(size=(width, count + 1))
        columns[:, 0] = 1.0  # all others become orthogonal to the mean
        orthonormal, _ = np.linalg.qr(columns)
        return (orthonormal[:, 1:].T * math.sqrt(width)).astype(np.float32)

    def _conv(self, conv: Any, channels_out: int, channels_in: int) -> None:
        conv.weight = self.weights(channels_out, channels_in, 3)
        conv.bias = np.zeros(channels_out, np.float32)

    def _norm(self, norm: Any) -> None:
        norm.gamma = np.ones(self._sizes.width, np.float32)
        norm.beta = np.zeros(self._sizes.width, np.float32)

    def _linear(self, linear: Any, outputs: int, inputs: int) -> None:
        linear.weight = self.weights(outputs, inputs)
        linear.bias = np.zeros(outputs, np.float32)

    def _attention(self, attention: Any, outputs: tuple[int, ...]) -> None:
        self._norm(attention.layer_norm)
        for linear, size in zip(attention.linear, outputs, strict=True):
            self._linear(linear, size, self._sizes.width)

    def _feed_forward(self, ffn: Any) -> None:
        self._norm(ffn.layer_norm)
        self._linear(ffn.linear_0, 4 * self._sizes.width, self._sizes.width)
        self._linear(ffn.linear_1, self._sizes.width, 4 * self._sizes.width)


class _Script:
    """Makes a network say one sentence."""

    def __init__(
        self, tokenizer: Tokenizer, words: list[str], language: str | None, avg_logprob: float
    ) -> None:
        self._tokenizer = tokenizer
        self._words = words
        self._language = language
        self._avg_logprob = avg_logprob

    def write(self, spec: WhisperSpec, network: _Network, no_speech_prob: float) -> None:
        first = _prompt_length(self._language is not None) - 1
        steps = [self._tokenizer.token_to_id(word) for word in self._words]
        steps.append(self._id("endoftext"))
        directions = network.directions(1 + len(steps))
        start, following = directions[0], directions[1:]

        # From the last step on, and on the idle steps of the prompt, the end is near.
        positions = np.tile(directions[-1], (_POSITIONS_TEXT, 1))
        positions[0] = start
        positions[first : first + len(steps)] = following
        spec.decoder.position_encodings.encodings = positions

        # A direction times itself is `width` after the final norm; all other products are zero.
        output = np.zeros_like(spec.decoder.projection.weight)
        others = len(output) - 1
        probability = math.exp(self._avg_logprob)
        logit = math.log(probability / (1 - probability) * others)
        for token, direction in zip(steps, following, strict=True):
            output[token] += logit * direction / len(direction)
        mass = others + (math.exp(_LANGUAGE_LOGIT) if self._language else 0.0)
        no_speech_logit = math.log(no_speech_prob / (1 - no_speech_prob) * mass)
        output[self._id("nospeech")] += no_speech_logit * start / len(start)
        if self._language:
            output[self._id(self._language)] += _LANGUAGE_LOGIT * start / len(start)
        spec.decoder.projection.weight = output

    def _id(self, name: str) -> int:
        token = self._tokenizer.token_to_id(f"<|{name}|>")
        assert token is not None  # the tokenizer was made with it
        return int(token)


def _configure(spec: WhisperSpec, tokenizer: Tokenizer, architecture: Architecture) -> None:
    """The vocabulary, and what the converter writes into config.json."""
    ids = tokenizer.get_vocab()
    spec.register_vocabulary(sorted(ids, key=ids.__getitem__))
    control = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev")
    spec.config.suppress_ids = [
        tokenizer.token_to_id(f"<|{name}|>") for name in (*control, "nospeech")
    ]
    spec.config.suppress_ids_begin = [
        tokenizer.token_to_id("Ġ"), tokenizer.token_to_id("<|endoftext|>"),
    ]  # fmt: skip
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{name}|>") for name in LANGUAGES]
    half = architecture.layers // 2
    spec.config.alignment_heads = [
        (layer, head)
        for layer in range(half, architecture.layers)
        for head in range(architecture.heads)
    ]
