"""The live page in a real browser, against the real server."""

from __future__ import annotations

import asyncio
import re
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser, Tab, running_chromium
from serving import Served, reference, sample, serving
from websockets.sync.client import connect

from realtime_ser.config import Settings
from realtime_ser.recognizer import Recognizer
from realtime_ser.samples import sample_path

TOKEN = "0123456789abcdef"
RATE_HZ = 16_000
HEARD_FROM_S = 25
"""Of the demo, for the microphone: its last two utterances."""

ROWS = """[...document.querySelectorAll('#transcript li')].map((row) => ({
    ...row.dataset, said: row.querySelector('.said').textContent,
    text: row.querySelector('.text')?.textContent ?? null,
}))"""
NAMED_ROLES = ("button", "combobox", "textbox", "image", "img")
STATUS = "document.querySelector('#status-text').textContent"
PROBLEM = "document.querySelector('#problem-text')"
DONE = f"{STATUS}.startsWith('done')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose microphone hears the end of the demo, once each time it is opened."""
    folder = tmp_path_factory.mktemp("browser")
    with wave.open(str(folder / "microphone.wav"), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(spoken().astype("<i2").tobytes())
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}%noloop",
    )
    with running_chromium(folder / "profile", flags) as browser:
        yield browser


def spoken() -> np.ndarray:
    return sample("demo")[HEARD_FROM_S * RATE_HZ :]


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    """What is served by default, without transcripts."""
    with Recognizer(asr="off", threads=1) as recognizer:
        yield recognizer


@pytest.fixture
def writing_recognizer(small_bundle: Path, whisper_folder: Path) -> Iterator[Recognizer]:
    """A small one with transcripts."""
    with Recognizer(bundle=str(small_bundle), asr=str(whisper_folder), threads=1) as recognizer:
        yield recognizer


def on_page(
    browser: Browser, recognizer: Recognizer, act: Callable[[Tab, Served], None], **settings: Any
) -> None:
    """Serve, open the page, and act on it; its console must have nothing to complain of."""

    def drive(served: Served) -> None:
        with browser.tab() as tab:
            tab.open(served.page)
            act(tab, served)
            assert tab.failures == []

    async def scenario() -> None:
        async with serving(recognizer, **settings) as served:
            await asyncio.to_thread(drive, served)

    asyncio.run(scenario())


def finals(recognizer: Recognizer, samples: np.ndarray) -> list[dict[str, Any]]:
    events = reference(recognizer, samples, RATE_HZ)
    return [event for event in events if event["type"] == "emotion.final"]


def assert_rows_tell(rows: list[dict[str, str]], expected: list[dict[str, Any]]) -> None:
    """Every final is on the page, with its confidence and its evidence; abstentions unlabelled."""
    assert len(expected) > 0
    assert [row["utterance"] for row in rows] == [str(final["utterance_id"]) for final in expected]
    for row, final in zip(rows, expected, strict=True):
        assert row["final"] == "true"
        assert row["label"] == final["emotion"]["top"]
        assert row["abstained"] == str(final["abstained"]).lower()
        assert float(row["startMs"]) == final["audio_start_ms"]
        assert float(row["confidence"]) == pytest.approx(final["confidence"], abs=2e-5)
        assert f"{final['speech_seconds']:.1f} s heard" in row["said"]
        assert " % confident" in row["said"]
        assert (row["label"] in row["said"]) is not final["abstained"]


def test_a_dropped_recording_gives_what_the_file_command_gives(
    browser: Browser, recognizer: Recognizer
) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.evaluate("document.querySelector('#pace').value = 'fast'")
        tab.drop_file(sample_path("demo"))
        tab.wait_for(DONE)
        assert_rows_tell(tab.evaluate(ROWS), finals(recognizer, sample("demo")))
        # each panel shows something, and says it to those who do not see it
        assert "Valence" in tab.evaluate("document.querySelector('#plane').ariaLabel")
        assert " %" in tab.evaluate("document.querySelector('#mood').textContent")
        assert " ms" in tab.evaluate("document.querySelector('#wait').textContent")
        assert " confident" in tab.evaluate("document.querySelector('#announcer').textContent")
        assert tab.evaluate("document.querySelectorAll('#bars li').length") == 7
        assert is_painted(tab)

    on_page(browser, recognizer, act)


