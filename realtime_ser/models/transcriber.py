"""Speech to text: faster-whisper, set up for short utterances that are already cut.

faster-whisper loads the model, computes the features and owns the tokens. The decoding itself is
asked of CTranslate2 directly, because `WhisperModel.transcribe` encodes the audio twice when it
also detects the language, always pads it to 30 s, and lets a loop run to 224 tokens; for the
encoder and those loops are nearly all of the cost. A test holds the two to the same answers.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from realtime_ser.errors import ConfigError, InferenceError, ModelUnavailableError
from realtime_ser.models.host import keep_freed_memory, one_blas_thread
from realtime_ser.models.hub import find_model, first_line
from realtime_ser.models.text_gates import Decoding, DropReason, drop_reason, token_budget
from realtime_ser.models.transcriber_profile import TranscriberProfile, read_profile
from realtime_ser.types import SAMPLE_RATE_HZ, Samples, Transcript

WINDOW_S = 30.0
"""What Whisper hears at a time: shorter audio is padded to it, longer audio cut into windows.

A model whose `preprocessor_config.json` names another `chunk_length` has that instead."""

WINDOW_MARGIN_S = 2.0
"""What a window shorter than 30 s keeps free after the speech; without it Whisper runs on."""

# Half of Whisper's 448 positions, less the prompt: as many text tokens as it may decode.
_MAX_TOKENS = 220


@dataclass(frozen=True, slots=True)
class TranscriberDescription:
    """What runs where.

    Attributes:
        name: the model's name, or the path of its folder.
        device: cpu or cuda.
        compute_type: of the weights in use, as CTranslate2 names it.
        multilingual: False for a model that knows English only.
    """

    name: str
    device: str
    compute_type: str
    multilingual: bool


def load_transcriber(
    asr: str,
    *,
    language: str = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int = 0,
    least_window_s: float = WINDOW_S,
) -> Transcriber:
    """Load the Whisper model `asr`, downloading it when it is neither a folder nor in the cache.

    Args:
        asr: a name of faster-whisper (tiny, base, small, ...) or the path of a folder.
        language: ISO 639-1 code of what is spoken, or auto to detect it for each utterance.
        threads: CPU threads; 0 means all cores that the process may use.
        least_window_s: the window is the utterance and `WINDOW_MARGIN_S`, but no shorter than
            this. Whisper was trained on 30 s; shorter windows are faster and off its beaten track.

    Raises:
        ModelUnavailableError: the model cannot be had, or its files are damaged; known within
            10 seconds unless a download is under way.
        ConfigError: the model does not know `language`.
        InferenceError: CUDA was asked for and cannot be used.
    """
    if device == "cuda":
        _require_cuda()
    else:
        keep_freed_memory()
    folder = find_model(asr)
    from faster_whisper import WhisperModel

    try:
        model = WhisperModel(
            str(folder),
            device=device,
            compute_type="float16" if device == "cuda" else "int8",
            cpu_threads=threads or len(os.sched_getaffinity(0)),
            num_workers=1,
        )
        _require_matching_files(model, folder)
        profile = read_profile(folder)
    # Broad: tokenizers raises bare Exception, ctranslate2 whatever a damaged file provokes.
    except Exception as error:
        if device == "cuda" and "cuda" in str(error).lower():
            raise InferenceError(
                f"the transcription model cannot be put on the GPU: {first_line(error)}; free GPU "
                f"memory, see `realtime-ser doctor`, or use --device cpu"
            ) from error
        raise ModelUnavailableError(_damaged(folder, error)) from error
    _require_language(model, asr, language)
    return Transcriber(
        model,
        name=asr,
        language=None if language == "auto" else language,
        least_window_s=least_window_s,
        profile=profile,
    )


class Transcriber:
    """A loaded Whisper model; called from one thread at a time. Made by `load_transcriber`.

    Attributes:
        dropped: how many texts were dropped, by reason.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        language: str | None,
        least_window_s: float = WINDOW_S,
        profile: TranscriberProfile | None = None,
    ) -> None:
        from faster_whisper.transcribe import get_suppressed_tokens

        self.dropped: Counter[DropReason] = Counter()
        self._model = model
        self._name = name
        self._language = language if model.model.is_multilingual else "en"
        self._gates = (profile or TranscriberProfile()).gates
        # Whisper's vocabulary is large: fetched only for the gate that needs it.
        self._wants_logits = self._gates.min_token_logprob > -math.inf
        extractor = model.feature_extractor
        self._window_s = float(extractor.chunk_length)
        self._frames_per_second = extractor.sampling_rate / extractor.hop_length
        self._least_window_s = least_window_s
        # Brackets, notes and the like, which Whisper writes for sounds that are not speech.
        self._suppressed = list(get_suppressed_tokens(self._tokenizer("en"), [-1]))

    def transcribe(self, samples: Samples) -> Transcript | None:
        """Transcribe one utterance, greedily and without looking at earlier ones.

        Args:
            samples: int16 [samples] at 16 kHz, up to 30 s for one pass of the model.

        Returns:
            None when there is no text to be believed; `dropped` then counts the reason.

        Raises:
            InferenceError: the model failed.
        """
        language, decoding = self.decode(samples)
        reason = drop_reason(decoding, self._gates)
        if reason is not None:
            self.dropped[reason] += 1
            return None
        return Transcript(
            text=decoding.text,
            language=language,
            avg_logprob=decoding.avg_logprob,
            no_speech_prob=decoding.no_speech_prob,
        )

    def warm_up(self) -> None:
        """Run once, so that the first utterance does not pay for the set-up of the device.

        Raises:
            InferenceError: the model failed.
        """
        self.decode(np.zeros(SAMPLE_RATE_HZ, np.int16))

    def describe(self) -> TranscriberDescription:
        """Say what runs where."""
        whisper = self._model.model
        return TranscriberDescription(
            self._name, whisper.device, whisper.compute_type, whisper.is_multilingual
        )

    def decode(self, samples: Samples) -> tuple[str, Decoding]:
        """The language, that of the first words, and the text of all windows, before any gate.

        Args:
            samples: int16 [samples] at 16 kHz.

        Raises:
            InferenceError: the model failed.
        """
        size = round(self._window_s * SAMPLE_RATE_HZ)
        windows = [samples[start : start + size] for start in range(0, len(samples), size)]
        language = self._language or "en"
        parts: list[Decoding] = []
        try:
            for window in windows:
                encoded = self._encode(window)
                if self._language is None and not any(part.text for part in parts):
                    # The likeliest is the first, written <|en|>.
                    language = self._model.model.detect_language(encoded)[0][0][0][2:-2]
                parts.append(self._generate(encoded, language, len(window) / SAMPLE_RATE_HZ))
        except (RuntimeError, ValueError) as error:
            raise InferenceError(
                f"the transcription model {self._name} failed on {self._model.model.device}: "
                f"{first_line(error)}; see `realtime-ser doctor`, or use --asr off"
            ) from error
        return language, _joined(parts)

    def _encode(self, samples: Samples) -> Any:
        """Whisper's reading of at most one window of audio."""
        audio = samples.astype(np.float32) / 32768
        with one_blas_thread():
            # The extractor adds a last frame, all padding, which faster-whisper drops as well.
            features = self._model.feature_extractor(audio)[:, :-1]
        window_s = max(self._least_window_s, len(samples) / SAMPLE_RATE_HZ + WINDOW_MARGIN_S)
        frames = round(min(window_s, self._window_s) * self._frames_per_second)
        features = features[:, :frames]
        padding = frames - features.shape[1]
        return self._model.encode(np.pad(features, ((0, 0), (0, padding))))

    def _generate(self, encoded: Any, language: str, duration_s: float) -> Decoding:
        tokenizer = self._tokenizer(language)
        # Without time stamps: they cost two tokens, blur the log probability, and an early last
        # one makes faster-whisper decode the rest of the padding as a second segment.
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        # No more tokens than the gates would let pass. CTranslate2 halves the `max_length` that
        # it is given (src/models/whisper.cc, WhisperReplica::generate).
        limit = min(_MAX_TOKENS, token_budget(duration_s))
        [result] = self._model.model.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=2 * limit,
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=self._wants_logits,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
        )
        tokens = result.sequences_ids[0]
        # The score is the mean over the text, NaN where there is none; Whisper's own mean counts
        # the end token too.
        score = result.scores[0] if tokens else 0.0
        return Decoding(
            text=tokenizer.decode(tokens).strip(),
            tokens=len(tokens),
            avg_logprob=score * len(tokens) / (len(tokens) + 1),
            no_speech_prob=result.no_speech_prob,
            duration_s=duration_s,
            least_logprob=self._least_logprob(result.logits[0], [*tokens, tokenizer.eot])
            if self._wants_logits
            else None,
        )

    @staticmethod
    def _least_logprob(logits: list[Any], tokens: list[int]) -> float:
        """Of all `tokens`, each chosen from CTranslate2's logits [1, vocabulary] for its place."""
        from ctranslate2 import Device

        least = 0.0
        # Not strict: a text that was cut at the limit has no end token.
        for token, place in zip(tokens, logits, strict=False):
            scores = np.array(place.to_device(Device.cpu), np.float32).reshape(-1)
            total = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
            least = min(least, float(scores[token] - total))
        return least

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task="transcribe",
            language=language,
        )


