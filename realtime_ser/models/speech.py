"""Which frames are speech: webrtcvad, Silero, or webrtcvad confirmed by Silero.

webrtcvad (WebRTC's Gaussian mixtures; py-webrtcvad) costs 4 microseconds a frame and calls nine
tenths of any noise speech. Silero (a small recurrent network, https://github.com/snakers4/silero-vad,
version 6, the ONNX file inside faster-whisper) costs fifty times that and is seldom fooled.
`benchmarks/segmentation.py` measures them, and where the constants below stand among their
neighbours.
"""

from __future__ import annotations

import functools
import importlib.util
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.config import Settings
from realtime_ser.errors import ModelUnavailableError
from realtime_ser.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, Evidence, Samples

WINDOW_SAMPLES = 512
CONTEXT_SAMPLES = 64
"""Silero judges 512 samples, and sees the 64 before them."""

LEAD_IN_FRAMES = 20
"""Frames before the waking one that a woken Silero hears first."""

HOLD_FRAMES = 20
"""Frames for which Silero stays awake after the last one that webrtcvad called speech."""

_INPUT_SAMPLES = CONTEXT_SAMPLES + WINDOW_SAMPLES
_OVERLAP_SAMPLES = _INPUT_SAMPLES - FRAME_SAMPLES
_STATE_SHAPE = (1, 1, 128)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Silero's probabilities at which speech begins, goes on, and is sure."""

    enter: float
    stay: float
    sure: float

    def decide(self, probability: float, in_speech: bool) -> Evidence:
        """What a probability says; see `Evidence`."""
        if probability < (self.stay if in_speech else self.enter):
            return Evidence.NONE
        return Evidence.SURE if probability >= self.sure else Evidence.LIKELY


class WebrtcDetector:
    """webrtcvad alone. One instance a stream: it adapts to the noise that it hears."""

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self.reset()

    def detect(self, frame: Samples, in_speech: bool) -> Evidence:
        """Judge the next frame, int16 [480]; `in_speech` changes nothing."""
        is_speech = self._vad.is_speech(frame.tobytes(), SAMPLE_RATE_HZ)
        return Evidence.SURE if is_speech else Evidence.NONE

    def reset(self) -> None:
        """Forget the past: the next frame does not follow the last."""
        # here, so that `realtime-ser doctor` starts on a machine that lacks it
        import webrtcvad

        self._vad = webrtcvad.Vad(self._mode)


