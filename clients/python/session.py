"""The asyncio client: one session over as many connections as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import websockets.asyncio.client
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from realtime_ser_client.backoff import Backoff
from realtime_ser_client.conversation import PING, Conversation
from realtime_ser_client.errors import (
    ClientError,
    ConnectError,
    ConnectionLostError,
    SessionEndedError,
)
from realtime_ser_client.events import Event, SessionClosed, SessionCreated
from realtime_ser_client.samples import pcm_bytes

DEFAULT_URL = "ws://127.0.0.1:8765"

_STREAM_PATH = "/v1/stream"
_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 10.0
_ABORT_TIMEOUT_S = 1.0
_ALIVE_EVERY_S = 20.0
"""A server ends sessions of which it hears nothing, after a minute by default."""
_PONG_TIMEOUT_S = 60.0
"""A pong waits behind audio that the server has yet to take; a false alarm costs a reconnect."""
_LEAST_BUFFER_S = 5.0
_REPLACED = 1008
"""Close code of a session that was resumed on another connection."""


def connect(
    url: str = DEFAULT_URL,
    *,
    token: str | None = None,
    ssl: ssl.SSLContext | None = None,
    encoding: str = "s16le",
    sample_rate_hz: int = 16_000,
    channels: int = 1,
    settings: Mapping[str, Any] | None = None,
    backoff: Backoff | None = None,
    buffer_s: float = 60.0,
) -> Session:
    """A session with the server at `url`, to be opened with `async with`.

    Args:
        url: `ws://` or `wss://`; the path `/v1/stream` may be left out.
        token: where the server asks for one. It is sent in a header, never in the address.
        ssl: for certificates that the system does not trust by itself.
        encoding: of the audio: s16le, f32le, mulaw or alaw.
        sample_rate_hz: 8000 to 192000; the server resamples.
        channels: interleaved; their mean is heard.
        settings: of the session, by name: `{"partials": False, "hangover_ms": 300}`; see
            clients/PROTOCOL.md.
        backoff: waits between attempts to come back after the connection dropped. They go on until
            the server has given the session up (it says so in `resume_grace_s`).
        buffer_s: audio kept until the server has confirmed it; beyond that, `send` waits.

    Raises:
        ValueError: the address cannot be one, or the buffer is too small.
    """
    options = {"encoding": encoding, "sample_rate_hz": sample_rate_hz, "channels": channels}
    return Session(
        url,
        token=token,
        ssl=ssl,
        settings={**options, **(settings or {})},
        backoff=backoff or Backoff(),
        buffer_s=buffer_s,
    )


class Session:
    """See `connect`. Iterate over it for events; what is not read yet is kept.

    One task may send while another reads. A dropped connection is taken up again by itself: no
    event comes twice, and no final is lost. Where the server does not take the session up again,
    what was told is still there to be read, and then `ConnectionLostError` or `ServerError` comes.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        ssl: ssl.SSLContext | None,
        settings: Mapping[str, Any],
        backoff: Backoff,
        buffer_s: float,
    ) -> None:
        if buffer_s < _LEAST_BUFFER_S:
            raise ValueError(f"buffer_s is {buffer_s}; it must be {_LEAST_BUFFER_S:g} or more")
        self._url, asked, url_token = _split_url(url)
        self._token = token or url_token
        self._ssl = ssl
        self._backoff = backoff
        self._buffer_s = buffer_s
        self._conversation = Conversation({**settings, **asked})
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        """None is the end."""
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._websocket: ClientConnection | None = None
        self._closing = False
        self._aborted = False
        self._failure: ClientError | None = None
        self._failure_told = False
        self._waits_s = backoff.waits_s()
        self._lost_s: float | None = None
        """When the connection dropped; None once something new was heard after that."""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectError: there is no server, or it did not let us in.
            ServerError: it refused the session: the token is wrong, it is full, ...
        """
        try:
            websocket = await self._dial()
            await self._open(websocket)
        except BaseException:
            await self._hang_up()
            raise
        self._running = asyncio.create_task(self._run(websocket))
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close as `close` does; after an exception, as `abort` does."""
        try:
            if error is None and not self._failure_told and not self._aborted:
                await self.close()
        finally:
            await self.abort()

    # for the user

    @property
    def created(self) -> SessionCreated:
        """What the server said at the start: settings, models, hardware."""
        created = self._conversation.created
        assert created is not None, "the session was not entered with `async with`"
        return created

    @property
    def sent_ms(self) -> float:
        """How much audio `send` has taken, in milliseconds of the stream."""
        return self._conversation.added_ms

    async def send(self, samples: Any) -> None:
        """Send audio.

        Args:
            samples: bytes in the session's encoding, cut anywhere, or an array of int16 or floats,
                [samples] or [samples, channels]; see `pcm_bytes`.

        Raises:
            SessionEndedError: the session was closed, by us or by the server.
            ServerError, ConnectionLostError: it has failed.
            TypeError, ValueError: this is no audio.
        """
        conversation = self._conversation
        data = pcm_bytes(samples, conversation.encoding, conversation.channels)
        self._require_open()
        conversation.add(data)
        self._to_send.set()
        while conversation.kept_s > self._buffer_s and not self._ended:
            self._room.clear()
            await self._room.wait()

    async def close(self) -> SessionClosed:
        """Say that no more audio comes, and wait until the server has told all there is to tell.

        Returns:
            The totals; again, when it is called again.

        Raises:
            ServerError, ConnectionLostError: the session has failed.
            SessionEndedError: it was aborted.
        """
        if self._aborted:
            raise SessionEndedError("the session was aborted; open a new one")
        self._closing = True
        self._conversation.end_audio()
        self._to_send.set()
        if self._running is not None:
            await asyncio.shield(self._running)
        self._raise_failure()
        closed = self._conversation.closed
        assert closed is not None  # or there would be a failure
        return closed

    async def abort(self) -> None:
        """End the session without waiting for what is still to be told."""
        self._aborted = self._closing = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await self._hang_up()

    def received(self) -> list[Event]:
        """The events that have come and were not read yet, without waiting."""
        events: list[Event] = []
        with contextlib.suppress(asyncio.QueueEmpty):
            while (event := self._events.get_nowait()) is not None:
                events.append(event)
            self._events.put_nowait(None)
        return events

    def __aiter__(self) -> Self:
        """Every event once, until the session has ended."""
        return self

    async def __anext__(self) -> Event:
        """The next event.

        Raises:
            ServerError, ConnectionLostError: after the last event, when the session has failed.
        """
        if (event := await self._events.get()) is not None:
            return event
        self._events.put_nowait(None)
        self._raise_failure()
        raise StopAsyncIteration

    # connections

    @property
    def _ended(self) -> bool:
        return self._running is None or self._running.done() or self._failure is not None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_told = True
            raise self._failure

    def _require_open(self) -> None:
        self._raise_failure()
        if self._closing:
            raise SessionEndedError("the session was closed; open a new one to send more")
        if (closed := self._conversation.closed) is not None:
            raise SessionEndedError(
                f"the server has ended the session ({closed.reason}); open a new one to send more"
            )

    async def _dial(self) -> ClientConnection:
        query = urlencode(self._conversation.query())
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        # by default the library takes the system's certificates, for wss:// alone
        tls: dict[str, Any] = {} if self._ssl is None else {"ssl": self._ssl}
        try:
            self._websocket = await websockets.asyncio.client.connect(
                f"{self._url}?{query}",
                additional_headers=headers,
                compression=None,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=_ALIVE_EVERY_S,
                ping_timeout=_PONG_TIMEOUT_S,
                **tls,
            )
        except InvalidStatus as error:
            body = bytes(error.response.body or b"").decode("utf-8", "replace").strip()
            raise ConnectError(
                f"{self._url} answered {error.response.status_code}: {body[:300] or 'nothing more'}"
            ) from error
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError, ValueError) as error:
            reason = str(error) or "it took too long"
            raise ConnectError(
                f"cannot connect to {self._url}: {reason}; does `realtime-ser serve` run there?"
            ) from error
        return self._websocket

    async def _hang_up(self) -> None:
        if self._websocket is not None:
            try:
                async with asyncio.timeout(_ABORT_TIMEOUT_S):
                    await self._websocket.close()
            except TimeoutError:
                self._websocket.transport.abort()

    async def _open(self, websocket: ClientConnection) -> None:
        """Read until the session is there."""
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                while self._conversation.created is None:
                    self._take(await websocket.recv())
                    if self._conversation.error is not None:
                        raise self._conversation.error
        except TimeoutError:
            raise ConnectError(f"{self._url} accepted the connection, and said nothing") from None
        except ConnectionClosed as error:
            raise ConnectError(f"{self._url} closed the connection: {error}") from error

    async def _run(self, websocket: ClientConnection) -> None:
        try:
            await self._carry(websocket)
            while not self._is_over:
                websocket = await self._come_back()
                await self._carry(websocket)
        except ClientError as error:
            self._failure = error
        finally:
            self._failure = self._failure or self._conversation.error
            self._room.set()
            self._events.put_nowait(None)

    @property
    def _is_over(self) -> bool:
        conversation = self._conversation
        # an error in the midst of a session is followed by what was said before it
        return conversation.closed is not None or (
            conversation.refused and conversation.error is not None
        )

    async def _carry(self, websocket: ClientConnection) -> None:
        """Carry messages until the connection ends, however it does."""
        sending = asyncio.create_task(self._send_to(websocket))
        try:
            while self._conversation.closed is None and not self._conversation.refused:
                self._take(await websocket.recv())
            # the server closes first, or it would keep the session for us to come back to; but it
            # may have stopped to read, and then would wait for our answer behind our audio
            async with asyncio.timeout(_ABORT_TIMEOUT_S):
                await websocket.wait_closed()
        except TimeoutError:
            websocket.transport.abort()
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code == _REPLACED:
                raise ConnectionLostError(
                    f"the server closed the connection: {error.rcvd.reason}"
                ) from error
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _send_to(self, websocket: ClientConnection) -> None:
        """Send what there is, as far ahead as we may; now and then, that we are still here."""
        conversation = self._conversation
        now_s = asyncio.get_running_loop().time
        alive_s = now_s()
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._to_send.clear()
                while (message := conversation.next_message(now_s())) is not None:
                    await websocket.send(message)
                    alive_s = now_s()
                wake_s = alive_s + _ALIVE_EVERY_S
                if (ahead_for_s := conversation.ahead_for_s(now_s())) > 0:
                    wake_s = min(wake_s, now_s() + ahead_for_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(wake_s):
                        await self._to_send.wait()
                if now_s() >= alive_s + _ALIVE_EVERY_S and conversation.is_kept_alive:
                    await websocket.send(PING)
                    alive_s = now_s()

    def _take(self, message: str | bytes) -> None:
        before = self._conversation.progress
        event = self._conversation.receive(message)
        if self._conversation.progress != before:
            self._lost_s = None
        if event is not None:
            self._events.put_nowait(event)
        if self._conversation.created and self._conversation.kept_s <= self._buffer_s:
            self._room.set()
        self._to_send.set()

    async def _come_back(self) -> ClientConnection:
        """A new connection for the session that has lost its own."""
        now_s = asyncio.get_running_loop().time
        if self._lost_s is None:
            self._lost_s, self._waits_s = now_s(), self._backoff.waits_s()
        give_up_s = self._lost_s + self._conversation.resume_grace_s
        while True:
            await asyncio.sleep(next(self._waits_s))
            reason = "it drops each time"
            try:
                websocket = await self._dial()
                if now_s() <= give_up_s:
                    return websocket
            except ConnectError as error:
                reason = str(error)
            if now_s() > give_up_s:
                raise ConnectionLostError(
                    f"the connection dropped, and the server has given the session up: {reason}"
                )


def _split_url(url: str) -> tuple[str, dict[str, str], str | None]:
    """The address without its query, the settings in the query, and the token in it.

    Raises:
        ValueError: it is no address of a WebSocket.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a server; it looks like {DEFAULT_URL}")
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    token = settings.pop("token", None)
    path = _STREAM_PATH if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc, path, "", "")), settings, token
