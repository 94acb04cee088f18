from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import webrtcvad
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_ser.config import Settings
from realtime_ser.core.segmenter import Segmenter, SpeechEnded
from realtime_ser.io.file import AudioFile
from realtime_ser.models.silero import Silero, hear, silero_session
from realtime_ser.models.speech import (
    HOLD_FRAMES,
    ConfirmedDetector,
    SileroDetector,
    SpeechDetector,
    Thresholds,
    WebrtcDetector,
    create_speech_detector,
    judge_together,
)
from realtime_ser.samples import sample_path
from realtime_ser.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, ClosedBy, Evidence, Judgement, Samples

KINDS = ("webrtc", "silero", "both")


def frames_of(samples: Samples) -> Samples:
    return samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


def sample(name: str) -> Samples:
    return np.concatenate([block.samples for block in AudioFile(sample_path(name))])[:, 0]


def noise(seconds: float, level_dbfs: float) -> Samples:
    generator = np.random.default_rng(7)
    wave = generator.standard_normal(round(seconds * SAMPLE_RATE_HZ)) * 32768
    return (wave * 10 ** (level_dbfs / 20)).clip(-32768, 32767).astype(np.int16)


def judged(detector: SpeechDetector, samples: Samples) -> list[Judgement]:
    """Judgements of all frames, asked for one by one."""
    return [judgement for frame in frames_of(samples) for judgement in detector.judge([frame])]


def utterances(samples: Samples, settings: Settings) -> list[SpeechEnded]:
    detector, segmenter = create_speech_detector(settings), Segmenter(settings)
    actions = []
    for index, judgement in enumerate(detector.judge(list(frames_of(samples)))):
        evidence = judgement.inside if segmenter.in_utterance else judgement.outside
        start = index * FRAME_SAMPLES
        actions += segmenter.push(start, start + FRAME_SAMPLES, evidence, 0.0)
    actions += segmenter.close(ClosedBy.EOF, len(samples))
    return [action for action in actions if isinstance(action, SpeechEnded)]


@pytest.mark.parametrize(
    ("kind", "made"),
    [("webrtc", WebrtcDetector), ("silero", SileroDetector), ("both", ConfirmedDetector)],
)
def test_the_setting_chooses_the_detector(kind: str, made: type) -> None:
    assert type(create_speech_detector(Settings(speech_detector=kind))) is made


@pytest.mark.parametrize("mode", [0, 3])
def test_webrtc_hears_every_frame_once(mode: int) -> None:
    # webrtcvad adapts with every call: one call more or less would change what follows
    samples = np.concatenate([noise(1, -40), sample("short")])
    plain = webrtcvad.Vad(mode)
    expected = [plain.is_speech(f.tobytes(), SAMPLE_RATE_HZ) for f in frames_of(samples)]
    said = judged(WebrtcDetector(mode), samples)
    assert [bool(judgement.outside) for judgement in said] == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_makes_it_new(kind: str) -> None:
    used = create_speech_detector(Settings(speech_detector=kind))
    frames = list(frames_of(sample("short")))
    before = list(frames_of(np.concatenate([sample("short"), noise(1, -30)])))
    fresh = create_speech_detector(Settings(speech_detector=kind))
    after = used.judge([*before, None, *frames])[len(before) :]
    assert after == [Judgement(Evidence.NONE, Evidence.NONE), *fresh.judge(frames)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(cuts=st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=3), max_size=12))