def _joined(parts: list[Decoding]) -> Decoding:
    """One decoding of several windows, the log probability weighted by their tokens."""
    if len(parts) == 1:
        return parts[0]
    tokens = sum(part.tokens for part in parts)
    total = sum(part.avg_logprob * part.tokens for part in parts)
    least = [part.least_logprob for part in parts if part.least_logprob is not None]
    return Decoding(
        text=" ".join(part.text for part in parts if part.text),
        tokens=tokens,
        avg_logprob=total / tokens if tokens else 0.0,
        no_speech_prob=max((part.no_speech_prob for part in parts), default=1.0),
        duration_s=sum(part.duration_s for part in parts),
        least_logprob=min(least, default=None),
    )


def _require_cuda() -> None:
    import ctranslate2

    try:
        devices = ctranslate2.get_cuda_device_count()
        why = "it finds no CUDA device"
    except (RuntimeError, ValueError) as error:
        devices, why = 0, first_line(error)
    if not devices:
        raise InferenceError(
            f"CTranslate2 cannot transcribe with CUDA: {why}; see `realtime-ser doctor`, "
            f"or use --device cpu or --asr off"
        )


def _require_matching_files(model: Any, folder: Path) -> None:
    """Check what CTranslate2 takes on trust: a token that is not there crashes the process."""
    mels, given = model.model.n_mels, model.feature_extractor.mel_filters.shape[0]
    if mels != given:
        raise ValueError(
            f"it wants {mels} mel bands and preprocessor_config.json, which is missing or from "
            f"another model, makes {given}"
        )
    size = len(_vocabulary(folder))
    if model.hf_tokenizer.get_vocab_size() > size:
        raise ValueError("tokenizer.json is from another model, it has more tokens")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    keys = ["suppress_ids_begin"] + ["lang_ids"] * model.model.is_multilingual
    for key in keys:
        tokens = config.get(key)
        if not tokens or not all(isinstance(token, int) and 0 <= token < size for token in tokens):
            raise ValueError(f"config.json lacks {key}, or it names tokens that are not there")


