"""Frame-wise speech decisions to utterances. This file owns the transitions.

Theory
------
Four states:

- IDLE: nothing is going on. Speech in `start_voiced_ms` of the last `start_window_ms` opens an
  utterance; its audio begins `pre_roll_ms` before the first speech frame of that window, but never
  before the end of the last utterance.
- TENTATIVE: an utterance is open but holds less than `min_speech_ms` of sure speech. Nobody has
  been told. If `hangover_ms` of silence come first, it never was: clicks and coughs end here.
  Within `talk_memory_s` of the last utterance likely speech counts too: words follow words.
- ACTIVE: it has been announced, and every announced utterance is ended exactly once.
- PAUSED: `speculate_after_ms` of silence have passed since the last speech frame. This is where
  the final is computed ahead. Speech leads back to ACTIVE, `hangover_ms` of silence to the end.

An utterance's audio ends `speculate_after_ms` after its last speech frame, whatever the hangover:
so what is computed at the pause and what would be computed at the end are the same samples.

At `max_utterance_s` an utterance is cut at the quietest frame since `soft_split_s`, and what
follows the cut goes on as the next utterance without a minimum, being known speech; if no speech
follows the cut, there is no next one. A gap in the audio, or its end, closes what is open.

All durations are rounded up to whole frames.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from realtime_ser.config import Settings
from realtime_ser.types import FRAME_SAMPLES, ClosedBy, Evidence, ms_from_samples, samples_from_ms

FRAME_MS = ms_from_samples(FRAME_SAMPLES)


class State(Enum):
    """Where the segmenter stands."""

    IDLE = auto()
    TENTATIVE = auto()
    ACTIVE = auto()
    PAUSED = auto()


class Signal(Enum):
    """What one frame means to the segmenter; `_signal` tells which."""

    NOTHING = auto()
    ONSET = auto()
    SPEECH = auto()
    ENOUGH_SPEECH = auto()
    PAUSE = auto()
    HANGOVER = auto()
    FULL = auto()
    CLOSED = auto()


class Step(Enum):
    """What a transition does."""

    OPEN = auto()
    ANNOUNCE = auto()
    DROP = auto()
    SUSPEND = auto()
    RESUME = auto()
    END = auto()
    SPLIT = auto()


TRANSITIONS: dict[tuple[State, Signal], tuple[State, Step]] = {
    (State.IDLE, Signal.ONSET): (State.TENTATIVE, Step.OPEN),
    (State.TENTATIVE, Signal.ENOUGH_SPEECH): (State.ACTIVE, Step.ANNOUNCE),
    (State.TENTATIVE, Signal.HANGOVER): (State.IDLE, Step.DROP),
    (State.TENTATIVE, Signal.FULL): (State.IDLE, Step.DROP),
    (State.TENTATIVE, Signal.CLOSED): (State.IDLE, Step.DROP),
    (State.ACTIVE, Signal.PAUSE): (State.PAUSED, Step.SUSPEND),
    (State.ACTIVE, Signal.HANGOVER): (State.IDLE, Step.END),
    (State.ACTIVE, Signal.FULL): (State.ACTIVE, Step.SPLIT),
    (State.ACTIVE, Signal.CLOSED): (State.IDLE, Step.END),
    (State.PAUSED, Signal.SPEECH): (State.ACTIVE, Step.RESUME),
    (State.PAUSED, Signal.ENOUGH_SPEECH): (State.ACTIVE, Step.RESUME),
    (State.PAUSED, Signal.HANGOVER): (State.IDLE, Step.END),
    (State.PAUSED, Signal.FULL): (State.ACTIVE, Step.SPLIT),
    (State.PAUSED, Signal.CLOSED): (State.IDLE, Step.END),
}
"""A pair that is not here changes nothing."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """An utterance is announced. `onset` is its first speech frame, after the pre-roll."""

    start: int
    onset: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The utterance may have ended; if so, it is these samples."""

    start: int
    end: int
    speech_samples: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """It had not ended."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The announced utterance is complete; `speech_end` is where its last speech frame ended."""

    start: int
    end: int
    speech_end: int
    speech_samples: int
    closed_by: ClosedBy


Action = SpeechStarted | SpeechPaused | SpeechResumed | SpeechEnded


@dataclass(slots=True)
class _Frame:
    start: int
    end: int
    evidence: Evidence
    energy: float

    @property
    def is_speech(self) -> bool:
        return self.evidence is not Evidence.NONE


