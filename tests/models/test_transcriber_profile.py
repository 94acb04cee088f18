from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from realtime_ser.errors import ModelUnavailableError
from realtime_ser.models.text_gates import DropReason, Gates
from realtime_ser.models.transcriber import load_transcriber
from realtime_ser.models.transcriber_profile import TranscriberProfile, read_profile


def write(folder: Path, content: object) -> Path:
    (folder / "realtime_ser.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def copied(whisper_models: Callable[..., Path], tmp_path: Path) -> Path:
    """A model that says "hello there" with a mean log probability of about -0.5."""
    folder = tmp_path / "copied"
    shutil.copytree(whisper_models(says="hello there", avg_logprob=-0.5), folder)
    return folder


def test_a_folder_that_says_nothing_has_the_gates_of_whisper(tmp_path: Path) -> None:
    assert read_profile(tmp_path) == TranscriberProfile(gates=Gates(0.6, -1.0, 2.4))


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    profile = read_profile(
        write(tmp_path, {"description": "a kiosk", "languages": ["en"], "license": "CC0-1.0",
                         "measured": ["well"], "gates": {"min_avg_logprob": -0.25}})
    )  # fmt: skip
    assert profile == TranscriberProfile(
        Gates(0.6, -0.25, 2.4), "a kiosk", ("en",), "CC0-1.0", ("well",)
    )


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "no JSON object"),
        ({"gate": {}}, "unknown key 'gate'"),
        ({"gates": []}, "gates is no JSON object"),
        ({"gates": {"min_logprob": -1}}, "no gate 'min_logprob', only max_no_speech_prob, "),
        ({"gates": {"min_avg_logprob": "low"}}, "min_avg_logprob is no number"),
        ({"gates": {"min_avg_logprob": True}}, "min_avg_logprob is no number"),
        ({"languages": "en"}, "languages is no list of texts"),
        ({"description": 7}, "description is no text"),
    ],
)
def test_a_wrong_profile_is_refused_by_its_key(tmp_path: Path, content: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_profile(write(tmp_path, content))


def test_a_model_is_held_to_its_own_gates(copied: Path) -> None:
    second = np.zeros(16_000, np.int16)
    loose = load_transcriber(str(copied), threads=1)
    assert loose.transcribe(second) is not None
    write(copied, {"gates": {"min_avg_logprob": -0.3}})
    strict = load_transcriber(str(copied), threads=1)
    assert strict.transcribe(second) is None
    assert strict.dropped == {DropReason.LOW_LOGPROB: 1}


def test_the_least_likely_token_is_found_and_gated(copied: Path) -> None:
    second = np.zeros(16_000, np.int16)
    _, plain = load_transcriber(str(copied), threads=1).decode(second)
    assert plain.least_logprob is None
    write(copied, {"gates": {"min_token_logprob": -9}})
    _, decoding = load_transcriber(str(copied), threads=1).decode(second)
    assert decoding.least_logprob is not None
    assert -2.0 < decoding.least_logprob <= decoding.avg_logprob < 0.0
    assert decoding.avg_logprob == plain.avg_logprob
    write(copied, {"gates": {"min_token_logprob": decoding.least_logprob / 2}})
    strict = load_transcriber(str(copied), threads=1)
    assert strict.transcribe(second) is None
    assert strict.dropped == {DropReason.LOW_LOGPROB: 1}


def test_the_least_likely_token_of_all_windows_counts(copied: Path) -> None:
    path = copied / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chunk_length": 3}))
    write(copied, {"gates": {"min_token_logprob": -9}})
    transcriber = load_transcriber(str(copied), threads=1)
    sound = np.random.default_rng(0).integers(-9000, 9000, 80_000).astype(np.int16)
    windows = [
        transcriber.decode(each)[1].least_logprob for each in (sound[:48_000], sound[48_000:])
    ]
    assert transcriber.decode(sound)[1].least_logprob == pytest.approx(min(windows))


def test_a_model_hears_through_its_own_window(copied: Path) -> None:
    """The one utterance of 5 s is two windows of 3 s and at most that, each of which speaks."""
    path = copied / "preprocessor_config.json"
    whole = load_transcriber(str(copied), threads=1).transcribe(np.zeros(80_000, np.int16))
    assert whole is not None
    assert whole.text == "hello there"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chunk_length": 3}))
    cut = load_transcriber(str(copied), threads=1).transcribe(np.zeros(80_000, np.int16))
    assert cut is not None
    assert cut.text == "hello there hello there"


def test_a_damaged_profile_is_a_damaged_model(copied: Path) -> None:
    write(copied, {"gates": {"nonsense": 1}})
    with pytest.raises(ModelUnavailableError, match="no gate 'nonsense'"):
        load_transcriber(str(copied), threads=1)