def _vocabulary(folder: Path) -> list[str]:
    file = folder / "vocabulary.json"
    if file.is_file():
        tokens: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return tokens
    return (folder / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _require_language(model: Any, name: str, language: str) -> None:
    if language == "auto":
        return
    languages: list[str] = model.supported_languages
    known = [code for code in languages if model.hf_tokenizer.token_to_id(f"<|{code}|>")]
    if language in known or (not model.model.is_multilingual and language == "en"):
        return
    if not model.model.is_multilingual:
        raise ConfigError(
            f"the transcription model {name} knows English only, not language {language!r}; "
            f"use --asr {name.removesuffix('.en')} or --language en"
        )
    close = difflib.get_close_matches(language, known, n=1)
    hint = f"did you mean {close[0]}, or" if close else "use a code such as en, de or zh, or"
    raise ConfigError(
        f"the transcription model {name} does not know the language {language!r}; {hint} "
        f"--language auto?"
    )


def _damaged(folder: Path, error: Exception) -> str:
    reason = first_line(error)
    with (folder / "model.bin").open("rb") as file:
        if file.read(11) == b"version htt":
            reason = "model.bin is a Git LFS pointer, not the model (run `git lfs pull`)"
    return (
        f"the transcription model in {folder} cannot be loaded: {reason}; copy or download it "
        f"again (delete the folder, then `realtime-ser models pull NAME`), or use --asr off"
    )