def is_painted(tab: Tab) -> bool:
    """Whether the time line has more than the colours of its axes."""
    return bool(
        tab.evaluate(
            "(() => { const c = document.querySelector('#timeline');"
            "const picture = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
            "return new Set(new Uint32Array(picture.data.buffer)).size > 20; })()"
        )
    )


def test_a_chosen_recording_shows_its_words(
    browser: Browser, writing_recognizer: Recognizer
) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.evaluate("document.querySelector('#pace').value = 'fast'")
        tab.choose_file("#file", sample_path("short"))
        tab.wait_for(DONE)
        rows = tab.evaluate(ROWS)
        assert_rows_tell(rows, finals(writing_recognizer, sample("short")))
        assert [row["text"] for row in rows] == ["hello there"]
        assert "voice and words" in rows[0]["said"]

    on_page(browser, writing_recognizer, act)


def test_what_is_done_is_shown_in_a_tab_that_is_given_no_frames(
    browser: Browser, recognizer: Recognizer
) -> None:
    """As one in the background is; and "done" is never read before what it is said of."""

    def act(tab: Tab, served: Served) -> None:
        tab.evaluate("window.requestAnimationFrame = () => 0")
        tab.evaluate("document.querySelector('#pace').value = 'fast'")
        tab.choose_file("#file", sample_path("short"))
        tab.wait_for(DONE)
        assert_rows_tell(tab.evaluate(ROWS), finals(recognizer, sample("short")))

    on_page(browser, recognizer, act)


def test_the_words_so_far_are_shown_until_there_are_the_last_ones(
    browser: Browser, small_bundle: Path, whisper_folder: Path
) -> None:
    def act(tab: Tab, served: Served) -> None:
        running = "document.querySelector('#transcript .running')"
        tab.evaluate("document.querySelector('#pace').value = 'silent'")
        tab.choose_file("#file", sample_path("demo"))
        tab.wait_for(running)
        assert tab.evaluate(f"{running}.textContent") == "hello there …"
        tab.click("#stop")
        tab.wait_for(DONE)
        assert {row["text"] for row in tab.evaluate(ROWS)} == {"hello there"}

    settings = Settings(
        bundle=str(small_bundle),
        asr=str(whisper_folder),
        threads=1,
        partial_transcripts=True,
        hangover_ms=5000,  # time for them however busy the machine is
    )
    with Recognizer(settings) as recognizer:
        on_page(browser, recognizer, act)


def test_the_microphone_is_heard_as_the_recording(browser: Browser, recognizer: Recognizer) -> None:
    expected = finals(recognizer, spoken())
    assert len(expected) == 2

    def act(tab: Tab, served: Served) -> None:
        tab.click("#listen")
        tab.wait_for("document.querySelectorAll('#transcript [data-final=true]').length === 2")
        tab.click("#stop")
        tab.wait_for(DONE)
        rows = tab.evaluate(ROWS)
        assert len(rows) == len(expected)
        for row, final in zip(rows, expected, strict=True):
            # When and how long it was heard tells a sound at the right rate and level. Not which
            # emotion: a busy browser's device loses milliseconds, with which a close call turns.
            assert float(row["startMs"]) == pytest.approx(final["audio_start_ms"], abs=500)
            heard_s = float(re.search(r"([\d.]+) s heard", row["said"])[1])
            assert heard_s == pytest.approx(final["speech_seconds"], abs=0.4)

    on_page(browser, recognizer, act)


