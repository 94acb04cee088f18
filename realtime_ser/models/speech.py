"""Which frames are speech: webrtcvad, Silero, or webrtcvad confirmed by Silero.

webrtcvad (WebRTC's Gaussian mixtures; py-webrtcvad) costs 4 microseconds a frame and calls nine
tenths of any noise speech. Silero (a small recurrent network, see `silero`) costs ten to fifty
times that and is seldom fooled. `benchmarks/segmentation.py` measures them, and where the constants
below stand among their neighbours.

What a detector says does not depend on what was made of it, so it may run ahead of the segmenter
(all frames of a block in one run), and what many streams wait for is heard together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from realtime_ser.config import Settings
from realtime_ser.models.silero import Passage, Question, Silero, hear, silero_session
from realtime_ser.types import SAMPLE_RATE_HZ, Evidence, Judgement, Samples

LEAD_IN_FRAMES = 20
"""Frames before the waking one that a woken Silero hears first."""

HOLD_FRAMES = 20
"""Frames for which Silero stays awake after the last one that webrtcvad called speech."""

_NO_SPEECH = Judgement(Evidence.NONE, Evidence.NONE)
_SPEECH = Judgement(Evidence.SURE, Evidence.SURE)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Silero's probabilities at which speech begins, goes on, and is sure."""

    enter: float
    stay: float
    sure: float

    def judge(self, probability: float, *, may_stay: bool = True) -> Judgement:
        """What a probability says; less is asked within an utterance if the frame `may_stay`."""
        outside = self._evidence(probability, self.enter)
        return Judgement(outside, self._evidence(probability, self.stay) if may_stay else outside)

    def _evidence(self, probability: float, least: float) -> Evidence:
        if probability < least:
            return Evidence.NONE
        return Evidence.SURE if probability >= self.sure else Evidence.LIKELY


@dataclass(frozen=True, slots=True)
class Listening:
    """Frames that are being judged.

    Attributes:
        passages: what Silero is to hear; then `judgements` may be called.
        judgements: gives one for each frame.
    """

    passages: list[Passage]
    judgements: Callable[[], list[Judgement]]


class _Detector(ABC):
    """A detector in two steps, between which Silero hears what it has to."""

    @abstractmethod
    def listen(self, frames: Sequence[Samples | None]) -> Listening:
        """Begin to judge `frames`; to be ended before the next call."""

    def judge(self, frames: Sequence[Samples | None]) -> list[Judgement]:
        """Judge the next frames, int16 [480] each; None is a gap, which is no speech."""
        [judgements] = judge_together([(self, frames)])
        return judgements


class WebrtcDetector(_Detector):
    """webrtcvad alone. One instance a stream: it adapts to the noise that it hears."""

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self.reset()

    def listen(self, frames: Sequence[Samples | None]) -> Listening:
        """See `_Detector`."""
        judgements = []
        for frame in frames:
            if frame is None:
                self.reset()
            is_speech = frame is not None and self.hears_speech(frame)
            judgements.append(_SPEECH if is_speech else _NO_SPEECH)
        return Listening([], lambda: judgements)

    def hears_speech(self, frame: Samples) -> bool:
        """What it takes the next frame for."""
        return bool(self._vad.is_speech(frame.tobytes(), SAMPLE_RATE_HZ))

    def reset(self) -> None:
        """Forget the past: the next frame does not follow the last."""
        # here, so that `realtime-ser doctor` starts on a machine that lacks it
        import webrtcvad

        self._vad = webrtcvad.Vad(self._mode)


class SileroDetector(_Detector):
    """Silero alone."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._silero = Silero(lead_in_frames=0)

    def listen(self, frames: Sequence[Samples | None]) -> Listening:
        """See `_Detector`."""
        questions: list[Question | None] = []
        for frame in frames:
            if frame is None:
                self._silero.reset()
                questions.append(None)
            else:
                self._silero.tell(frame)
                questions.append(self._silero.ask())
        judge = self._thresholds.judge
        return Listening(
            self._silero.passages_asked(),
            lambda: [judge(asked.probability) if asked else _NO_SPEECH for asked in questions],
        )


class ConfirmedDetector(_Detector):
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

    def listen(self, frames: Sequence[Samples | None]) -> Listening:
        """See `_Detector`."""
        questions: list[tuple[Question, bool] | None] = []
        for frame in frames:
            if frame is None:
                self._reset()
                questions.append(None)
                continue
            voiced = self._webrtc.hears_speech(frame)
            self._unvoiced_frames = 0 if voiced else self._unvoiced_frames + 1
            self._silero.tell(frame)
            if self._unvoiced_frames > HOLD_FRAMES:
                self._silero.sleep()
                questions.append(None)
            else:
                questions.append((self._silero.ask(), voiced))
        judge = self._thresholds.judge
        return Listening(
            self._silero.passages_asked(),
            lambda: [
                judge(asked[0].probability, may_stay=asked[1]) if asked else _NO_SPEECH
                for asked in questions
            ],
        )

    def _reset(self) -> None:
        self._webrtc.reset()
        self._silero.reset()
        self._unvoiced_frames = HOLD_FRAMES


SpeechDetector = WebrtcDetector | SileroDetector | ConfirmedDetector


def judge_together(
    asked: Sequence[tuple[_Detector, Sequence[Samples | None]]],
) -> list[list[Judgement]]:
    """Judge frames of many streams, each by its own detector; see `_Detector.judge`.

    Much cheaper than one after the other: Silero hears all of them at once.
    """
    listening = [detector.listen(frames) for detector, frames in asked]
    hear(passage for each in listening for passage in each.passages)
    return [each.judgements() for each in listening]


def create_speech_detector(settings: Settings) -> SpeechDetector:
    """A fresh detector for one stream, as `speech_detector` asks."""
    thresholds = Thresholds(settings.silero_enter, settings.silero_stay, settings.silero_sure)
    if settings.speech_detector == "webrtc":
        return WebrtcDetector(settings.webrtc_mode)
    # loaded with the first detector, not with the first word
    silero_session()
    if settings.speech_detector == "silero":
        return SileroDetector(thresholds)
    return ConfirmedDetector(settings.webrtc_mode, thresholds)
