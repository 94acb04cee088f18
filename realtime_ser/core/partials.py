"""What is asked while somebody speaks, and may be left out: which of it is still news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from realtime_ser.config import Settings
from realtime_ser.core.events import WarningEvent
from realtime_ser.types import Stage, StageTiming


@dataclass(slots=True)
class PartialSeries:
    """The partial jobs of one kind and one utterance, by their revisions."""

    asked: int = 0
    _newest_told: int = -1

    def next_revision(self) -> int:
        """The number of a job that is being asked."""
        self.asked += 1
        return self.asked - 1

    def is_newest(self, revision: int) -> bool:
        """Whether nothing newer has been asked."""
        return revision == self.asked - 1

    def tell(self, revision: int) -> bool:
        """Note an answer; False when a newer one was told before."""
        if revision <= self._newest_told:
            return False
        self._newest_told = revision
        return True


class TranscriptionBudget:
    """Whether a transcription that may be left out fits in before the next final is due.

    A model that transcribes cannot be interrupted, so a final that comes up meanwhile waits for
    it. Nobody notices as long as both are done when the end of the utterance is decided: a final is
    asked for `speculate_after_ms` into the silence, and due at the end of the hangover. How long a
    transcription takes is what the last one took.
    """

    def __init__(self, settings: Settings) -> None:
        self._spare_s = (settings.hangover_ms - settings.speculate_after_ms) / 1000
        self._last_s = 0.0
        self._complained = False

    def note(self, timings: Sequence[StageTiming]) -> None:
        """Take note of what an answer cost; one without transcription says nothing."""
        spent_s = [
            timing.ended_s - timing.started_s for timing in timings if timing.stage is Stage.ASR
        ]
        if spent_s:
            self._last_s = sum(spent_s)

    @property
    def suffices(self) -> bool:
        """Whether there is time for one, and for the final behind it."""
        return 2 * self._last_s <= self._spare_s

    def complaints(self, audio_end: int) -> list[WarningEvent]:
        """What to do where it does not suffice; said once."""
        if self._complained:
            return []
        self._complained = True
        message = (
            f"words are told in pauses and at the end of utterances only: transcribing takes "
            f"{self._last_s * 1000:.0f} ms here, and finals would have to wait for it; use a "
            "smaller transcription model, a smaller asr_window_s or a longer hangover_ms"
        )
        return [WarningEvent(audio_end=audio_end, code="no_time_for_words", message=message)]
