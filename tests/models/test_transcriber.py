"""Transcription through real Whisper models with made-up weights; see bench/random_whisper.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from faster_whisper import WhisperModel

from realtime_ser.errors import ConfigError, InferenceError, ModelUnavailableError
from realtime_ser.models.text_gates import DropReason, token_budget
from realtime_ser.models.transcriber import (
    WINDOW_S,
    Transcriber,
    TranscriberDescription,
    load_transcriber,
)
from realtime_ser.types import SAMPLE_RATE_HZ, Samples

WhisperModels = Callable[..., Path]


def sound(seconds: float, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed).normal(0.0, 3000.0, round(seconds * SAMPLE_RATE_HZ))
    return noise.astype(np.int16)


def load(folder: Path, **options: object) -> Transcriber:
    """Load with a short window, for speed, unless the test is about the window."""
    defaults = {"device": "cpu", "threads": 1, "least_window_s": 3.0}
    return load_transcriber(str(folder), **(defaults | options))


@pytest.fixture
def damaged(tmp_path: Path, whisper_folder: Path) -> Callable[[str, bytes | None], Path]:
    """A copy of a good model with one file replaced, or removed."""

    def damage(name: str, content: bytes | None) -> Path:
        folder = tmp_path / "damaged"
        shutil.copytree(whisper_folder, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        return folder

    return damage


def test_a_sentence_comes_out(whisper_folder: Path) -> None:
    transcriber = load(whisper_folder)
    transcript = transcriber.transcribe(sound(1.5))
    assert transcript is not None
    assert (transcript.text, transcript.language, transcript.words) == ("hello there", "en", ())
    assert transcript.avg_logprob == pytest.approx(-0.1, abs=0.02)
    assert transcript.no_speech_prob == pytest.approx(0.01, abs=0.005)
    assert not transcriber.dropped


@pytest.mark.parametrize("multilingual", [True, False])
@pytest.mark.parametrize("language", [None, "en"])
def test_the_answers_are_those_of_faster_whisper(
    whisper_models: WhisperModels, multilingual: bool, language: str | None
) -> None:
    folder = whisper_models(says="so this is it, then", multilingual=multilingual, avg_logprob=-0.4)
    transcriber = load(folder, language=language or "auto", least_window_s=WINDOW_S)
    reference = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    for seed, seconds in enumerate((0.7, 12.345)):
        samples = sound(seconds, seed)
        segments, info = reference.transcribe(
            samples.astype(np.float32) / 32768,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        [segment] = segments
        transcript = transcriber.transcribe(samples)
        assert transcript is not None
        assert (transcript.text, transcript.language) == (segment.text.strip(), info.language)
        # They differ from one sound to the next in the fifth digit.
        assert transcript.avg_logprob == pytest.approx(segment.avg_logprob, rel=1e-6)
        assert transcript.no_speech_prob == pytest.approx(segment.no_speech_prob, rel=1e-6)


def test_the_language_is_detected_or_given(whisper_models: WhisperModels) -> None:
    folder = whisper_models(says="guten Tag", language="de")
    languages = {}
    for language in ("auto", "de", "fr"):
        transcript = load(folder, language=language).transcribe(sound(1.0))
        assert transcript is not None
        languages[language] = transcript.language
    assert languages == {"auto": "de", "de": "de", "fr": "fr"}


def test_an_unknown_language_is_a_wrong_setting(
    whisper_models: WhisperModels, whisper_folder: Path
) -> None:
    with pytest.raises(ConfigError, match=r"'eng'; did you mean en, or --language auto"):
        load(whisper_folder, language="eng")
    with pytest.raises(ConfigError, match=r"'english'; use a code such as en"):
        load(whisper_folder, language="english")
    english = whisper_models(says="good day", multilingual=False)
    with pytest.raises(ConfigError, match=r"knows English only, not language 'de'"):
        load(english, language="de")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"says": "one two three", "avg_logprob": -1.5}, DropReason.LOW_LOGPROB),
        (
            {"says": "one two three", "avg_logprob": -1.5, "no_speech_prob": 0.9},
            DropReason.NO_SPEECH,
        ),
        ({"says": " ".join(["again"] * 16)}, DropReason.REPETITIVE),
        ({"says": " ".join(f"w{index}" for index in range(24))}, DropReason.TOO_MANY_TOKENS),
        ({"says": "Thanks for watching!"}, DropReason.KNOWN_PHRASE),
        ({"says": "..."}, DropReason.EMPTY),
        ({}, DropReason.LOW_LOGPROB),  # random weights
    ],
)
def test_a_dropped_text_is_counted_by_its_reason(
    whisper_models: WhisperModels, options: dict[str, object], reason: DropReason
) -> None:
    transcriber = load(whisper_models(**options))
    assert transcriber.transcribe(sound(1.0)) is None
    assert transcriber.dropped == {reason: 1}


def test_a_loop_is_stopped_when_it_cannot_be_speech_any_more(whisper_models: WhisperModels) -> None:
    _, decoding = load(whisper_models()).decode(sound(1.0))
    assert decoding.tokens == token_budget(1.0)


def test_utterances_do_not_touch_each_other(whisper_folder: Path) -> None:
    transcriber = load(whisper_folder)
    alone = transcriber.transcribe(sound(1.0))
    transcriber.transcribe(sound(3.0, seed=1))
    assert transcriber.transcribe(sound(1.0)) == alone


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1 / SAMPLE_RATE_HZ, "hello there"), (30.0, "hello there"), (31.0, "hello there hello there")],
)
def test_audio_of_any_length(whisper_folder: Path, seconds: float, text: str) -> None:
    transcript = load(whisper_folder).transcribe(sound(seconds))
    assert transcript is not None
    assert transcript.text == text


def test_no_audio_is_an_empty_text(whisper_folder: Path) -> None:
    transcriber = load(whisper_folder)
    assert transcriber.transcribe(np.zeros(0, np.int16)) is None
    assert transcriber.dropped == {DropReason.EMPTY: 1}


def test_a_shorter_window_never_cuts_the_utterance(whisper_folder: Path) -> None:
    transcriber = load(whisper_folder, least_window_s=10.0)
    for seconds, window_s in ((1.0, 10.0), (9.0, 11.0), (29.0, 30.0)):
        encoded = transcriber._encode(sound(seconds))
        assert encoded.shape[1] == window_s * 50  # Whisper's encoder gives 50 vectors a second
    transcript = transcriber.transcribe(sound(1.0))
    assert transcript is not None
    assert transcript.text == "hello there"


def test_it_says_what_runs_where(whisper_models: WhisperModels, whisper_folder: Path) -> None:
    description = load(whisper_folder).describe()
    assert description == TranscriberDescription(
        str(whisper_folder), "cpu", "int8_float32", multilingual=True
    )
    english = whisper_models(says="good day", multilingual=False)
    assert not load(english).describe().multilingual


def test_warming_up_counts_no_text(whisper_models: WhisperModels) -> None:
    transcriber = load(whisper_models(says="..."))
    transcriber.warm_up()
    assert not transcriber.dropped


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"])
def test_a_missing_file_is_named(
    damaged: Callable[[str, bytes | None], Path], name: str
) -> None:  # fmt: skip
    with pytest.raises(ModelUnavailableError, match=rf"lacks {name}.*--asr off"):
        load(damaged(name, None))


def test_the_preprocessor_settings_may_be_missing(
    damaged: Callable[[str, bytes | None], Path],
) -> None:
    assert load(damaged("preprocessor_config.json", None)).transcribe(sound(1.0)) is not None


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("model.bin", b"", "incomplete"),
        ("model.bin", bytes(range(256)) * 40, "Unsupported model binary version"),
        ("model.bin", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("tokenizer.json", b"{}", "Model missing"),
        ("config.json", b"{", "parse error"),
        ("config.json", b"{}", "config.json lacks suppress_ids_begin"),
        ("config.json", b'{"suppress_ids_begin": [1], "lang_ids": []}', "lacks lang_ids"),
        ("config.json", b'{"suppress_ids_begin": [51865]}', "tokens that are not there"),
        ("vocabulary.json", b'["a", "b"]', "tokenizer.json is from another model"),
        ("preprocessor_config.json", b'{"feature_size": 128}', "it wants 80 mel bands"),
    ],
)
def test_damage_is_found_at_loading(
    damaged: Callable[[str, bytes | None], Path], name: str, content: bytes, complaint: str
) -> None:
    with pytest.raises(ModelUnavailableError, match=f"damaged cannot be loaded: .*{complaint}"):
        load(damaged(name, content))


def test_half_a_model_is_found_at_loading(
    damaged: Callable[[str, bytes | None], Path], whisper_folder: Path
) -> None:
    half = (whisper_folder / "model.bin").read_bytes()[:3_000_000]
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        load(damaged("model.bin", half))


def test_a_model_that_fails_while_running(
    damaged: Callable[[str, bytes | None], Path], whisper_folder: Path
) -> None:
    vocabulary = (whisper_folder / "vocabulary.json").read_bytes()
    unstartable = vocabulary.replace(b"<|startoftranscript|>", b"<|elsewhere|>")
    transcriber = load(damaged("vocabulary.json", unstartable))
    with pytest.raises(InferenceError, match=r"failed on cpu: .*was not found.*--asr off"):
        transcriber.transcribe(sound(1.0))


@pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="there is a CUDA device")
def test_cuda_without_a_device_is_an_error(whisper_folder: Path) -> None:
    with pytest.raises(InferenceError, match=r"finds no CUDA device.*--device cpu"):
        load(whisper_folder, device="cuda")
