"""A TCP proxy that cuts connections where a test says so, counted in bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True)
class Cut:
    """Where a connection ends: once so many bytes went up (to the server) or down."""

    up: float = float("inf")
    down: float = float("inf")


@dataclass
class CuttingProxy:
    """Where the proxy listens, and how many connections it has had."""

    address: str
    connections: int = 0


@contextlib.asynccontextmanager
async def cutting_proxy(address: str, cuts: Sequence[Cut]) -> AsyncIterator[CuttingProxy]:
    """Pass connections on to `address`, one cut for each; those after the last go on uncut."""
    parts = urlsplit(address)
    pending = list(cuts)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        cut = pending.pop(0) if pending else Cut()
        above, below = await asyncio.open_connection(parts.hostname, parts.port)
        sides = {
            asyncio.create_task(_pass_on(reader, below, cut.up)),
            asyncio.create_task(_pass_on(above, writer, cut.down)),
        }
        tasks.update(sides)
        await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        for side in sides:
            side.cancel()
        for end in (writer, below):
            end.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy = CuttingProxy(urlunsplit(parts._replace(netloc=f"{host}:{port}")))
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: float
) -> None:
    with contextlib.suppress(ConnectionError):
        while budget > 0 and (data := await reader.read(min(int(min(budget, 65_536)), 65_536))):
            writer.write(data)
            await writer.drain()
            budget -= len(data)
