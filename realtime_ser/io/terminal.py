"""The live view in a terminal, its plain form for pipes, and its picture.

    view = make_view(sys.stdout, plain=False)
    view.take(event); view.hear(block)      # as they come
    view.update()                           # about ten times a second
    view.close()                            # always: leaves the screen and prints the summary

Nothing runs by itself: no thread, no timer. The screen is drawn in `update` alone.
"""

from __future__ import annotations

import io
import re
from typing import Protocol, TextIO

from rich.console import Console
from rich.control import Control
from rich.text import Text

from realtime_ser.core.events import (
    EmotionFinal,
    ErrorEvent,
    Event,
    SessionClosed,
    SessionCreated,
    WarningEvent,
)
from realtime_ser.io import terminal_widgets as widgets
from realtime_ser.io.view_state import UtteranceLine, ViewState, clock, printable, summary_lines
from realtime_ser.runtime.ports import AudioBlock

_FRAME = "#5f5f5f"
_BEHIND_MS = 1500.0
"""A result of a healthy stream comes with the hangover, half a second; this is late."""

_BOXES_FROM_COLUMNS, _BOXES_FROM_ROWS = 30, 12
_PLANE_FROM_COLUMNS = 64
_TABLE_FROM_COLUMNS, _TABLE_FROM_ROWS = 58, 21
_COMPUTE_FROM_ROWS = 27


class View(Protocol):
    """Shows a stream to a person."""

    state: ViewState

    def take(self, event: Event) -> None:
        """Fold an event in."""
        ...

    def hear(self, block: AudioBlock) -> None:
        """Take the level of the input."""
        ...

    def update(self) -> None:
        """Draw what has changed."""
        ...

    def close(self) -> None:
        """Leave the screen tidy, and print the summary."""
        ...


def make_view(stream: TextIO, *, plain: bool = False) -> View:
    """The live view where `stream` is a terminal that can show it, the plain one elsewhere."""
    console = Console(file=stream)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainView(stream)
    return LiveView(console)


