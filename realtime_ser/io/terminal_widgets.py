"""The parts of the terminal view: each a function from state and size to lines of text.

Colour never speaks alone: every colour comes with its label, and every label with the evidence.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from rich.text import Text

from realtime_ser.io.level import FLOOR_DBFS
from realtime_ser.io.view_state import (
    LEDGER_PARTS,
    UtteranceLine,
    ViewState,
    clock,
    compute_ms,
    part_ms,
    percentile,
    printable,
)
from realtime_ser.types import Affect

# From Okabe and Ito's palette (jfly.uni-koeln.de/color), which stays distinct with each of the
# common kinds of colour blindness; blue is lightened so that it can be read on black.
_LABEL_COLOURS = {
    "angry": "#e8602c",
    "disgust": "#009e73",
    "fearful": "#cc79a7",
    "happy": "#f0d442",
    "neutral": "#d8d8d8",
    "sad": "#4f94e8",
    "surprised": "#e69f00",
    "calm": "#56b4e9",
}
_OTHER_NAMES = {
    "anger": "angry",
    "fear": "fearful",
    "joy": "happy",
    "happiness": "happy",
    "sadness": "sad",
    "disgusted": "disgust",
    "surprise": "surprised",
}
_OTHER_COLOURS = ("#56b4e9", "#b3de69", "#bc80bd", "#fb8072", "#80b1d3", "#8dd3c7", "#fdb462")
UNSURE = "#8a8a8a"
"""An abstention: whatever the label would have been, it is not one."""
QUIET = "#9e9e9e"
"""Text that explains; "dim" is unreadable in many terminals."""
WARNING = "#e69f00"
_FAINT = "#6c6c6c"
_FAILED = "#ff5f5f"

_COMPUTED = ("asr", "encoders")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_ROLLING = "◆"

_Cell = tuple[str, str]
"""A character and its style."""


def label_colour(label: str) -> str:
    """The colour of an emotion; a label that nobody has foreseen always gets the same one."""
    name = label.casefold()
    known = _LABEL_COLOURS.get(_OTHER_NAMES.get(name, name))
    return known or _OTHER_COLOURS[zlib.crc32(name.encode()) % len(_OTHER_COLOURS)]


def emotion_bars(state: ViewState, width: int, rows: int) -> list[Text]:
    """A bar per emotion in the bundle's order, marked where the rolling mood stands.

    With more labels than `rows`, the likeliest are kept, in the same order; with many rows, a line
    between them stays free.
    """
    shown = state.current
    emotion = shown.emotion if shown else None
    rolling = state.rolling.emotion if state.rolling else None
    source = emotion or rolling
    if source is None:
        return [Text("no estimate yet", style=_FAINT)]
    now = emotion.as_dict() if emotion else {}
    mood = rolling.as_dict() if rolling else {}
    ranked = sorted(source.labels, key=lambda name: now.get(name, mood.get(name, 0.0)))
    kept = set(ranked[-rows:])
    labels = [name for name in source.labels if name in kept]
    name_width = min(12, max(map(len, labels)))
    bar_width = max(4, width - name_width - 6)
    unsure = bool(shown and shown.abstained)
    bars = [
        _bar(name, now.get(name), mood.get(name), name_width, bar_width, unsure) for name in labels
    ]
    if 2 * len(bars) - 1 > rows:
        return bars
    return [line for bar in bars for line in (bar, Text())][:-1]


def _bar(
    label: str,
    probability: float | None,
    rolling: float | None,
    name_width: int,
    bar_width: int,
    unsure: bool,
) -> Text:
    colour = UNSURE if unsure else label_colour(label)
    cells: list[_Cell] = []
    eighths = round((probability or 0.0) * bar_width * 8)
    full, rest = divmod(eighths, 8)
    bar = ("█" * full + (_EIGHTHS[rest] if rest else ""))[:bar_width]
    marker = None if rolling is None else min(bar_width - 1, int(rolling * bar_width))
    for column in range(bar_width):
        if column == marker:
            cells.append((_ROLLING, f"bold reverse {colour}" if column < full else "bold"))
        elif column < len(bar):
            cells.append((bar[column], colour))
        else:
            cells.append(("·", _FAINT))
    name = f"{printable(label)[:name_width]:<{name_width}} "
    percent = "    -" if probability is None else f"{100 * probability:4.0f}%"
    return Text.assemble((name, label_colour(label)), _joined(cells), percent)


def _joined(cells: Sequence[_Cell]) -> Text:
    """One line of text; neighbours of one style become one run, or a frame costs twice as much."""
    line = Text()
    for style, run in groupby(cells, key=itemgetter(1)):
        line.append("".join(character for character, _ in run), style=style)
    return line


def evidence(state: ViewState) -> Text:
    """The estimate in words, with what it rests on."""
    shown = state.current
    if shown is None:
        return Text("waiting for speech", style=_FAINT)
    basis = f"  {shown.speech_seconds:.1f} s"
    if shown.modalities:
        basis += f", {'+'.join(shown.modalities)}"
    return Text.assemble(_verdict(shown), (basis, QUIET))


def _verdict(line: UtteranceLine) -> Text:
    if line.failed:
        return Text("failed", style=_FAILED)
    if line.emotion is None:
        return Text("…", style=_FAINT)
    if line.abstained:
        return Text(f"unsure {100 * line.confidence:.0f}%", style=UNSURE)
    label = line.emotion.top
    return Text(
        f"{printable(label)} {100 * line.confidence:.0f}%", style=f"bold {label_colour(label)}"
    )


def mood(state: ViewState) -> str:
    """The rolling state in words; empty before there is one."""
    if state.rolling is None:
        return ""
    affect = state.rolling.affect
    return (
        f"{_ROLLING} mood {printable(state.rolling.emotion.top)} V {affect.valence:.2f} "
        f"A {affect.arousal:.2f} D {affect.dominance:.2f}"
    )


_BRAILLE_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_TRAIL_STYLES = ("#4a4a4a", "#666666", "#8c8c8c", "#b8b8b8")


def affect_plane(state: ViewState, width: int, height: int) -> list[Text]:
    """The valence-arousal plane: axes, the trail in braille (2 x 4 dots a cell), the point on top.

    Valence runs to the right and arousal upwards, each 0..1.
    """
    cells = _axes(width, height)
    _draw_trail(cells, list(state.trail), width, height)
    if state.rolling:
        x, y = _place(state.rolling.affect, width, height)
        cells[y][x] = (_ROLLING, "bold")
    if state.trail:
        x, y = _place(state.trail[-1], width, height)
        cells[y][x] = ("●", f"bold {_point_colour(state.current)}")
    return [_joined(row) for row in cells]


def _axes(width: int, height: int) -> list[list[_Cell]]:
    cells: list[list[_Cell]] = [[(" ", "")] * width for _ in range(height)]
    middle_x, middle_y = width // 2, height // 2
    cells[middle_y] = [("─", _FAINT)] * width
    for row in cells:
        row[middle_x] = ("│", _FAINT)
    cells[middle_y][middle_x] = ("┼", _FAINT)

    def write(x: int, y: int, text: str) -> None:
        for offset, character in enumerate(text[: max(0, width - x)]):
            cells[y][x + offset] = (character, _FAINT)

    write(middle_x + 2, 0, "excited")
    write(middle_x + 2, height - 1, "calm")
    if width >= 24:
        write(0, middle_y, "negative ")
        write(width - 9, middle_y, " positive")
    return cells


def _draw_trail(cells: list[list[_Cell]], trail: Sequence[Affect], width: int, height: int) -> None:
    dots: dict[tuple[int, int], int] = {}
    for age in range(len(trail) - 1, 0, -1):
        newer, older = trail[len(trail) - age], trail[len(trail) - age - 1]
        style = _TRAIL_STYLES[max(0, len(_TRAIL_STYLES) - 1 - age // 3)]
        for x, y in _segment(older, newer, width * 2, height * 4):
            place = (x // 2, y // 4)
            dots[place] = dots.get(place, 0) | _BRAILLE_DOTS[y % 4][x % 2]
            cells[place[1]][place[0]] = (chr(0x2800 + dots[place]), style)


def _segment(start: Affect, end: Affect, columns: int, rows: int) -> list[tuple[int, int]]:
    x0, y0 = _place(start, columns, rows)
    x1, y1 = _place(end, columns, rows)
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    return [
        (round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps))
        for step in range(steps + 1)
    ]


def _place(affect: Affect, columns: int, rows: int) -> tuple[int, int]:
    x = min(columns - 1, max(0, int(affect.valence * columns)))
    y = min(rows - 1, max(0, int((1 - affect.arousal) * rows)))
    return x, y


def _point_colour(shown: UtteranceLine | None) -> str:
    if shown is None or shown.emotion is None or shown.abstained:
        return UNSURE
    return label_colour(shown.emotion.top)


def utterance_lines(state: ViewState, width: int, rows: int) -> list[Text]:
    """The latest utterances, newest last, one line each."""
    lines = [_utterance(line, width) for line in list(state.utterances)[-rows:]] if rows else []
    return lines or [Text("nothing said yet", style=_FAINT)]


def _utterance(line: UtteranceLine, width: int) -> Text:
    verdict = _verdict(line)
    verdict.pad_right(max(0, 14 - verdict.cell_len))
    unsure = line.failed or line.abstained or line.emotion is None
    style = UNSURE if unsure or line.emotion is None else label_colour(line.emotion.top)
    if line.text is not None:
        said = Text(printable(line.text), style=style)
    elif line.final:
        said = Text("[no transcript]", style=f"italic {UNSURE}")
    else:
        so_far = f"{printable(line.words_so_far)} " if line.words_so_far else "speaking "
        said = Text(f"{so_far}…", style=f"italic {UNSURE}")
    heard = f" {line.speech_seconds:4.1f} s  " if line.emotion or line.final else " " * 9
    text = Text.assemble((f"{clock(line.start_s):>5}  ", QUIET), verdict, (heard, QUIET), said)
    text.truncate(width, overflow="ellipsis")
    return text


def latency_table(state: ViewState, width: int, rows: int) -> list[Text]:
    """Where the time of the last final went, and percentiles over the session, in ms.

    Where there are `rows` for it, a last line says what the stages cost, hidden or not.
    """
    if not state.ledgers:
        return [Text("no final yet", style=_FAINT)]
    parts = ("total", *LEDGER_PARTS)
    column = max(8, min(12, (width - 8) // len(parts)))
    series = {part: [part_ms(ledger, part) for ledger in state.ledgers] for part in parts}
    work = {part: [compute_ms(ledger, part) for ledger in state.ledgers] for part in _COMPUTED}

    def row(name: str, cells: dict[str, str]) -> Text:
        line = Text.assemble((f"{name:<8}", QUIET))
        for part in parts:
            line.append(f"{cells.get(part, ''):>{column}}", style="bold" if part == "total" else "")
        return line

    def figures(of: dict[str, list[float]], percent: float) -> dict[str, str]:
        return {part: f"{percentile(values, percent):.0f}" for part, values in of.items()}

    table = [
        Text(row("ms", {part: part for part in parts}).plain, style=QUIET),
        row("last", {part: f"{values[-1]:.0f}" for part, values in series.items()}),
        row("p50", figures(series, 50)),
        row("p95", figures(series, 95)),
        row("compute", figures(work, 50)),
    ]
    return table[:rows]


def latency_line(state: ViewState) -> Text:
    """The same in one line."""
    if not state.ledgers:
        return Text("no final yet", style=_FAINT)
    total = [part_ms(ledger, "total") for ledger in state.ledgers]
    return Text(
        f"result after {total[-1]:.0f} ms, p50 {percentile(total, 50):.0f}, "
        f"p95 {percentile(total, 95):.0f}"
    )


_METER_FROM_DBFS = -60.0


def level_meter(state: ViewState, width: int) -> Text:
    """The input level from -60 dB to full scale, with its slowly falling peak."""
    columns = max(4, width - 8)

    def place(level: float) -> int:
        share = 1 - max(_METER_FROM_DBFS, min(0.0, level)) / _METER_FROM_DBFS
        return round(share * columns)

    filled, peak = place(state.level_dbfs), place(state.peak_dbfs)
    cells: list[_Cell] = []
    for column in range(columns):
        share = column / columns
        colour = "#009e73" if share < 0.75 else "#e69f00" if share < 0.92 else "#e8602c"
        if column < filled:
            cells.append(("▮", colour))
        elif column == peak - 1:
            cells.append(("▯", colour))
        else:
            cells.append(("·", _FAINT))
    level = "-" if state.level_dbfs <= FLOOR_DBFS else f"{state.level_dbfs:.0f}"
    return Text.assemble(_joined(cells), (f" {level:>4} dB", QUIET))


def state_word(state: ViewState) -> Text:
    """Listening, speaking or ended."""
    if state.closed is not None:
        return Text("■ ended", style="bold")
    if state.session is None:
        return Text("○ loading models", style=_FAINT)
    if state.speaking:
        return Text("● speaking", style="bold #009e73")
    return Text("○ listening", style="bold")


def machinery(state: ViewState) -> str:
    """What listens: the bundle, what executes it, and the transcription or why there is none."""
    if state.session is None:
        return ""
    bundle = state.session.bundle
    providers = "/".join(name.removesuffix("ExecutionProvider") for name in state.session.providers)
    name = f"{bundle.get('name', '')} {bundle.get('version', '')}".strip()
    return printable(f"{name} · {providers} · asr {state.session.asr}")
