"""Where a command's events go: JSON Lines, files, a live view, or several of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from realtime_ser.core.events import Event
from realtime_ser.errors import ConfigError
from realtime_ser.io.file import AudioFile
from realtime_ser.io.jsonl import JsonLinesSink
from realtime_ser.io.terminal import LiveView, View, screenshot_svg
from realtime_ser.io.view_state import ViewState
from realtime_ser.runtime.ports import AudioBlock

if TYPE_CHECKING:
    from rich.progress import Progress

_LONG_FILE_S = 10.0
"""Shorter files are done before a progress bar could be read."""


class Outputs:
    """Everything that takes the events of a command.

    Args:
        json: JSON Lines on standard output.
        out: JSON Lines into this file.
        save: JSON Lines into a new file of this folder, which is made; `audio_path` then names
            the place for the audio beside it.
        view: for people, on standard output; None where JSON has that.
        screenshot: the last state of the view as an SVG into this file.

    Raises:
        ConfigError: a file cannot be written.
    """

    def __init__(
        self,
        *,
        json: bool,
        out: Path | None,
        save: Path | None,
        view: View | None,
        screenshot: Path | None,
    ) -> None:
        self._view = view
        self._state = view.state if view else ViewState()
        self._closing = contextlib.ExitStack()
        self._sinks = [JsonLinesSink(sys.stdout)] if json else []
        self._picture = self._create(screenshot) if screenshot else None
        self._complaints: list[str] = []
        self._progress: Progress | None = None
        self.audio_path: Path | None = None
        if out is not None:
            self._sinks.append(JsonLinesSink(self._create(out)))
        if save is not None:
            stem = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
            self._make(save)
            self.audio_path = save / f"{stem}.wav"
            self._sinks.append(JsonLinesSink(self._create(save / f"{stem}.jsonl")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._view is not None:
            self._view.close()
        if self._picture is not None:
            self._picture.write(screenshot_svg(self._state, "realtime-ser"))
        self._closing.close()
        for complaint in self._complaints:
            print(complaint, file=sys.stderr)

    def write(self, event: Event) -> None:
        """Pass an event on to all of them."""
        with self._progress_aside():
            for sink in self._sinks:
                sink.write(event)
            if self._view is not None:
                self._view.take(event)
            else:
                self._state.take(event)

    def hear(self, block: AudioBlock) -> None:
        """Show the level of the input."""
        if self._view is not None:
            self._view.hear(block)

    def complain(self, message: str) -> None:
        """A line on standard error; held back while a live view has the screen."""
        if isinstance(self._view, LiveView):
            self._complaints.append(message)
        else:
            print(message, file=sys.stderr)

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
        # standard output is not redirected: it may be a file
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
            self._progress = progress
            task = progress.add_task(file.path.name, total=total_s)
            for block in file:
                yield block
                progress.advance(task, len(block.samples) / block.sample_rate_hz)
        self._progress = None

    @contextlib.contextmanager
    def _progress_aside(self) -> Iterator[None]:
        """Take the progress bar off the terminal while a line is written to it."""
        progress = self._progress if sys.stdout.isatty() else None
        if progress is not None:
            progress.stop()
        yield
        if progress is not None:
            progress.start()

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error

    def _create(self, path: Path) -> TextIO:
        try:
            file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        return self._closing.enter_context(file)
