"""Which spectra a training view of a recording is made of: everything that is a choice of rows.

A view is what the product might cut: the utterance with edges that no detector finds twice, or 1 to
4 s from anywhere in it (what a partial estimate is asked about), faster or slower, starting at any
of the 5 ms that the cache knows. Sometimes two utterances of one person and one label follow each
other: the corpora's clips last 2 to 3 s, and people speak for longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..training.corpora import Clip
from .audio_cache import POST_ROLL_SAMPLES, PRE_ROLL_SAMPLES
from .front_end import SAMPLE_RATE_HZ
from .settings import ViewSettings
from .spectra_cache import STEP_SAMPLES, SpectraCache

Rows = NDArray[np.int64]

ROWS_PER_SECOND = SAMPLE_RATE_HZ // STEP_SAMPLES
FRAMES_PER_SECOND = 100
SHORTEST_FRAMES = FRAMES_PER_SECOND // 2
LONGEST_FRAMES = 9 * FRAMES_PER_SECOND // 2
LONGEST_JOINED_FRAMES = 6 * FRAMES_PER_SECOND
_ROWS_PER_FRAME = ROWS_PER_SECOND // FRAMES_PER_SECOND
_PRE_ROLL_ROWS = PRE_ROLL_SAMPLES // STEP_SAMPLES
_POST_ROLL_ROWS = POST_ROLL_SAMPLES // STEP_SAMPLES


class Views:
    """Draws views of the recordings in `spectra`; `clips[i]` says what recording i is."""

    def __init__(
        self,
        clips: Sequence[Clip],
        spectra: SpectraCache,
        indices: NDArray[np.int64],
        settings: ViewSettings,
    ) -> None:
        self.spectra, self.settings = spectra, settings
        alike = defaultdict(list)
        for index in indices:
            alike[clips[index].speaker, clips[index].label].append(int(index))
        self._alike = {i: others for others in alike.values() for i in others}

    def utterance(self, index: int, lead_rows: int = 0, tail_rows: int = 0) -> tuple[int, int]:
        """First and one-past-last row of a recording as the product cuts it, edges moved."""
        offset, end = (int(row) for row in self.spectra.offsets[index : index + 2])
        first, last = (int(row) for row in self.spectra.speech[index])
        start = offset + max(0, first - _PRE_ROLL_ROWS + lead_rows)
        return start, max(start + 1, min(end, offset + last + _POST_ROLL_ROWS + tail_rows))

    def draw(self, index: int, rng: np.random.Generator) -> Rows:
        """One view of a recording: the rows of its frames, int64 [frames]."""
        settings = self.settings
        rows = self._frames(index, rng)
        if rng.random() < settings.join_probability:
            others = self._alike[index]
            follower = others[int(rng.integers(len(others)))]
            return np.concatenate([rows, self._frames(follower, rng)])[:LONGEST_JOINED_FRAMES]
        if rng.random() < settings.window_probability:
            size = int(rng.uniform(1.0, 4.0) * FRAMES_PER_SECOND)
            start = int(rng.integers(0, max(1, len(rows) - size + 1)))
            return rows[start : start + size]
        return rows[:LONGEST_FRAMES]

    def _frames(self, index: int, rng: np.random.Generator) -> Rows:
        settings = self.settings
        shifts = rng.uniform((-0.15, -0.1), (0.25, 0.1)) * ROWS_PER_SECOND
        start, stop = self.utterance(index, int(shifts[0]), int(shifts[1]))
        step = float(_ROWS_PER_FRAME)
        if rng.random() < settings.tempo_probability:
            step *= rng.uniform(settings.slowest, settings.fastest)
        begin = start + rng.uniform(0, _ROWS_PER_FRAME)
        rows = np.arange(begin, stop, step).astype(np.int64)
        if len(rows) < SHORTEST_FRAMES:
            rows = np.resize(rows, SHORTEST_FRAMES)
        return rows