def test_streams_heard_together_in_any_pieces_hear_what_each_hears_alone(
    kind: str, cuts: list[list[int]]
) -> None:
    quiet = np.concatenate([np.zeros(SAMPLE_RATE_HZ, np.int16), sample("short")])
    streams = [
        frames_of(sample("short")),
        frames_of(quiet),
        frames_of(sample("demo")[60_000:160_000]),
    ]
    detectors = [create_speech_detector(Settings(speech_detector=kind)) for _ in streams]
    said: list[list[Judgement]] = [[] for _ in streams]
    for sizes in [*cuts, [10_000] * 3]:
        asked = [
            (detector, list(frames[len(heard) :][:size]))
            for detector, frames, heard, size in zip(detectors, streams, said, sizes, strict=True)
        ]
        for heard, judgements in zip(said, judge_together(asked), strict=True):
            heard += judgements
    for frames, heard in zip(streams, said, strict=True):
        alone = create_speech_detector(Settings(speech_detector=kind))
        assert heard == judged(alone, frames.reshape(-1))
        assert any(judgement.inside for judgement in heard)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(3 * SAMPLE_RATE_HZ, np.int16),
        noise(3, -60),
        noise(3, -40),
        noise(3, -20),
        noise(3, -3),
        sample("silence"),
        np.concatenate([np.zeros(SAMPLE_RATE_HZ, np.int16), noise(2, -30)]),
    ],
    ids=["digital silence", "-60 dB", "-40 dB", "-20 dB", "-3 dB", "room", "noise out of nothing"],
)
def test_silence_and_white_noise_are_no_speech(samples: Samples) -> None:
    said = create_speech_detector(Settings()).judge(list(frames_of(samples)))
    assert not any(judgement.inside or judgement.outside for judgement in said)


def test_the_utterances_of_the_demo_are_heard_and_its_noises_are_not() -> None:
    truth = json.loads(sample_path("demo").with_name("samples.json").read_text())
    spoken = truth["files"]["demo.flac"]["utterances"]
    heard = utterances(sample("demo"), Settings())
    assert len(heard) == len(spoken)
    for utterance, true in zip(heard, spoken, strict=True):
        # the audio of an utterance reaches from the pre-roll to the tail
        assert utterance.start / SAMPLE_RATE_HZ <= true["start_s"]
        assert utterance.end / SAMPLE_RATE_HZ >= true["end_s"] - 0.06
        assert abs(utterance.speech_end / SAMPLE_RATE_HZ - true["end_s"]) < 0.3


def test_noise_is_no_utterance_though_webrtc_alone_hears_speech_in_it() -> None:
    assert utterances(sample("noise"), Settings()) == []
    assert utterances(sample("noise"), Settings(speech_detector="webrtc")) != []


@pytest.mark.parametrize(
    ("probability", "outside", "inside"),
    [
        (0.24, Evidence.NONE, Evidence.NONE),
        (0.25, Evidence.NONE, Evidence.LIKELY),
        (0.49, Evidence.NONE, Evidence.LIKELY),
        (0.5, Evidence.LIKELY, Evidence.LIKELY),
        (0.79, Evidence.LIKELY, Evidence.LIKELY),
        (0.8, Evidence.SURE, Evidence.SURE),
    ],
)
def test_thresholds(probability: float, outside: Evidence, inside: Evidence) -> None:
    thresholds = Thresholds(enter=0.5, stay=0.25, sure=0.8)
    assert thresholds.judge(probability) == (outside, inside)
    assert thresholds.judge(probability, may_stay=False) == (outside, outside)


@pytest.mark.parametrize("kind", ["silero", "both"])
def test_less_is_asked_within_an_utterance(kind: str) -> None:
    said = create_speech_detector(Settings(speech_detector=kind)).judge(
        list(frames_of(sample("demo")))
    )
    assert all(judgement.inside >= judgement.outside for judgement in said)
    assert any(judgement.inside > judgement.outside for judgement in said)


def test_both_falls_silent_when_webrtc_has_been_silent_for_the_hold() -> None:
    # all probabilities pass: only the sleep of Silero can say no
    detector = ConfirmedDetector(3, Thresholds(enter=0.0, stay=0.0, sure=2.0))
    webrtc = WebrtcDetector(3)
    samples = np.concatenate([sample("short"), noise(2, -70)])
    unvoiced = HOLD_FRAMES
    for frame in frames_of(samples):
        unvoiced = 0 if webrtc.hears_speech(frame) else unvoiced + 1
        [judgement] = detector.judge([frame])
        assert (judgement.outside > 0) == (unvoiced <= HOLD_FRAMES)
    assert unvoiced > HOLD_FRAMES


def windows_of(samples: Samples, step: int) -> np.ndarray:
    """Silero's windows, [windows, 576], the first one ending at `step`."""
    audio = np.concatenate([np.zeros(576 - step), samples / 32768]).astype(np.float32)
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(audio, 576)[::step])


