"""Estimates as a line that a language model can read."""

from __future__ import annotations

import re

from realtime_ser_client.events import EmotionFinal, EmotionPartial, Event

_LOW, _HIGH = 0.4, 0.6
_LONGEST_LABEL = 32


def prompt_line(estimate: EmotionFinal | EmotionPartial) -> str | None:
    """`[speaker: angry, 0.71; arousal high; 3.2 s heard]`, or None when there is nothing to say.

    The number is the probability that the label is right, as calibrated by the server. Arousal is
    low below 0.4 and high above 0.6. The line has no brackets or line breaks inside of it, whatever
    the labels of the server's model are.

    Returns:
        None when the recognizer abstained or failed: a guess in the prompt is worse than none.
    """
    if estimate.abstained or estimate.emotion is None or estimate.affect is None:
        return None
    label = re.sub(r"[^\w /-]+", " ", estimate.emotion.top)[:_LONGEST_LABEL].strip()
    if not label:
        return None
    arousal = estimate.affect.arousal
    level = "low" if arousal < _LOW else "high" if arousal > _HIGH else "medium"
    return (
        f"[speaker: {label}, {estimate.confidence:.2f}; arousal {level}; "
        f"{estimate.speech_seconds:.1f} s heard]"
    )


class Turn:
    """What was heard since somebody else spoke last: joins estimates to an assistant's turns.

    An assistant decides by itself when the user's turn is over, and often before the server has
    ended the utterance. So the line is that of the newest estimate so far, a partial if there is no
    final yet; and what still comes of the turn that was taken is not held for the next one's.
    """

    def __init__(self) -> None:
        self._estimates: dict[int, EmotionFinal | EmotionPartial] = {}
        """The newest of each utterance."""
        self._taken_ms = 0.0

    def add(self, event: Event) -> None:
        """Take note of an event; those that are no estimates do not matter."""
        if not isinstance(event, EmotionFinal | EmotionPartial):
            return
        spoken_ms = event.speech_end_ms if isinstance(event, EmotionFinal) else event.audio_end_ms
        if spoken_ms <= self._taken_ms:
            return
        before = self._estimates.get(event.utterance_id)
        if not (isinstance(before, EmotionFinal) and isinstance(event, EmotionPartial)):
            self._estimates[event.utterance_id] = event

    def line(self) -> str | None:
        """The line of the newest utterance that has one; None when none has."""
        for _, estimate in sorted(self._estimates.items(), reverse=True):
            if (line := prompt_line(estimate)) is not None:
                return line
        return None

    def take(self, heard_ms: float) -> str | None:
        """End the turn.

        Args:
            heard_ms: how much audio had been sent by now; see `Session.sent_ms`.

        Returns:
            Its line.
        """
        line = self.line()
        self._estimates.clear()
        self._taken_ms = max(self._taken_ms, heard_ms)
        return line
