"""The client without `await`: the same session, run by a thread of its own.

with realtime_ser_client.sync.connect() as session:
    for block in blocks:
        session.send(block)
        for event in session.received():
            ...
    totals = session.close()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from realtime_ser_client import session as _asyncio
from realtime_ser_client.events import Event, SessionClosed, SessionCreated

_Result = TypeVar("_Result")


def connect(url: str = _asyncio.DEFAULT_URL, **options: Any) -> Session:
    """A session to be opened with `with`; the arguments are those of the asyncio `connect`."""
    return Session(_asyncio.connect(url, **options))


class Session:
    """See the asyncio `Session`: the same methods, and the same errors. Any thread may call."""

    def __init__(self, session: _asyncio.Session) -> None:
        self._session = session
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="realtime-ser-client", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait(self._session.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._wait(self._session.__aexit__(kind, error, trace))
        finally:
            self._stop()

    @property
    def created(self) -> SessionCreated:
        """What the server said at the start: settings, models, hardware."""
        return self._session.created

    @property
    def sent_ms(self) -> float:
        """How much audio `send` has taken, in milliseconds of the stream."""
        return self._session.sent_ms

    def send(self, samples: Any) -> None:
        """Send audio; waits only while the server is more than `buffer_s` behind."""
        self._wait(self._session.send(samples))

    def close(self) -> SessionClosed:
        """Say that no more audio comes, wait until all is told, and return the totals."""
        return self._wait(self._session.close())

    def received(self) -> list[Event]:
        """The events that have come and were not read yet, without waiting."""

        async def received() -> list[Event]:
            return self._session.received()

        return self._wait(received())

    def __iter__(self) -> Self:
        """Every event once, until the session has ended; works after `close`, too."""
        return self

    def __next__(self) -> Event:
        """The next event."""

        async def following() -> Event | None:
            return await anext(self._session, None)

        if (event := self._wait(following())) is None:
            raise StopIteration
        return event

    def _wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the session is not open; use it inside of its `with`")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C came while we waited
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