def test_three_seconds_get_one_answer(browser: Browser, recognizer: Recognizer) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.click("#take")
        tab.wait_for(DONE)
        rows = tab.evaluate(ROWS)
        assert [row["final"] for row in rows] == ["true"]
        assert tab.evaluate("document.querySelector('#clock').textContent") == "0:03"

    on_page(browser, recognizer, act)


def test_a_token_is_asked_for_and_taken(browser: Browser, recognizer: Recognizer) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.evaluate("document.querySelector('#pace').value = 'fast'")
        tab.choose_file("#file", sample_path("short"))
        tab.wait_for("document.activeElement.id === 'token'")
        assert "asks for a token" in tab.evaluate(f"{PROBLEM}.textContent")
        tab.type("f" * 16)
        tab.press_enter()
        tab.wait_for(f"{PROBLEM}.textContent.includes('does not know that token')")
        tab.evaluate("document.querySelector('#token').select()")
        tab.type(TOKEN)
        tab.press_enter()
        tab.wait_for(DONE)
        assert tab.evaluate(f"{PROBLEM}.checkVisibility()") is False
        assert_rows_tell(tab.evaluate(ROWS), finals(recognizer, sample("short")))

    on_page(browser, recognizer, act, token=TOKEN)


def test_a_full_server_says_so(browser: Browser, recognizer: Recognizer) -> None:
    def act(tab: Tab, served: Served) -> None:
        with connect(served.address) as other:
            other.recv()
            tab.choose_file("#file", sample_path("short"))
            tab.wait_for(f"{PROBLEM}.checkVisibility()")
            text = tab.evaluate(f"{PROBLEM}.textContent")
        assert text.startswith("All 1 sessions are taken")
        assert "again in 5 s" in text
        tab.wait_for("document.querySelector('#listen').checkVisibility()")

    on_page(browser, recognizer, act, max_sessions=1)


def test_what_cannot_be_heard_is_said(browser: Browser, recognizer: Recognizer) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.choose_file("#file", Path(__file__))
        tab.wait_for(f"{PROBLEM}.checkVisibility()")
        assert "nothing this browser can decode" in tab.evaluate(f"{PROBLEM}.textContent")
        tab.click("#dismiss")
        assert tab.evaluate(f"{PROBLEM}.checkVisibility()") is False

    on_page(browser, recognizer, act)


def test_a_blocked_microphone_is_said(recognizer: Recognizer, tmp_path: Path) -> None:
    def act(tab: Tab, served: Served) -> None:
        permission = {"name": "microphone"}
        tab.command("Browser.setPermission", permission=permission, setting="denied")
        tab.click("#listen")
        tab.wait_for(f"{PROBLEM}.textContent.includes('microphone is blocked')")
        tab.wait_for("document.querySelector('#listen').checkVisibility()")

    with running_chromium(tmp_path, ["--use-fake-device-for-media-stream"]) as asking:
        on_page(asking, recognizer, act)


def test_it_fits_a_phone_and_names_its_controls(browser: Browser, recognizer: Recognizer) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.resize(360, 740, scheme="dark")
        tab.evaluate("document.querySelector('#pace').value = 'fast'")
        tab.choose_file("#file", sample_path("short"))
        tab.wait_for(DONE)
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        tab.command("Accessibility.enable")
        nodes = tab.command("Accessibility.getFullAXTree")["nodes"]
        controls = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in NAMED_ROLES
        ]
        assert {"Listen", "Record 3 s", "Open a file"} <= {name for _, name in controls}
        assert all(name for _, name in controls), controls

    on_page(browser, recognizer, act)


def test_all_of_it_comes_from_the_server(browser: Browser, recognizer: Recognizer) -> None:
    def act(tab: Tab, served: Served) -> None:
        tab.wait_for("document.querySelector('#verdict').textContent === 'Ready'")
        loaded = tab.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert any(address.endswith("/app.js") for address in loaded)
        assert all(address.startswith(served.page) for address in loaded), loaded

    on_page(browser, recognizer, act)
