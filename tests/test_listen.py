"""`realtime-ser listen` on a virtual microphone that plays the demo recording."""

from __future__ import annotations

import json
import signal
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from virtual_microphone import VirtualMicrophone

from realtime_ser import Recognizer, Settings
from realtime_ser.core.segmenter import FRAME_MS
from realtime_ser.io.file import AudioFile
from realtime_ser.recognizer import utterance_results
from realtime_ser.samples import sample_path

SLACK_MS = FRAME_MS
"""How far most boundaries may be from those of the recording put at the same place of a stream: the
sound server resamples it, and a decision at the soft edge of a word may tip over. At the *same
place*, because the frames are a grid that begins with the stream."""

FARTHEST_MS = Settings().start_window_ms
"""How far any of them may be: an utterance begins with the first speech frame of this window, so
one marginal frame that tips over at its far end moves the beginning by nearly all of it."""


def listen(
    microphone: VirtualMicrophone, bundle: Path, save: Path, recording: Path
) -> list[dict[str, Any]]:
    """Start listening, play the recording, press Ctrl-C; returns the events."""
    arguments = ["--json", "--asr", "off", "--bundle", str(bundle), "--save", str(save)]
    process = microphone.python("-m", "realtime_ser", "listen", *arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [process.stdout.readline()]
    # reads on while the recording plays, so that no pipe ever fills up
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reader.start()
    while not any(path.stat().st_size > 1000 for path in save.glob("*.wav")):
        assert process.poll() is None, process.stderr.read()
    microphone.play(recording)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, process.stderr.read()
    reader.join(60)
    return [json.loads(line) for line in lines]


def spans(events: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [
        (event["audio_start_ms"], event["audio_end_ms"])
        for event in events
        if event["type"] == "utterance.end"
    ]


def test_the_microphone_hears_the_utterances_of_the_file(
    virtual_microphone: VirtualMicrophone, small_bundle: Path, tmp_path: Path
) -> None:
    recording = sample_path("demo")
    events = listen(virtual_microphone, small_bundle, tmp_path / "kept", recording)
    closed = events[-1]
    assert (closed["type"], closed["reason"]) == ("session.closed", "interrupted")
    assert closed["lost_samples"] == 0
    kept, rate_hz = check_what_was_kept(tmp_path / "kept", events)
    recognizer = Recognizer(bundle=str(small_bundle), asr="off")

    # what was heard is, to the sample, what a file of the same audio gives
    # (16.26 seconds are 16260.000000000002 milliseconds)
    same = boundaries(recognizer, kept, rate_hz)
    assert len(spans(events)) == len(same)
    np.testing.assert_allclose(spans(events), same, rtol=0, atol=1e-6)

    # and it is the recording: the same utterances, nearly all boundaries within a frame
    played = np.concatenate([block.samples for block in AudioFile(recording)])[:, 0]
    played = soxr.resample(played / 32768, 16000, rate_hz)
    silence = np.zeros(place_of(played, kept))
    expected = boundaries(recognizer, np.concatenate([silence, played, silence]), rate_hz)
    heard = spans(events)
    assert len(heard) == len(expected) == 8
    np.testing.assert_allclose(heard, expected, atol=FARTHEST_MS)
    off = np.abs(np.subtract(heard, expected))
    assert np.count_nonzero(off <= SLACK_MS) >= 13, off


def boundaries(
    recognizer: Recognizer, samples: np.ndarray, rate_hz: int
) -> list[tuple[float, float]]:
    """Start and end of each utterance in milliseconds."""
    results = utterance_results(recognizer.stream([samples], rate_hz))
    return [(result.start_s * 1000, result.end_s * 1000) for result in results]


def place_of(part: np.ndarray, whole: np.ndarray) -> int:
    """Where in `whole` the sound `part` begins, by cross-correlation."""
    size = len(whole) + len(part)
    products = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)), size)
    return int(np.argmax(products[: len(whole)]))


def check_what_was_kept(folder: Path, events: list[dict[str, Any]]) -> tuple[np.ndarray, int]:
    """The kept audio, int16 [samples], and its rate."""
    (audio,), (lines,) = folder.glob("*.wav"), folder.glob("*.jsonl")
    assert [json.loads(line) for line in lines.read_text().splitlines()] == events
    with wave.open(str(audio)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        rate_hz = file.getframerate()
    assert len(samples) / rate_hz == pytest.approx(events[-1]["audio_seconds"], abs=1e-3)
    return samples, rate_hz


def test_a_microphone_that_goes_away_is_exit_code_5(
    virtual_microphone: VirtualMicrophone, small_bundle: Path
) -> None:
    arguments = ["--json", "--asr", "off", "--bundle", str(small_bundle)]
    process = virtual_microphone.python("-m", "realtime_ser", "listen", *arguments)
    assert process.stdout is not None
    process.stdout.readline()
    virtual_microphone.unplug()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert err.startswith("realtime-ser: error: ")
    assert err.count("\n") == 1
    assert [json.loads(line)["type"] for line in out.splitlines()][-2:] == [
        "error",
        "session.closed",
    ]


def test_devices_are_listed_and_wrong_ones_named(virtual_microphone: VirtualMicrophone) -> None:
    process = virtual_microphone.python("-m", "realtime_ser", "listen", "--list-devices")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "default" in out
    arguments = ["listen", "--device", "theremin", "--asr", "off"]
    process = virtual_microphone.python("-m", "realtime_ser", *arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "theremin" in err
