"""From threads to the event loop, with one wake-up for all that comes at once.

`call_soon_threadsafe` writes to a pipe for each call, and the loop reads each byte of it. With a
hundred streams that is thousands of system calls a second, for messages that wait anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any

_INBOXES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopInbox] = (
    weakref.WeakKeyDictionary()
)


class LoopInbox:
    """Calls that threads want made on one event loop, in their order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # weakly: the inboxes are kept by their loops
        self._loop = weakref.ref(loop)
        self._lock = threading.Lock()
        self._calls: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._woken = False

    def post(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have `call` made on the loop; from any thread. A closed loop makes none."""
        with self._lock:
            self._calls.append((call, arguments))
            is_awake, self._woken = self._woken, True
        loop = self._loop()
        if not is_awake and loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
            self._woken = False
        loop = asyncio.get_running_loop()
        for call, arguments in calls:
            # each by itself: one that fails must not cost the others theirs
            loop.call_soon(call, *arguments)


def inbox_of(loop: asyncio.AbstractEventLoop) -> LoopInbox:
    """The one inbox of `loop`; to be called on it."""
    if loop not in _INBOXES:
        _INBOXES[loop] = LoopInbox(loop)
    return _INBOXES[loop]
