"""Events as JSON Lines."""

from __future__ import annotations

from typing import TextIO

from realtime_ser.core.events import Event
from realtime_ser.core.wire import event_to_json


class JsonLinesSink:
    """Writes each event as one line, at once: what was recognised survives whatever follows."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, event: Event) -> None:
        """Write one event.

        Raises:
            OSError: the disk is full, or the reader of a pipe has gone (BrokenPipeError).
        """
        self._file.write(event_to_json(event) + "\n")
        self._file.flush()
