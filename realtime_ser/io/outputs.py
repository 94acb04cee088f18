"""Where a command's events go: JSON Lines, files, a live view, or several of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from realtime_ser.core.events import Event
from realtime_ser.errors import ConfigError
from realtime_ser.io.file import AudioFile
from realtime_ser.io.jsonl import JsonLinesSink
from realtime_ser.runtime.ports import AudioBlock

_LONG_FILE_S = 10.0
"""Shorter files are done before a progress bar could be read."""


class View(Protocol):
    """Shows a stream to a person."""

    def take(self, event: Event) -> None:
        """Fold an event in."""
        ...

    def hear(self, block: AudioBlock) -> None:
        """Show how loud the input is."""
        ...

    def update(self) -> None:
        """Draw, where it is not drawn at once."""
        ...

    def close(self) -> None:
        """Leave the screen tidy, with a summary."""
        ...


class Outputs:
    """Everything that takes the events of a command.

    Args:
        json: JSON Lines on standard output.
        out: JSON Lines into this file.
        save: JSON Lines into a new file of this folder, which is made; `audio_path` then names
            the place for the audio beside it.
        view: for people; None where JSON has standard output.

    Raises:
        ConfigError: a file cannot be written.
    """

    def __init__(
        self, *, json: bool, out: Path | None, save: Path | None, view: View | None
    ) -> None:
        self._view = view
        self._closing = contextlib.ExitStack()
        self._sinks = [JsonLinesSink(sys.stdout)] if json else []
        self.audio_path: Path | None = None
        if out is not None:
            self._sinks.append(self._open(out))
        if save is not None:
            stem = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
            self._make(save)
            self.audio_path = save / f"{stem}.wav"
            self._sinks.append(self._open(save / f"{stem}.jsonl"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._view is not None:
            self._view.close()
        self._closing.close()

    def write(self, event: Event) -> None:
        """Pass an event on to all of them."""
        for sink in self._sinks:
            sink.write(event)
        if self._view is not None:
            self._view.take(event)

    def hear(self, block: AudioBlock) -> None:
        """Show the level of the input."""
        if self._view is not None:
            self._view.hear(block)

    def update(self) -> None:
        """Draw the view."""
        if self._view is not None:
            self._view.update()

    def with_progress(self, file: AudioFile) -> Iterator[AudioBlock]:
        """The blocks of `file`, with a progress bar where a person waits for a long one."""
        total_s = file.declared_s
        if not sys.stderr.isatty() or total_s is None or total_s < _LONG_FILE_S:
            yield from file
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(file.path.name, total=total_s)
            for block in file:
                yield block
                progress.advance(task, len(block.samples) / block.sample_rate_hz)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error

    def _open(self, path: Path) -> JsonLinesSink:
        try:
            file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        return JsonLinesSink(self._closing.enter_context(file))
