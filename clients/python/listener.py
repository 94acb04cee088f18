"""What the adapters for voice assistants have in common: hearing along, never in the way.

An assistant must not wait, and must not stop, because nobody tells it how its user feels. So audio
is taken without waiting, a server that is not there is tried again and again, and meanwhile there
simply is no line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from realtime_ser_client.backoff import Backoff
from realtime_ser_client.errors import ClientError, ServerError
from realtime_ser_client.events import Event
from realtime_ser_client.prompt import Turn
from realtime_ser_client.session import DEFAULT_URL, Session, connect

_WAITING_BLOCKS = 1000
"""Audio that may wait to be sent, 20 s in blocks of 20 ms; beyond that it is not heard."""
_HOPELESS = ("unauthorized", "invalid_setting")
"""Errors that no other attempt would mend."""


class Listener:
    """One microphone of an assistant.

    Args:
        url: of the server.
        on_event: is awaited with each event of the server.
        on_error: is awaited with what went wrong; after it, another attempt is made, unless the
            token or the settings are wrong.
        backoff: waits between attempts.
        options: of `connect`: token, ssl, settings.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        on_event: Callable[[Event], Awaitable[None]] | None = None,
        on_error: Callable[[ClientError], Awaitable[None]] | None = None,
        backoff: Backoff | None = None,
        **options: Any,
    ) -> None:
        self._url = url
        self._on_event = on_event
        self._on_error = on_error
        self._backoff = backoff or Backoff(0.5, 30.0)
        self._options = options
        self._format: tuple[int, int] | None = None
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._turn = Turn()

    def hear(self, data: bytes, sample_rate_hz: int, channels: int = 1) -> None:
        """Take a block of s16le; the first one opens a session, in the running event loop.

        Audio of another format begins another session.
        """
        if self._format != (sample_rate_hz, channels):
            if self._task is not None:
                self._task.cancel()
            self._format = (sample_rate_hz, channels)
            self._blocks = asyncio.Queue(_WAITING_BLOCKS)
            self._task = asyncio.create_task(
                self._listen(self._blocks, sample_rate_hz, channels), name="realtime-ser"
            )
        with contextlib.suppress(asyncio.QueueFull):
            self._blocks.put_nowait(data)

    def line(self) -> str | None:
        """The line of the turn so far; see `prompt_line`."""
        return self._turn.line()

    def take_line(self) -> str | None:
        """The line of the turn, which ends with this call."""
        return self._turn.take(self._session.sent_ms if self._session else 0.0)

    async def close(self) -> None:
        """Stop listening."""
        task, self._task, self._format = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _listen(
        self, blocks: asyncio.Queue[bytes], sample_rate_hz: int, channels: int
    ) -> None:
        waits_s: Iterator[float] = self._backoff.waits_s()
        while True:
            try:
                async with connect(
                    self._url, sample_rate_hz=sample_rate_hz, channels=channels, **self._options
                ) as session:
                    waits_s = self._backoff.waits_s()
                    await self._follow(session, blocks)
            except ClientError as error:
                if self._on_error is not None:
                    await self._on_error(error)
                if isinstance(error, ServerError) and error.code in _HOPELESS:
                    return
            await asyncio.sleep(next(waits_s))

    async def _follow(self, session: Session, blocks: asyncio.Queue[bytes]) -> None:
        self._session, self._turn = session, Turn()
        sending = asyncio.create_task(_send(session, blocks))
        try:
            async for event in session:
                self._turn.add(event)
                if self._on_event is not None:
                    await self._on_event(event)
        finally:
            if self._session is session:  # not that of another format, which may be there by now
                self._session = None
            sending.cancel()
            await asyncio.wait([sending])


async def _send(session: Session, blocks: asyncio.Queue[bytes]) -> None:
    # the reader hears of what went wrong
    with contextlib.suppress(ClientError):
        while True:
            await session.send(await blocks.get())