class Segmenter:
    """The state machine of one stream; see the module for its rules."""

    def __init__(self, settings: Settings) -> None:
        self._onset_frames = _whole_frames(settings.start_voiced_ms)
        self._min_speech_frames = _whole_frames(settings.min_speech_ms)
        self._tail_frames = _whole_frames(settings.speculate_after_ms)
        self._hangover_frames = _whole_frames(settings.hangover_ms)
        self._max_frames = _whole_frames(settings.max_utterance_s * 1000)
        self._split_frames = _whole_frames(settings.soft_split_s * 1000)
        self._talk_samples = samples_from_ms(settings.talk_memory_s * 1000)
        self._talk_until = 0
        self._pre_roll_samples = samples_from_ms(settings.pre_roll_ms)
        self._recent: deque[_Frame] = deque(maxlen=_whole_frames(settings.start_window_ms))
        self._state = State.IDLE
        self._earliest_start = 0
        self._begin(0, [])

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def in_utterance(self) -> bool:
        """Whether an utterance is open, announced or not."""
        return self._state is not State.IDLE

    @property
    def speech_samples(self) -> int:
        """Speech in the open utterance so far."""
        return self._speech_frames * FRAME_SAMPLES

    def first_needed_sample(self, position: int) -> int:
        """Audio before this index can never be part of an utterance again."""
        if self.in_utterance:
            return self._start
        window = self._recent[0].start if self._recent else position
        return max(self._earliest_start, window - self._pre_roll_samples)

    def push(self, start: int, end: int, evidence: Evidence, energy: float) -> list[Action]:
        """Take the next frame.

        Args:
            start, end: its samples in the stream.
            evidence: the detector's decision.
            energy: anything that grows with loudness; only used to find the quietest frame.
        """
        frame = _Frame(start, end, evidence, energy)
        if self._state is State.IDLE:
            self._recent.append(frame)
        else:
            self._append(frame)
        actions: list[Action] = []
        # a frame may pass two transitions: opening an utterance that already holds enough speech
        while self._step(self._signal(frame), actions, ClosedBy.SILENCE):
            pass
        return actions

    def close(self, closed_by: ClosedBy, resume_at: int) -> list[Action]:
        """End what is open at a gap or at the end; audio goes on, if it does, at `resume_at`."""
        actions: list[Action] = []
        self._step(Signal.CLOSED, actions, closed_by)
        self._recent.clear()
        self._earliest_start = resume_at
        return actions

    def _signal(self, frame: _Frame) -> Signal:
        if self._state is State.IDLE:
            voiced = sum(recent.is_speech for recent in self._recent)
            # only speech opens: a window that was left half full must not open on a silent frame
            opens = frame.is_speech and voiced >= self._onset_frames
            return Signal.ONSET if opens else Signal.NOTHING
        if len(self._frames) >= self._max_frames:
            return Signal.FULL
        if frame.is_speech:
            in_talk = self._onset < self._talk_until
            counted = self._speech_frames if in_talk else self._sure_frames
            enough = counted >= self._min_speech_frames
            return Signal.ENOUGH_SPEECH if enough else Signal.SPEECH
        if self._silent_frames >= self._hangover_frames:
            return Signal.HANGOVER
        return Signal.PAUSE if self._silent_frames >= self._tail_frames else Signal.NOTHING

    def _step(self, signal: Signal, actions: list[Action], closed_by: ClosedBy) -> bool:
        transition = TRANSITIONS.get((self._state, signal))
        if transition is None:
            return False
        self._state, step = transition
        match step:
            case Step.OPEN:
                self._open()
            case Step.ANNOUNCE:
                actions.append(SpeechStarted(self._start, self._onset))
            case Step.SUSPEND:
                actions.append(SpeechPaused(self._start, self._audio_end(), self.speech_samples))
            case Step.RESUME:
                actions.append(SpeechResumed())
            case Step.END:
                actions.append(self._ended(closed_by))
                self._forget(self._audio_end(), self._frames)
            case Step.DROP:
                self._forget(self._earliest_start, self._frames)
            case Step.SPLIT:
                self._split(actions)
        return True

    def _open(self) -> None:
        frames = list(self._recent)
        while not frames[0].is_speech:
            frames.pop(0)
        start = max(self._earliest_start, frames[0].start - self._pre_roll_samples)
        self._begin(start, frames)

    def _split(self, actions: list[Action]) -> None:
        """Cut at the quietest frame, of equals the latest; what follows is the next utterance."""
        frames = self._frames
        # a cut before the first speech would make an utterance of nothing
        first_speech = next(index for index, frame in enumerate(frames) if frame.is_speech)
        candidates = range(max(self._split_frames, first_speech + 1), len(frames))
        cut = min(reversed(candidates), key=lambda index: frames[index].energy, default=len(frames))
        rest = frames[cut:]
        self._begin(self._start, frames[:cut])
        ended = self._ended(ClosedBy.MAX_LENGTH)
        actions.append(ended)
        if not any(frame.is_speech for frame in rest):
            self._state = State.IDLE
            self._forget(ended.end, rest)
            return
        self._begin(rest[0].start, rest)
        actions.append(SpeechStarted(self._start, self._onset))

    def _begin(self, start: int, frames: list[_Frame]) -> None:
        self._start = start
        self._onset = start
        self._frames: list[_Frame] = []
        self._speech_frames = 0
        self._sure_frames = 0
        self._silent_frames = 0
        for frame in frames:
            self._append(frame)

    def _append(self, frame: _Frame) -> None:
        self._frames.append(frame)
        if frame.is_speech:
            if self._speech_frames == 0:
                self._onset = frame.start
            self._speech_frames += 1
            self._sure_frames += frame.evidence is Evidence.SURE
            self._silent_frames = 0
        else:
            self._silent_frames += 1

    def _audio_end(self) -> int:
        """Where the audio of the open utterance ends: a fixed tail after its last speech."""
        surplus = max(0, self._silent_frames - self._tail_frames)
        return self._frames[len(self._frames) - 1 - surplus].end

    def _ended(self, closed_by: ClosedBy) -> SpeechEnded:
        speech_end = self._frames[len(self._frames) - 1 - self._silent_frames].end
        self._talk_until = speech_end + self._talk_samples
        return SpeechEnded(
            self._start, self._audio_end(), speech_end, self.speech_samples, closed_by
        )

    def _forget(self, earliest_start: int, frames: list[_Frame]) -> None:
        self._earliest_start = earliest_start
        # what was just heard stays in the window, so that the next onset is judged as any other,
        # but for frames that belong to the utterance that ended
        self._recent.clear()
        self._recent.extend(frame for frame in frames if frame.start >= earliest_start)
        self._begin(earliest_start, [])


def _whole_frames(milliseconds: float) -> int:
    return max(1, math.ceil(milliseconds / FRAME_MS))