class LiveView:
    """Full-screen view; see the module for how to drive it.

    Only lines that changed are written, in one write: nothing flickers, and a frame in which only
    the input level moved costs next to nothing. rich's own Live, Layout and Panel draw everything
    anew, three times over: a tenth of a core at ten frames a second.
    """

    def __init__(self, console: Console) -> None:
        self.state = ViewState()
        self._console = console
        self._on_screen: list[Text] | None = None
        self._size = (0, 0)
        self._body: list[Text] = []
        self._body_is_stale = True
        self._closed = False

    def take(self, event: Event) -> None:
        """Fold an event in; drawn at the next `update`."""
        self.state.take(event)
        self._body_is_stale = True

    def hear(self, block: AudioBlock) -> None:
        """Take the level of the input."""
        self.state.hear(block)

    def update(self) -> None:
        """Draw the state in the terminal's present size."""
        console = self._console
        width, height = console.size
        with console:
            if self._on_screen is None:
                # The alternate screen survives a resize without debris.
                console.set_alt_screen(True)
                console.show_cursor(False)
            if self._on_screen is None or (width, height) != self._size:
                console.control(Control.clear())
                self._size = (width, height)
                self._on_screen = []
                self._body_is_stale = True
            if self._body_is_stale:
                self._body = body(self.state, width, height - 1)
                self._body_is_stale = False
            lines = [header(self.state, width), *self._body]
            for row, line in enumerate(lines):
                if self._on_screen[row : row + 1] != [line]:
                    console.control(Control.move_to(0, row))
                    console.print(line, end="", no_wrap=True, crop=False)
            self._on_screen = lines

    def close(self) -> None:
        """Give the screen back and print the summary; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._on_screen is not None:
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
        for line in summary_lines(self.state):
            self._console.print(Text(line))


class PlainView:
    """One line per final, no control characters: for pipes, logs and dumb terminals."""

    def __init__(self, stream: TextIO) -> None:
        self.state = ViewState()
        self._stream = stream
        self._closed = False

    def take(self, event: Event) -> None:
        """Print finals, warnings, and the beginning and end of the stream."""
        self.state.take(event)
        match event:
            case SessionCreated():
                self._print(f"# {printable(event.session_id)}: {widgets.machinery(self.state)}")
            case EmotionFinal():
                self._print(self._final(event))
            case WarningEvent():
                self._print(f"# warning: {printable(event.message)}")
            case ErrorEvent():
                self._print(f"# error: {printable(event.message)}")
            case SessionClosed():
                self._print(f"# {event.reason} after {clock(event.audio_seconds)}")

    def hear(self, block: AudioBlock) -> None:
        """Count what was lost."""
        self.state.hear(block)

    def update(self) -> None:
        """Nothing: lines are printed as they come."""

    def close(self) -> None:
        """Print the summary, once; warnings were printed when they came."""
        if not self._closed:
            self._closed = True
            for line in summary_lines(self.state, messages=False):
                self._print(f"# {line}")

    def _final(self, event: EmotionFinal) -> str:
        line = next(line for line in self.state.utterances if line.id == event.utterance_id)
        wait = f"{event.timings.end_of_speech_to_emit:5.0f} ms" if event.timings else "    - ms"
        text = "[no transcript]" if line.text is None else printable(line.text)
        return f"{clock(line.start_s):>5}  {_plain_verdict(line):<36}  {wait}  {text}"

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _plain_verdict(line: UtteranceLine) -> str:
    heard = f"{line.speech_seconds:4.1f} s"
    if line.emotion is None or line.affect is None:
        return f"{'failed':<14} {heard}"
    label = "unsure" if line.abstained else printable(line.emotion.top)
    verdict = f"{label:<9} {100 * line.confidence:3.0f}%"
    return f"{verdict} {heard}  V {line.affect.valence:.2f} A {line.affect.arousal:.2f}"


def body(state: ViewState, width: int, height: int) -> list[Text]:
    """All below the header: at most `height` lines of `width` characters.

    What has no room is left out: first the latency table, then the plane, then the bars.
    """
    if height < _BOXES_FROM_ROWS or width < _BOXES_FROM_COLUMNS:
        lines = [widgets.evidence(state)]
        lines += widgets.utterance_lines(state, width, height - 1)
        return [_cut(line, width) for line in lines[:height]]
    table = width >= _TABLE_FROM_COLUMNS and height >= _TABLE_FROM_ROWS
    latency_rows = (5 if height >= _COMPUTE_FROM_ROWS else 4) if table else 1
    bars = _bar_rows(state, height - latency_rows)
    if width >= _PLANE_FROM_COLUMNS:
        left = max(38, width * 2 // 5)
        now = [
            beginning.append_text(end)
            for beginning, end in zip(
                _emotion(state, left, bars), _affect(state, width - left, bars), strict=True
            )
        ]
    else:
        now = _emotion(state, width, bars)
    latency = _latency(state, width, latency_rows)
    return [*now, *_utterances(state, width, height - len(now) - len(latency) - 2), *latency]


def _bar_rows(state: ViewState, rows: int) -> int:
    """How many bars: all labels, while at least three utterances stay in sight."""
    shown = state.current
    labels = len(shown.emotion.labels) if shown and shown.emotion else 7
    tall = max(labels, min(2 * labels - 1, rows // 2 - 4))
    return max(3, min(tall, rows - 10))


def header(state: ViewState, width: int) -> Text:
    """The first line: what happens, when, by what, and how loud it is."""
    line = Text.assemble(widgets.state_word(state), (f"  {clock(state.position_s)}", "bold"))
    if state.lag_ms is not None and state.lag_ms > _BEHIND_MS and state.closed is None:
        line.append(f"  {state.lag_ms / 1000:.1f} s behind", style=f"bold {widgets.WARNING}")
    if state.losses:
        line.append(f"  lost {state.lost_seconds:.2f} s", style=f"bold {widgets.WARNING}")
    line.append(f"  {widgets.machinery(state)}", style=widgets.QUIET)
    meter_width = min(30, width - 46)
    if meter_width < 14:
        return _cut(line, width)
    return _cut(line, width - meter_width - 1).append_text(
        Text.assemble(" ", widgets.level_meter(state, meter_width))
    )


def _emotion(state: ViewState, width: int, bars: int) -> list[Text]:
    lines = widgets.emotion_bars(state, width - 4, bars)
    lines += [Text()] * (bars - len(lines))
    shown = state.current
    title = "emotion" if shown is None else "emotion, final" if shown.final else "emotion so far"
    return _box([*lines, widgets.evidence(state)], width, title)


def _affect(state: ViewState, width: int, bars: int) -> list[Text]:
    lines = widgets.affect_plane(state, width - 4, bars + 1)
    mood = Text(widgets.mood(state), style=widgets.QUIET)
    return _box(lines, width, "valence →  arousal ↑", mood)


def _utterances(state: ViewState, width: int, rows: int) -> list[Text]:
    lines = widgets.utterance_lines(state, width - 4, rows)
    lines += [Text()] * (rows - len(lines))
    latest = next(reversed(state.messages.values()), "")
    return _box(lines, width, "utterances", Text(printable(latest), style=widgets.WARNING))


def _latency(state: ViewState, width: int, rows: int) -> list[Text]:
    if rows == 1:
        return _box([widgets.latency_line(state)], width, "latency")
    lines = widgets.latency_table(state, width - 4, rows)
    lines += [Text()] * (rows - len(lines))
    count = len(state.ledgers)
    noun = "final" if count == 1 else "finals"
    return _box(lines, width, f"from end of speech to result, {count} {noun}")


def _box(lines: list[Text], width: int, title: str, subtitle: Text | None = None) -> list[Text]:
    """`lines` in a frame of `width` columns, with words in its upper and lower edge."""
    side = Text("│", style=_FRAME)
    return [
        _edge("╭", Text(title, style=widgets.QUIET), "╮", width),
        *(Text.assemble(side, " ", _cut(line, width - 4), " ", side) for line in lines),
        _edge("╰", subtitle or Text(), "╯", width),
    ]


def _edge(left: str, words: Text, right: str, width: int) -> Text:
    if not words.plain:
        return Text(f"{left}{'─' * (width - 2)}{right}", style=_FRAME)
    words.truncate(width - 5, overflow="ellipsis")
    rest = "─" * (width - 5 - words.cell_len)
    return Text.assemble((f"{left}─ ", _FRAME), words, (f" {rest}{right}", _FRAME))


def _cut(line: Text, width: int) -> Text:
    """`line` in exactly `width` columns."""
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


def screenshot_svg(state: ViewState, title: str, width: int = 100, height: int = 30) -> str:
    """The live view as an SVG picture that needs nothing from elsewhere."""
    console = Console(
        record=True,
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
    )
    for line in (header(state, width), *body(state, width, height - 1)):
        console.print(line, no_wrap=True)
    svg = console.export_svg(title=title, unique_id="realtime-ser")
    # rich links its font from a content delivery network; the family falls back to monospace.
    svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)
    # Some renderers (librsvg) drop the spaces that a run of text begins with unless told not to.
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