def original_probabilities(windows: np.ndarray) -> np.ndarray:
    """faster-whisper's network over a whole sequence, from the state at rest."""
    spec = importlib.util.find_spec("faster_whisper")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "assets" / "silero_vad_v6.onnx"
    rest = np.zeros((1, 1, 128), np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": windows, "h": rest, "c": rest})[0]


def probability(silero: Silero, frames: Sequence[Samples]) -> float:
    """Of the last of `frames`, the others being told only."""
    for frame in frames:
        silero.tell(frame)
    question = silero.ask()
    hear(silero.passages_asked())
    return question.probability


def test_silero_frame_by_frame_is_the_original_over_the_whole() -> None:
    samples = sample("short")
    silero = Silero(lead_in_frames=0)
    heard = [probability(silero, [frame]) for frame in frames_of(samples)]
    np.testing.assert_allclose(heard, original_probabilities(windows_of(samples, 480)), atol=1e-5)
    assert max(heard) > 0.9


@pytest.mark.parametrize("name", ["demo", "noise", "silence"])
def test_silero_over_many_streams_is_the_original_over_each(name: str) -> None:
    windows = windows_of(sample(name), 480)
    streams = np.ascontiguousarray(
        windows[: len(windows) // 5 * 5].reshape(5, -1, 576).swapaxes(0, 1)
    )
    rest = np.zeros((1, 5, 128), np.float32)
    inputs = {"windows": streams, "hidden": rest, "cell": rest}
    heard = silero_session().run(None, inputs)[0]
    for column in range(5):
        expected = original_probabilities(np.ascontiguousarray(streams[:, column]))
        np.testing.assert_allclose(heard[:, column], expected, atol=1e-5)


def test_our_windows_are_those_of_faster_whisper() -> None:
    from faster_whisper.vad import get_vad_model

    samples = sample("short")[: SAMPLE_RATE_HZ * 2 // 512 * 512]
    ours = original_probabilities(windows_of(samples, 512))
    theirs = get_vad_model()((samples / 32768).astype(np.float32))
    # it writes zeros into the end of the last window, its context for the first
    np.testing.assert_allclose(ours[:-1], theirs[:-1], atol=1e-5)


def test_a_woken_silero_has_heard_the_lead_in_and_nothing_before() -> None:
    frames = frames_of(sample("short"))[20:60]
    woken = Silero(lead_in_frames=5)
    expected = original_probabilities(windows_of(frames.reshape(-1), 480)[-6:])[-1]
    assert probability(woken, list(frames)) == pytest.approx(float(expected), abs=1e-5)
    woken.sleep()
    assert probability(woken, []) == pytest.approx(float(expected), abs=1e-5)


def test_a_silero_woken_at_the_start_hears_no_frames_that_never_were() -> None:
    frame = frames_of(sample("short"))[30]
    waiting, ready = Silero(lead_in_frames=20), Silero(lead_in_frames=0)
    assert probability(waiting, [frame]) == probability(ready, [frame])


@pytest.mark.corpus
def test_the_targets_on_labelled_speech_and_noise(
    corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.segmentation import noise_clips, run, scored, speech_clips, utterance_scores

    clips, noises = speech_clips(corpora), noise_clips(corpora)
    settings = Settings()
    in_noise = [run(settings, clip.samples) for clip in noises]
    frames = scored(
        np.concatenate([run(settings, clip.samples).decisions for clip in clips]),
        np.concatenate([clip.labels for clip in clips]),
        np.concatenate([result.decisions for result in in_noise]),
    )
    assert frames["frame_f1"] >= 0.93
    assert frames["noise_called_speech"] <= 0.02
    spoken = utterance_scores(settings, clips)
    assert spoken["onset_error_ms"]["median"] <= 60
    assert spoken["decision_delay_ms"]["median"] <= settings.hangover_ms + 60
    hours = sum(len(clip.samples) for clip in noises) / SAMPLE_RATE_HZ / 3600
    assert sum(len(result.utterances) for result in in_noise) / hours <= 10


@pytest.mark.corpus
def test_two_doubtful_words_in_a_speech_are_not_lost(corpora: Path) -> None:
    # "ask not" never passes a probability of 0.7
    blocks = AudioFile(corpora / "sound" / "misc" / "jfk.flac")
    speech = np.concatenate([block.samples for block in blocks])[:, 0]
    assert len(utterances(speech, Settings())) == 4
    assert len(utterances(speech, Settings(talk_memory_s=0.0))) == 3
