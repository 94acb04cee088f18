"""Silero, a small recurrent network that tells speech from other sounds; many streams at once.

https://github.com/snakers4/silero-vad, version 6, MIT licence (silero_vad/LICENSE). The weights are
those of the file inside faster-whisper. That one hears a single stream, and reads its 1.2 MB of
weights anew for each window. `silero_vad/streams.onnx` is the same network with an axis for
streams, and its convolutions, over one to four positions, as products of matrices with a row for
each position of each window (`realtime_ser_export.graphs.silero` makes it). A window costs 165
microseconds of a core alone, 52 in a batch of 4 and 25 in one of 16; the original 200 in all.
"""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.types import FRAME_SAMPLES, Samples

WINDOW_SAMPLES = 512
CONTEXT_SAMPLES = 64
"""Silero judges 512 samples, and sees the 64 before them."""

STATE_SIZE = 128

_INPUT_SAMPLES = CONTEXT_SAMPLES + WINDOW_SAMPLES
_OVERLAP_SAMPLES = _INPUT_SAMPLES - FRAME_SAMPLES

Floats = NDArray[np.float32]


def _at_rest() -> Floats:
    return np.zeros(STATE_SIZE, np.float32)


@dataclass(slots=True, eq=False)
class Passage:
    """Windows that follow each other in one stream, from the network's state at rest on.

    Attributes:
        windows: those to be heard next, float32 [576] each.
        hidden, cell: the state after all windows that were heard, float32 [128].
        probabilities: of speech, for each window that was heard last, float32 [windows].
    """

    windows: list[Floats] = field(default_factory=list)
    hidden: Floats = field(default_factory=_at_rest)
    cell: Floats = field(default_factory=_at_rest)
    probabilities: Floats = field(default_factory=lambda: np.zeros(0, np.float32))


def hear(passages: Iterable[Passage]) -> None:
    """Have the windows of all `passages` heard; those with as many windows in one run."""
    by_length: dict[int, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_length[len(passage.windows)].append(passage)
    for steps, group in by_length.items():
        windows = np.empty((steps, len(group), _INPUT_SAMPLES), np.float32)
        for column, passage in enumerate(group):
            windows[:, column] = passage.windows
        probabilities, hidden, cell = silero_session().run(
            None,
            {
                "windows": windows,
                "hidden": np.stack([passage.hidden for passage in group])[None],
                "cell": np.stack([passage.cell for passage in group])[None],
            },
        )
        for column, passage in enumerate(group):
            passage.windows = []
            passage.probabilities = probabilities[:, column]
            passage.hidden, passage.cell = hidden[0, column], cell[0, column]


@dataclass(frozen=True, slots=True)
class Question:
    """What Silero was asked of one window; answered once its passage was heard."""

    passage: Passage
    index: int

    @property
    def probability(self) -> float:
        """That it is speech."""
        return float(self.passage.probabilities[self.index])


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
        self._frames: deque[Floats] = deque(maxlen=lead_in_frames + 2)
        self._passage: Passage | None = None
        """None while it sleeps."""
        self._asked: list[Passage] = []

    def reset(self) -> None:
        """Forget the past: the next frame does not follow the last."""
        self._frames.clear()
        self.sleep()

    def tell(self, frame: Samples) -> None:
        """Take the next frame, int16 [480]."""
        if not self._frames:
            self._frames.append(np.zeros(FRAME_SAMPLES, dtype=np.float32))
        self._frames.append(frame * np.float32(1 / 32768))

    def sleep(self) -> None:
        """Drop the state of the network; the next question wakes it with the lead-in."""
        self._passage = None

    def ask(self) -> Question:
        """Ask about the newest frame; once a frame while awake."""
        frames = self._frames
        if self._passage is None:
            self._passage = Passage()
            for index in range(1, len(frames) - 1):
                self._passage.windows.append(_window(frames[index - 1], frames[index]))
        passage = self._passage
        if not self._asked or self._asked[-1] is not passage:
            self._asked.append(passage)
        passage.windows.append(_window(frames[-2], frames[-1]))
        return Question(passage, len(passage.windows) - 1)

    def passages_asked(self) -> list[Passage]:
        """What is to be heard for all questions since the last call; hear it before the next."""
        asked, self._asked = self._asked, []
        return asked


def _window(before: Floats, frame: Floats) -> Floats:
    """The samples that Silero sees when it judges `frame`."""
    return np.concatenate((before[FRAME_SAMPLES - _OVERLAP_SAMPLES :], frame))


@functools.cache
def silero_session() -> Any:
    """The one ONNX session of this process: it keeps no state, every stream brings its own.

    Inputs `windows` float32 [steps, streams, 576], `hidden` and `cell` float32 [1, streams, 128];
    outputs `probabilities` float32 [steps, streams], and the state after the last step.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = Path(__file__).parent / "silero_vad" / "streams.onnx"
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
