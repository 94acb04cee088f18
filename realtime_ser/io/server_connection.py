"""One WebSocket of the server, from its handshake to its close."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from realtime_ser.core.events import ErrorEvent
from realtime_ser.core.protocol import CLOSE_POLICY, close_code
from realtime_ser.core.wire import event_to_json
from realtime_ser.io.server_session import ServerSession

_CLEAN_CLOSES = (1000, 1001, 1005)
"""Close codes of a client that is done: nothing was cut off."""


class AcceptedConnection(ServerConnection):
    """One that is known from the moment it is accepted, whether or not a handshake ever comes.

    Browsers open connections that they may want later; a server that stops must not wait for these.

    Args:
        accepted: where it is kept until it is lost.
        arguments, options: of the library's.
    """

    def __init__(self, *arguments: Any, accepted: set[ServerConnection], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._accepted.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._accepted.discard(self)
        super().connection_lost(exc)


class Connection:
    """Joins a WebSocket to a session, as long as both last.

    Args:
        stall_limit_s: a client that takes nothing for so long is dropped.
    """

    def __init__(
        self, websocket: ServerConnection, session: ServerSession, stall_limit_s: float
    ) -> None:
        self._websocket = websocket
        self._session = session
        self._stall_limit_s = stall_limit_s
        self._tasks: list[asyncio.Task[None]] = []
        self._replaced = False
        self.done = asyncio.Event()
        """Set once the session is free for another connection."""

    async def run(self) -> bool:
        """Carry messages until either side ends; whether the client has got all there was."""
        if not self._replaced:
            await self._carry()
        websocket, session = self._websocket, self._session
        has_told_all = not self._replaced and _succeeded(self._tasks[0])
        if not has_told_all and self._client_is_done:
            session.leave(await self._unread())
        self.done.set()
        if self._replaced:
            await _close(websocket, CLOSE_POLICY, "the session was resumed elsewhere")
            return False
        for task in self._tasks:
            fault = None if task.cancelled() else task.exception()
            if fault is not None and not isinstance(fault, ConnectionClosed | TimeoutError):
                raise fault
        if has_told_all:
            await _close(websocket, session.close_code, session.close_reason)
            return websocket.close_code == session.close_code
        # a client that takes nothing would not take part in closing either
        websocket.transport.abort()
        return False

    @property
    def _client_is_done(self) -> bool:
        """Whether the client has closed in good order; the connection may be there for a while."""
        closing = self._websocket.protocol.close_rcvd
        return closing is not None and closing.code in _CLEAN_CLOSES

    async def _unread(self) -> list[str | bytes]:
        """What the client sent before its close frame, and nobody has read yet."""
        unread: list[str | bytes] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                unread.append(await self._websocket.recv())
        return unread

    async def _carry(self) -> None:
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def replace(self) -> None:
        """The client has come back elsewhere: let go of the session."""
        self._replaced = True
        for task in self._tasks:
            task.cancel()

    async def _send(self) -> None:
        """Send what there is; returns after the last event, and raises when nobody takes it."""
        while (event := await self._session.next_event()) is not None:
            async with asyncio.timeout(self._stall_limit_s):
                await self._websocket.send(event_to_json(event))

    async def _receive(self) -> None:
        """Take what comes; raises when the connection ends."""
        session = self._session
        while True:
            await session.has_room()
            message: str | bytes | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(session.idle_limit_s):
                    message = await self._websocket.recv()
            if message is None:
                session.receive_silence()
            else:
                await session.receive(message)


def _succeeded(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None


async def refuse(
    websocket: ServerConnection, code: str, message: str, retry_after_s: float | None = None
) -> None:
    """Say why there is no session, in an `error` event and in the close frame."""
    error = ErrorEvent(
        audio_end=0, code=code, message=message, fatal=True, retry_after_s=retry_after_s
    )
    reason = code if retry_after_s is None else f"{code}; retry after {retry_after_s:g} s"
    with contextlib.suppress(ConnectionClosed):
        await websocket.send(event_to_json(error))
    await _close(websocket, close_code(code), reason)


async def _close(websocket: ServerConnection, code: int, reason: str) -> None:
    """Close, and let pass what the client still sends: its own close frame comes behind that.

    Unread audio would hold it up until the close times out.
    """
    closing = asyncio.create_task(websocket.close(code, reason))
    with contextlib.suppress(ConnectionClosed):
        while True:
            await websocket.recv()
    await closing
