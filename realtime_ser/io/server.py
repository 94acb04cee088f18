"""The WebSocket server: one address, one set of models, many sessions.

The event loop only carries messages. What it starts on other threads: listening (`engine.intake`),
the models (`engine.worker`).
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from functools import partial
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from realtime_ser.config import ServerSettings
from realtime_ser.core.messages import Opening, parse_query
from realtime_ser.core.options import SessionConfig, StreamOptions
from realtime_ser.core.protocol import CLOSE_OVERLOAD, close_code
from realtime_ser.errors import ConfigError, RemoteProtocolError
from realtime_ser.io.server_access import (
    SUBPROTOCOL,
    has_token,
    is_origin_allowed,
    require_safe_address,
    tls_context,
)
from realtime_ser.io.server_connection import AcceptedConnection, Connection, refuse
from realtime_ser.io.server_http import Page, respond, respond_json, respond_text
from realtime_ser.io.server_metrics import CONTENT_TYPE, Metrics
from realtime_ser.io.server_session import SHUTDOWN, Engine, ServerSession

_LOGGER = logging.getLogger(__name__)

STREAM_PATH = "/v1/stream"

_RETRY_AFTER_S = 5.0
_TURNS_TO_CONNECT = 5
_KEEPALIVE_S = 20.0
_UNREAD_MESSAGES = 4
"""Messages of one connection that may wait to be read; with their largest size, 1 MiB."""
_SEND_BUFFER_BYTES = 65_536
"""In the kernel, which by itself would keep megabytes for a client that does not read."""
_RECEIVE_BUFFER_BYTES = 262_144
"""Likewise for audio that we have yet to take: pings wait behind it."""


class RecognitionServer:
    """Serves an engine; see `running`.

    Args:
        engine: not loaded yet, or loaded; the server does not close it.
    """

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        require_safe_address(settings)
        self._engine = engine
        self._settings = settings
        self._tls = tls_context(settings)
        self._page = Page()
        self._metrics = Metrics()
        self._sessions: dict[str, ServerSession] = {}
        """By resume token: those that go on, and those whose last words may be asked for."""
        self._connections: dict[str, Connection] = {}
        """By resume token: those that have a session now."""
        self._accepted: set[ServerConnection] = set()
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        """By resume token: when a session without a connection is given up."""
        self._ready = False
        self._draining = False
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Listen; inside, call `warm_up`. Leaving it finishes what was said, and closes.

        Raises:
            ConfigError: the address cannot be used.
        """
        settings = self._settings
        # the library tells failed handshakes with a traceback; they are everyday on an open port
        quiet = logging.getLogger("realtime_ser.websockets")
        quiet.setLevel(logging.CRITICAL)
        try:
            server = await serve(
                self._handle,
                settings.host,
                settings.port,
                process_request=self._process_request,
                select_subprotocol=_select_subprotocol,
                # any callable does, by its documentation, if not by its type
                create_connection=partial(  # type: ignore[arg-type]
                    AcceptedConnection, accepted=self._accepted
                ),
                # off: sound hardly shrinks, and what cannot be inflated cannot explode
                compression=None,
                server_header=None,
                open_timeout=settings.handshake_timeout_s,
                close_timeout=settings.handshake_timeout_s,
                ping_interval=_KEEPALIVE_S,
                # A pong waits behind audio that we take no faster than we can work it off. Clients
                # that are gone are found by `idle_timeout_s`, and by what they do not take.
                ping_timeout=None,
                max_size=settings.max_message_bytes,
                max_queue=_UNREAD_MESSAGES,
                logger=quiet,
                ssl=self._tls,
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error};"
                " choose another --host or --port"
            ) from None
        for listening in server.sockets:
            # inherited by every connection
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        watching = asyncio.create_task(self._metrics.watch_loop())
        try:
            yield server
        finally:
            await _stop_accepting(server)
            server.close(close_connections=False)
            await self._drain()
            for websocket in tuple(self._accepted):
                if websocket.state is not State.CLOSING:  # what is being told goodbye may hear it
                    websocket.transport.abort()
            await server.wait_closed()
            watching.cancel()

    async def warm_up(self) -> None:
        """Load the models; from then on sessions are taken.

        Raises:
            BundleError, InferenceError, ModelUnavailableError: see `Engine.load`.
        """
        await asyncio.to_thread(self._engine.load)
        worker = self._engine.worker
        worker.observer = self._metrics.ran
        self._metrics.watch(
            sessions=lambda: self.open_sessions,
            connections=lambda: self.open_connections,
            waiting=worker.waiting,
            final_wait_s=worker.final_wait_s,
        )
        self._metrics.ready(self._engine.description)
        self._ready = True

    def address(self, server: Server) -> str:
        """Where to connect, with the port that was really taken."""
        return f"ws{self._authority(server)}{STREAM_PATH}"

    def page_address(self, server: Server) -> str:
        """Where the page is."""
        return f"http{self._authority(server)}/"

    def _authority(self, server: Server) -> str:
        host, port = server.sockets[0].getsockname()[:2]
        # what is bound everywhere is at least here
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"{'s' * bool(self._tls)}://{f'[{host}]' if ':' in host else host}:{port}"

    # plain HTTP

    def _process_request(self, websocket: ServerConnection, request: Request) -> Response | None:
        """Answer HTTP; None lets the WebSocket handshake go on."""
        try:
            path = urlsplit(request.path).path
        except ValueError:
            return respond_text(http.HTTPStatus.BAD_REQUEST, "the address is malformed")
        is_upgrade = "websocket" in ",".join(request.headers.get_all("Upgrade")).lower()
        if path == STREAM_PATH or is_upgrade:
            return self._refuse_handshake(path, is_upgrade, request)
        if path == "/health":
            return respond_json(http.HTTPStatus.OK, {"status": "ok"})
        if path == "/ready":
            return self._respond_ready()
        if path == "/metrics":
            return self._respond_metrics(request)
        page = self._page.respond(path)
        return page or respond_text(
            http.HTTPStatus.NOT_FOUND, "not here; there are / /health /ready /metrics /v1/stream"
        )

    def _refuse_handshake(self, path: str, is_upgrade: bool, request: Request) -> Response | None:
        if path != STREAM_PATH:
            return respond_text(http.HTTPStatus.NOT_FOUND, f"the WebSocket is at {STREAM_PATH}")
        if not is_upgrade:
            return respond_text(
                http.HTTPStatus.UPGRADE_REQUIRED,
                "this is a WebSocket; connect to it with a WebSocket client",
                {"Upgrade": "websocket"},
            )
        if not is_origin_allowed(self._settings, request.headers):
            self._metrics.refused("origin")
            return respond_text(
                http.HTTPStatus.FORBIDDEN,
                "pages of this origin may not connect; the server's operator can allow it with "
                "--origins",
            )
        return None

    def _respond_ready(self) -> Response:
        if self._ready and not self._draining:
            return respond_json(http.HTTPStatus.OK, {"status": "ready"})
        status = "draining" if self._draining else "warming up"
        return respond_json(http.HTTPStatus.SERVICE_UNAVAILABLE, {"status": status})

    def _respond_metrics(self, request: Request) -> Response:
        if not has_token(self._settings, request.headers, None):
            return respond_text(
                http.HTTPStatus.UNAUTHORIZED,
                "send the token: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        return respond(http.HTTPStatus.OK, self._metrics.text(), CONTENT_TYPE)

    # WebSockets

    async def _handle(self, websocket: ServerConnection) -> None:
        try:
            await self._serve(websocket)
        except RemoteProtocolError as error:
            await self._refuse(websocket, error.code, str(error))
        except ConnectionClosed:
            pass
        except Exception as error:  # a fault of ours costs one connection, not the server
            _LOGGER.error("a connection failed: %r; report this", error)
            await self._refuse(
                websocket, "internal", "the server failed; try again, and tell its operator"
            )

    async def _refuse(self, websocket: ServerConnection, code: str, message: str) -> None:
        self._metrics.refused(code)
        try_again = close_code(code) == CLOSE_OVERLOAD
        await refuse(websocket, code, message, _RETRY_AFTER_S if try_again else None)

    async def _serve(self, websocket: ServerConnection) -> None:
        request = websocket.request
        assert request is not None  # there was a handshake
        opening = parse_query(urlsplit(request.path).query)
        if not has_token(self._settings, request.headers, opening.token):
            raise RemoteProtocolError(
                "unauthorized",
                "no token, or a wrong one; send it as Authorization: Bearer TOKEN, as the "
                "subprotocol realtime-ser.token.TOKEN beside realtime-ser.v1, or as ?token=TOKEN",
            )
        session = self._open(opening) if opening.resume is None else self._find(opening.resume)
        connection = Connection(websocket, session, self._settings.idle_timeout_s)
        before = self._connections.get(session.token)
        self._connections[session.token] = connection
        if session.token in self._expiries:
            self._expiries.pop(session.token).cancel()
        has_all = False
        try:
            if opening.resume is not None:
                if before is not None:
                    before.replace()
                    await before.done.wait()
                session.resume(opening.last_seq)
                self._metrics.sessions_resumed.inc()
            has_all = await connection.run()
        finally:
            connection.done.set()
            if self._connections.get(session.token) is connection:
                del self._connections[session.token]
                self._left(session, has_all)
            self._changed.set()

    # sessions

    @property
    def open_sessions(self) -> int:
        """How many sessions go on, with a client or waiting for one to come back."""
        return sum(not session.finished for session in self._sessions.values())

    @property
    def open_connections(self) -> int:
        """How many sessions have a client now."""
        return len(self._connections)

    def _open(self, opening: Opening) -> ServerSession:
        """A new session.

        Raises:
            RemoteProtocolError: its settings are not allowed, or there is no room for it.
        """
        self._require_room()
        operator = self._engine.settings
        config = SessionConfig(StreamOptions(), operator).changed(opening.changes, operator)
        session = ServerSession(
            self._engine, config, self._settings, self._metrics, self._session_finished
        )
        self._sessions[session.token] = session
        self._metrics.sessions_started.inc()
        return session

    def _require_room(self) -> None:
        limits = self._settings
        if self._draining:
            raise RemoteProtocolError(SHUTDOWN, "the server is being stopped; try again later")
        if not self._ready:
            raise RemoteProtocolError("warming_up", "the models are being loaded; try again soon")
        if self.open_sessions >= limits.max_sessions:
            raise RemoteProtocolError(
                "too_many_sessions",
                f"all {limits.max_sessions} sessions are taken; try again later",
            )
        if self._engine.worker.final_wait_s() * 1000 > limits.refuse_lag_ms:
            raise RemoteProtocolError(
                "overloaded",
                "the sessions there are get their results late already; try again later",
            )

    def _find(self, token: str) -> ServerSession:
        session = self._sessions.get(token)
        if session is None or session.given_up:
            raise RemoteProtocolError(
                "resume_unknown",
                "no session waits for this resume token: it is wrong, all was told, or "
                f"{self._settings.resume_grace_s:g} s have passed; open a new one",
            )
        return session

    def _left(self, session: ServerSession, has_all: bool) -> None:
        """The client has gone: for good, or to come back."""
        if has_all:
            self._sessions.pop(session.token, None)
        elif not session.can_resume:
            session.give_up()
            if session.finished:
                self._sessions.pop(session.token, None)
        else:
            self._expiries[session.token] = asyncio.get_running_loop().call_later(
                self._settings.resume_grace_s, self._give_up, session
            )
            self._forget_oldest()

    def _give_up(self, session: ServerSession) -> None:
        """The client did not come back in time."""
        self._expiries.pop(session.token, None)
        session.give_up()
        if session.finished:
            self._sessions.pop(session.token, None)

    def _session_finished(self, session: ServerSession) -> None:
        token = session.token
        if token not in self._connections and token not in self._expiries:
            self._sessions.pop(token, None)
        self._changed.set()

    def _forget_oldest(self) -> None:
        """Those that only wait to be read again may be as many as those that go on."""
        waiting = [t for t, s in self._sessions.items() if s.finished and t in self._expiries]
        for token in waiting[: -self._settings.max_sessions]:
            self._expiries.pop(token).cancel()
            del self._sessions[token]

    async def _drain(self) -> None:
        """Finish what was said in every session, within the time there is."""
        self._draining = True
        for session in list(self._sessions.values()):
            session.end(SHUTDOWN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_s):
                while self.open_sessions or self._connections:
                    self._changed.clear()
                    await self._changed.wait()
        for timer in self._expiries.values():
            timer.cancel()
        for session in self._sessions.values():
            session.abandon()


async def _stop_accepting(server: Server) -> None:
    """Take no more connections, and let those that were taken reach us, to be closed with others.

    From accepting one, asyncio takes three turns of its loop to tell us, and where the server is
    closed in between, it leaves the socket open (`Server._attach` fails).
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening)
    for _ in range(_TURNS_TO_CONNECT):
        await asyncio.sleep(0)


def _select_subprotocol(
    websocket: ServerConnection, offers: Sequence[Subprotocol]
) -> Subprotocol | None:
    """Ours if it is offered; never the one that is a token in disguise."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offers else None
