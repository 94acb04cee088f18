"""What can go wrong between a client and its server."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of this package."""


class ConnectError(ClientError, ConnectionError):
    """There is no server, or it did not let us in: wrong address, TLS, a proxy in between."""


class ConnectionLostError(ClientError, ConnectionError):
    """The connection dropped, and the session could not be taken up again."""


class SessionEndedError(ClientError):
    """Audio was sent after the end of the session."""


class ServerError(ClientError):
    """The server refused the session, or ended it.

    Attributes:
        code: stable name of the fault, such as `unauthorized` or `too_many_sessions`.
        message: what happened and what to do next, in the server's words.
        retry_after_s: when it is worth trying again; None when waiting does not help.
    """

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        later = "" if retry_after_s is None else f" (try again after {retry_after_s:g} s)"
        super().__init__(f"{code}: {message}{later}")
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
