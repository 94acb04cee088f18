from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import LABELS

from realtime_ser import (
    AudioBlock,
    AudioUnsupportedError,
    BundleNotFoundError,
    ConfigError,
    EmotionFinal,
    Event,
    ModelUnavailableError,
    Recognizer,
    SessionCreated,
    Settings,
    TranscriptFinal,
    UtteranceResult,
    WarningEvent,
)
from realtime_ser.io.file import AudioFile
from realtime_ser.recognizer import graph_notices
from realtime_ser.samples import sample_path

SAMPLES = json.loads((sample_path("demo").parent / "samples.json").read_text())


def demo_samples() -> np.ndarray:
    blocks = [block.samples for block in AudioFile(sample_path("demo"))]
    return np.concatenate(blocks)[:, 0]


@pytest.fixture(scope="module")
def recognizer(small_bundle: Path) -> Recognizer:
    return Recognizer(bundle=str(small_bundle), asr="off", threads=1)


@pytest.fixture(scope="module")
def demo(recognizer: Recognizer) -> list[UtteranceResult]:
    return recognizer.recognize(sample_path("demo"))


def comparable(results: list[UtteranceResult]) -> list[tuple[float, float, object, object]]:
    return [(r.start_s, r.end_s, r.emotion, r.affect) for r in results]


def test_the_demo_is_cut_where_it_was_spoken(demo: list[UtteranceResult]) -> None:
    spoken = SAMPLES["files"]["demo.flac"]["utterances"]
    assert len(demo) == len(spoken)
    for heard, truth in zip(demo, spoken, strict=True):
        # 300 ms of pre-roll before the onset, 150 ms after the last speech, and the detector's
        # own slack; espeak-ng's soft beginnings and ends are the widest of it
        assert heard.start_s == pytest.approx(truth["start_s"] - 0.3, abs=0.25)
        assert heard.end_s == pytest.approx(truth["end_s"] + 0.15, abs=0.3)
        assert heard.emotion is not None
        assert heard.emotion.labels == LABELS
        assert sum(heard.emotion.probabilities) == pytest.approx(1)
        assert heard.modalities == ("audio",)
        assert heard.text == ""


@pytest.mark.parametrize("name", ["silence", "noise"])
def test_silence_and_noise_are_no_utterance(recognizer: Recognizer, name: str) -> None:
    assert recognizer.recognize(sample_path(name)) == []


@pytest.mark.parametrize("sizes", [[1, 2, 3, 479, 481], [16000], [10**7], [0, 0, 5000]])
def test_chunks_of_any_size_give_the_same(
    recognizer: Recognizer, demo: list[UtteranceResult], sizes: list[int]
) -> None:
    from realtime_ser.recognizer import utterance_results

    def chunks() -> list[np.ndarray]:
        samples, cut = demo_samples(), []
        while len(samples):
            size = sizes[len(cut) % len(sizes)]
            cut.append(samples[:size])
            samples = samples[size:]
        return cut

    heard = list(utterance_results(recognizer.stream(chunks())))
    assert comparable(heard) == comparable(demo)


def test_floats_and_stereo_are_taken_as_they_are(
    recognizer: Recognizer, demo: list[UtteranceResult]
) -> None:
    from realtime_ser.recognizer import utterance_results

    stereo = np.repeat(demo_samples()[:, np.newaxis] / np.float32(32768), 2, axis=1)
    assert comparable(list(utterance_results(recognizer.stream([stereo])))) == comparable(demo)


def test_a_live_source_gives_the_same(recognizer: Recognizer, demo: list[UtteranceResult]) -> None:
    from realtime_ser.recognizer import utterance_results

    async def source() -> AsyncIterator[AudioBlock]:
        for block in AudioFile(sample_path("demo")):
            yield block

    async def collect() -> list[Event]:
        return [event async for event in recognizer.live(source())]

    with recognizer:
        events = asyncio.run(collect())
    assert comparable(list(utterance_results(events))) == comparable(demo)


def test_text_joins_in_when_there_is_a_transcriber(
    small_bundle: Path, whisper_folder: Path
) -> None:
    recognizer = Recognizer(bundle=str(small_bundle), asr=str(whisper_folder), asr_required=True)
    events = list(recognizer.events(AudioFile(sample_path("short")), "short"))
    created = events[0]
    assert isinstance(created, SessionCreated)
    assert created.asr == str(whisper_folder)
    (transcript,) = [event for event in events if isinstance(event, TranscriptFinal)]
    assert transcript.transcript.text == "hello there"
    (final,) = [event for event in events if isinstance(event, EmotionFinal)]
    assert final.modalities == ("audio", "text")
    assert final.timings is not None
    assert {"asr", "audio_encoder", "text_encoder", "fusion"} <= set(final.timings.compute)
    assert not [event for event in events if isinstance(event, WarningEvent)]


def test_without_its_transcriber_it_warns_once_and_goes_on(
    small_bundle: Path, tmp_path: Path
) -> None:
    recognizer = Recognizer(bundle=str(small_bundle), asr=str(tmp_path / "nothing"))
    events = list(recognizer.events(AudioFile(sample_path("short")), "short"))
    (warning,) = [event for event in events if isinstance(event, WarningEvent)]
    assert warning.code == "asr_unavailable"
    assert "there is no folder" in warning.message
    assert any(isinstance(event, EmotionFinal) for event in events)


def test_a_part_without_cuda_graphs_is_told_of_with_the_reason() -> None:
    (notice,) = graph_notices({"audio": "the model has control flow nodes"})
    assert notice.code == "cuda_graphs_off"
    assert "the audio model runs on CUDA without CUDA graphs" in notice.message
    assert "the model has control flow nodes; " in notice.message
    assert graph_notices({}) == ()


def test_a_transcriber_may_be_required(small_bundle: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(
        bundle=str(small_bundle), asr=str(tmp_path / "nothing"), asr_required=True
    )
    with pytest.raises(ModelUnavailableError):
        recognizer.load()


def test_settings_are_checked_when_it_is_made_and_models_when_it_is_loaded() -> None:
    with pytest.raises(ConfigError, match="did you mean hangover_ms"):
        Recognizer(hangover=600)
    with pytest.raises(ConfigError, match="must lie in"):
        Recognizer(Settings(), hangover_ms=1)
    with pytest.raises(BundleNotFoundError):
        Recognizer(bundle="no-such-bundle").load()


def test_bad_audio_is_refused_by_name(recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(AudioUnsupportedError, match="check the path"):
        recognizer.recognize(tmp_path / "none.wav")
    with pytest.raises(AudioUnsupportedError, match="NaN"):
        list(recognizer.stream([np.array([np.nan], np.float32)]))
