"""A real headless Chromium, driven over its DevTools protocol.

WebSockets and JSON are all that takes (chromedevtools.github.io/devtools-protocol), so no driver
has to be installed that fits the browser's version.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)
_ANSWER_S = 120.0


class Tab:
    """One page. All waiting is for conditions, inside of the page."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.failures: list[str] = []
        """What the page's console calls errors, and exceptions that nobody caught."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a DevTools command, and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._devtools.send(json.dumps(message))
        while True:
            answer = json.loads(self._devtools.recv(timeout=_ANSWER_S))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.failures.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.failures.append(parameters["entry"]["text"])

    def open(self, address: str) -> None:
        """Go to a page, and wait for its scripts to have run."""
        self.command("Page.navigate", url=address)
        self.wait_for(
            f"location.href.startsWith({address!r}) && document.readyState === 'complete'"
        )

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise's once it is settled."""
        result = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = 60.0) -> None:
        """Wait until an expression in the page is true."""
        happened = self.evaluate(
            "new Promise((resolve) => { const until = performance.now() + "
            f"{1000 * timeout_s}; const look = () => ({condition}) ? resolve(true) : "
            "performance.now() > until ? resolve(false) : setTimeout(look, 50); look(); })"
        )
        assert happened, f"not so within {timeout_s:g} s: {condition}; {self.evaluate(_SUMMARY)}"

    def click(self, selector: str) -> None:
        """Click on the middle of an element, as a mouse does."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView("
            "{block: 'center'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def choose_file(self, selector: str, file: Path) -> None:
        """Choose a file in a file field."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        field = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=field, files=[str(file)])

    def drop_file(self, file: Path) -> None:
        """Drag a file in from outside, and drop it on the page."""
        dragged = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, x=200, y=300, data=dragged)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.command("Input.insertText", text=text)

    def press_enter(self) -> None:
        """Press the Enter key."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.command("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.command("Input.dispatchKeyEvent", type="keyUp", **key)

    def resize(self, width: int, height: int, *, scheme: str = "light") -> None:
        """Show the page at a size in CSS pixels, in light or dark."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.command(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def screenshot(self, file: Path) -> None:
        """Write all of the page to a PNG, not just what fits the window."""
        picture = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))


_SUMMARY = "document.body.innerText.slice(0, 600)"


@dataclass(frozen=True)
class Browser:
    """A running browser."""

    address: str

    @contextlib.contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new tab, closed in the end."""
        with connect(self.address, max_size=None) as devtools:
            tab = Tab(devtools)
            yield tab
            tab.command("Page.close")


@contextlib.contextmanager
def running_chromium(folder: Path, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser; skips where none is installed.

    Args:
        folder: for its profile.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    command = [program, *_FLAGS, f"--user-data-dir={folder}", *flags]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # root has no sandbox to give; the page is our own
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr)
            address = next((line.split()[-1] for line in lines if "listening on" in line), None)
            assert address, "Chromium did not start"
            # what it goes on to say has to be taken, or it would wait for that in the end
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Browser(address)
        finally:
            process.terminate()
            process.wait()