class SileroDetector:
    """Silero alone."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._silero = Silero(lead_in_frames=0)

    def detect(self, frame: Samples, in_speech: bool) -> Evidence:
        """Judge the next frame, int16 [480]; see `Thresholds.decide`."""
        self._silero.hear(frame)
        return self._thresholds.decide(self._silero.probability(), in_speech)

    def reset(self) -> None:
        """Forget the past: the next frame does not follow the last."""
        self._silero.reset()


class ConfirmedDetector:
    """webrtcvad on every frame, and Silero awake where webrtcvad hears speech and for a while on.

    Within an utterance, a frame between `stay` and `enter` is speech if webrtcvad says so too:
    Silero lingers two or three frames on the end of a word, webrtcvad on the noise after it, and
    seldom both.
    """

    def __init__(self, webrtc_mode: int, thresholds: Thresholds) -> None:
        self._webrtc = WebrtcDetector(webrtc_mode)
        self._thresholds = thresholds
        self._silero = Silero(LEAD_IN_FRAMES)
        self._unvoiced_frames = HOLD_FRAMES

    def detect(self, frame: Samples, in_speech: bool) -> Evidence:
        """Judge the next frame, int16 [480]; see `Thresholds.decide`."""
        voiced = self._webrtc.detect(frame, in_speech) is not Evidence.NONE
        self._unvoiced_frames = 0 if voiced else self._unvoiced_frames + 1
        self._silero.hear(frame)
        if self._unvoiced_frames > HOLD_FRAMES:
            self._silero.sleep()
            return Evidence.NONE
        return self._thresholds.decide(self._silero.probability(), in_speech and voiced)

    def reset(self) -> None:
        """Forget the past: the next frame does not follow the last."""
        self._webrtc.reset()
        self._silero.reset()
        self._unvoiced_frames = HOLD_FRAMES


SpeechDetector = WebrtcDetector | SileroDetector | ConfirmedDetector


def create_speech_detector(settings: Settings) -> SpeechDetector:
    """A fresh detector for one stream, as `speech_detector` asks.

    Raises:
        ModelUnavailableError: Silero is wanted and faster-whisper is not there, or too old.
    """
    thresholds = Thresholds(settings.silero_enter, settings.silero_stay, settings.silero_sure)
    if settings.speech_detector == "webrtc":
        return WebrtcDetector(settings.webrtc_mode)
    if settings.speech_detector == "silero":
        return SileroDetector(thresholds)
    return ConfirmedDetector(settings.webrtc_mode, thresholds)


class Silero:
    """Silero on one stream: told every frame, asked about some.

    It judges one window a frame: the 512 samples that end where the frame ends. Windows on their
    own grid of 512, the step that it was trained at, leave frames to be judged by audio up to
    31 ms old, and come out worse; steps of half a frame are no better, at twice the cost.

    Args:
        lead_in_frames: how much of what it was told while nobody asked it hears when it wakes.
    """

    def __init__(self, lead_in_frames: int) -> None:
        # one frame more than is judged: a window reaches 96 samples into the frame before
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=lead_in_frames + 2)
        self._session = silero_session()
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next frame does not follow the last."""
        self._frames.clear()
        self.sleep()

    def hear(self, frame: Samples) -> None:
        """Take the next frame, int16 [480]."""
        if not self._frames:
            self._frames.append(np.zeros(FRAME_SAMPLES, dtype=np.float32))
        self._frames.append(frame * np.float32(1 / 32768))

    def sleep(self) -> None:
        """Drop the state of the network; the next question wakes it with the lead-in."""
        self._asleep = True
        self._hidden = self._cell = np.zeros(_STATE_SHAPE, dtype=np.float32)

    def probability(self) -> float:
        """Probability that the newest frame is speech; ask once a frame while awake."""
        frames = list(self._frames) if self._asleep else [self._frames[-2], self._frames[-1]]
        self._asleep = False
        windows = np.empty((len(frames) - 1, _INPUT_SAMPLES), np.float32)
        for window, before, frame in zip(windows, frames, frames[1:], strict=False):
            window[:_OVERLAP_SAMPLES] = before[FRAME_SAMPLES - _OVERLAP_SAMPLES :]
            window[_OVERLAP_SAMPLES:] = frame
        # the windows are steps of one sequence to the network, not a batch
        probabilities, self._hidden, self._cell = self._session.run(
            None, {"input": windows, "h": self._hidden, "c": self._cell}
        )
        return float(probabilities[-1])


@functools.cache
def silero_session() -> Any:
    """The one ONNX session of this process: it keeps no state, every stream brings its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(_silero_path(), options, providers=["CPUExecutionProvider"])


def _silero_path() -> Path:
    """Where faster-whisper keeps Silero; found without importing it, which takes a second."""
    # version 6 and no other, since the thresholds were measured with it; up to faster-whisper 1.2.0
    # there is version 5, in two files
    spec = importlib.util.find_spec("faster_whisper")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        path = Path(folder) / "assets" / "silero_vad_v6.onnx"
        if path.is_file():
            return path
    found = f"{folders[0]} has none" if folders else "faster-whisper, which brings it, is absent"
    raise ModelUnavailableError(
        f"no Silero speech detector of version 6: {found}; install 'faster-whisper>=1.2.1', "
        "or choose --speech-detector webrtc"
    )
