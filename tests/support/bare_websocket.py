"""A WebSocket client that is a socket and RFC 6455, and lets a test break all of its rules."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
from typing import Any, Self
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_LAST = 0x80
_MASK = b"\x1f\x2e\x3d\x4c"


class BareClient:
    """Just enough of a WebSocket.

    Args:
        timeout_s: for everything that must happen.

    Attributes:
        socket: for what is no WebSocket at all.
        status: the first line of the server's answer.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        parts = urlsplit(address)
        assert parts.hostname
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)
        key = base64.b64encode(b"sixteen bytes ..").decode()
        self.socket.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._stream = self.socket.makefile("rb")
        self.status = self._stream.readline().decode().strip()
        headers = {}
        while (line := self._stream.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        assert headers["sec-websocket-accept"] == accept
        assert "sec-websocket-extensions" not in headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, opcode: int, data: bytes, *, is_last: bool = True) -> None:
        """One masked frame; others follow unless it `is_last`."""
        masked = bytes(byte ^ _MASK[i % 4] for i, byte in enumerate(data))
        if len(data) < 126:
            length = bytes([0x80 | len(data)])
        elif len(data) < 65_536:
            length = struct.pack("!BH", 0x80 | 126, len(data))
        else:
            length = struct.pack("!BQ", 0x80 | 127, len(data))
        self.socket.sendall(bytes([_LAST * is_last | opcode]) + length + _MASK + masked)

    def read(self) -> tuple[int, bytes]:
        """One frame of the server: opcode and payload.

        Raises:
            EOFError: the server has closed its side.
        """
        first, second = self._read(2)
        assert first & 0x70 == 0, "no extensions"
        assert second & 0x80 == 0, "servers do not mask"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._read(8))
        return first & 0x0F, self._read(length)

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise EOFError("the server has closed its side")
        return data

    def read_all(self) -> tuple[list[dict[str, Any]], int]:
        """Events until the close frame, which is answered, and its code."""
        events = []
        while True:
            opcode, data = self.read()
            if opcode == TEXT:
                events.append(json.loads(data))
            elif opcode == PING:
                self.send(PONG, data)
            elif opcode == CLOSE:
                self.send(CLOSE, data)
                assert self._stream.read(1) == b""
                return events, struct.unpack("!H", data[:2])[0]
