"""The view as it comes out: lines, pictures and escape sequences."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree

import pytest
from rich.console import Console

from realtime_ser.core.events import Event
from realtime_ser.io.terminal import (
    LiveView,
    PlainView,
    body,
    header,
    make_view,
    screenshot_svg,
)
from realtime_ser.io.terminal_widgets import affect_plane, emotion_bars, label_colour
from realtime_ser.io.view_state import ViewState
from realtime_ser.types import Affect, Emotion

SIZES = [(20, 3), (29, 30), (40, 12), (63, 18), (80, 24), (120, 40), (300, 90)]


def folded(events: list[Event]) -> ViewState:
    state = ViewState()
    for event in events:
        state.take(event)
    return state


def text_of(state: ViewState, width: int, height: int) -> list[str]:
    return [header(state, width).plain, *(line.plain for line in body(state, width, height - 1))]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_stage_fits_every_size(conversation: list[Event], width: int, height: int) -> None:
    state = ViewState()
    for event in (None, *conversation):
        if event is not None:
            state.take(event)
        lines = [header(state, width), *body(state, width, height - 1)]
        assert len(lines) <= height
        assert {line.cell_len for line in lines} == {width}


def test_any_size_is_filled_but_never_exceeded(conversation: list[Event]) -> None:
    state = folded(conversation)
    for width in range(12, 140, 3):
        for height in range(2, 50, 3):
            lines = body(state, width, height)
            assert {line.cell_len for line in lines} == {width}, (width, height)
            assert len(lines) <= height
            assert len(lines) == height or height < 12 or width < 30


def test_a_full_size_view_fills_the_screen_and_shows_everything(
    conversation: list[Event],
) -> None:
    lines = text_of(folded(conversation), 80, 24)
    assert len(lines) == 24
    screen = "\n".join(lines)
    for part in (
        "■ ended  0:17  default 0.1.0 · CPU",
        "emotion, final",
        "sad 60%  2.0 s, audio",
        "◆ mood sad V 0.55 A 0.75 D 0.50",
        " 0:01  happy 80%       2.0 s  we won [31m the game",
        " 0:05  unsure 30%      2.0 s  is that so",
        " 0:09  failed          2.0 s  [no transcript]",
        " 0:13  sad 60%         2.0 s  [no transcript]",
        "results are late",
        "last            537        500          2         30          4          1",
        "p50             517        500          2         10          4          1",
    ):
        assert part in screen
    assert "\x1b" not in screen


def test_no_label_stands_without_its_evidence(conversation: list[Event]) -> None:
    # 40 x 16 has no room for the table of latencies nor for the plane; the evidence stays.
    screen = "\n".join(text_of(folded(conversation), 40, 16))
    assert "sad 60%  2.0 s, audio" in screen
    assert "arousal" not in screen
    assert "result after 537 ms" in screen


def test_bars_are_as_long_as_probable_and_marked_by_the_mood(conversation: list[Event]) -> None:
    bars = {line.plain.split()[0]: line.plain for line in emotion_bars(folded(conversation), 40, 4)}
    # 40 columns less the longest label, a space and 5 for the percentage leave 27 for the bar.
    assert bars["sad"].startswith("sad     " + "█" * 13 + "◆" + "██▎·")
    assert bars["sad"].endswith(" 60%")
    assert bars["happy"].startswith("happy   ███▋◆····")


def test_with_too_many_labels_the_likeliest_stay_in_order(conversation: list[Event]) -> None:
    names = [line.plain.split()[0] for line in emotion_bars(folded(conversation), 40, 2)]
    assert len(names) == 2
    assert names[-1] == "sad"


@pytest.mark.parametrize(
    ("affect", "column", "row"),
    [
        (Affect(0, 1, 0.5), 0, 0),
        (Affect(1, 0, 0.5), 29, 9),
        (Affect(0.5, 0.5, 0.5), 15, 5),
        (Affect(1.5, -0.5, 0.5), 29, 9),
    ],
)
def test_the_plane_has_valence_to_the_right_and_arousal_upwards(
    affect: Affect, column: int, row: int
) -> None:
    state = ViewState()
    state.trail.append(affect)
    lines = [line.plain for line in affect_plane(state, 30, 10)]
    assert {len(line) for line in lines} == {30}
    assert lines[row][column] == "●"
    assert sum(line.count("●") for line in lines) == 1


def test_the_trail_leads_from_point_to_point() -> None:
    state = ViewState()
    state.trail.extend([Affect(0.01, 0.95, 0.5), Affect(0.99, 0.95, 0.5)])
    top = affect_plane(state, 30, 10)[0].plain
    assert all(0x2800 < ord(character) <= 0x28FF for character in top[:29])
    assert top[29] == "●"


def test_colours_are_stable_and_known_labels_differ() -> None:
    known = ["angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised", "calm"]
    assert len({label_colour(label) for label in known}) == len(known)
    assert label_colour("Anger") == label_colour("angry")
    assert label_colour("wistful") == "#b3de69"


def test_labels_of_any_bundle_are_drawn(conversation: list[Event]) -> None:
    state = folded(conversation)
    labels = tuple(f"label number {n}" for n in range(30))
    line = state.utterances[-1]
    odd = Emotion(labels, (1 / 30,) * 30)
    state.utterances[-1] = type(line)(line.id, 0.0, emotion=odd, affect=line.affect)
    assert len(text_of(state, 80, 24)) == 24


def live(width: int = 80, height: int = 24, **options: object) -> tuple[LiveView, io.StringIO]:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=True, width=width, height=height, _environ={}, **options
    )
    return LiveView(console), stream


def written(stream: io.StringIO) -> str:
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return text


def test_the_live_view_takes_the_screen_and_gives_it_back(conversation: list[Event]) -> None:
    view, stream = live(color_system="truecolor")
    view.update()
    begun = written(stream)
    assert begun.startswith("\x1b[?1049h")
    assert "\x1b[?25l" in begun
    for event in conversation:
        view.take(event)
    view.update()
    assert "we won" in written(stream)
    view.close()
    ended = written(stream)
    assert ended.index("\x1b[?25h") < ended.index("4 utterances, 6.0 s of speech")
    assert "\x1b[?1049l" in ended
    view.close()
    assert written(stream) == ""


def test_only_what_changed_is_drawn(conversation: list[Event]) -> None:
    view, stream = live(color_system="truecolor")
    for event in conversation[:6]:
        view.take(event)
    view.update()
    written(stream)
    view.update()
    assert written(stream) == ""
    view.take(conversation[6])
    view.update()
    assert written(stream) == ""
    view.take(conversation[7])
    view.update()
    assert 0 < len(written(stream)) < 2000


def test_no_color_means_no_colour(conversation: list[Event]) -> None:
    view, stream = live(no_color=True)
    for event in conversation:
        view.take(event)
    view.update()
    styles = set(re.findall(r"\x1b\[([0-9;]*)m", written(stream)))
    assert styles <= {"0", "", "1", "3", "1;7", "7", "39", "49"}


def test_without_a_terminal_there_is_a_line_a_final(conversation: list[Event]) -> None:
    stream = io.StringIO()
    view = make_view(stream)
    assert isinstance(view, PlainView)
    for event in conversation:
        view.take(event)
        view.update()
    view.close()
    view.close()
    assert stream.getvalue().splitlines() == [
        "# talk.wav: default 0.1.0 · CPU · asr tiny",
        " 0:01  happy      80%  2.0 s  V 0.25 A 0.75    507 ms  we won [31m the game",
        " 0:05  unsure     30%  2.0 s  V 0.35 A 0.75    517 ms  is that so",
        " 0:09  failed          2.0 s                   527 ms  [no transcript]",
        " 0:13  sad        60%  2.0 s  V 0.55 A 0.75    537 ms  [no transcript]",
        "# warning: results are late",
        "# eof after 0:17",
        "# 4 utterances, 6.0 s of speech; 2 by voice and words",
        "# by speech time: happy 33 %, unsure 33 %, sad 33 %",
        "# not analysed: 1 utterance",
        "# end of speech to result: median 517 ms, 95 % 537 ms, hangover 500 ms",
    ]


def test_a_picture_stands_alone(conversation: list[Event]) -> None:
    svg = screenshot_svg(folded(conversation), "realtime-ser", width=80, height=24)
    root = xml.etree.ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "@font-face" not in svg
    assert "url(http" not in svg
    assert "src:" not in svg
    assert svg.count('clip-path="url(#realtime-ser-line-') >= 24
    assert "we&#160;won" in svg
    assert svg == screenshot_svg(folded(conversation), "realtime-ser", width=80, height=24)
