"""Who may connect: addresses, tokens, origins, TLS."""

from __future__ import annotations

import hmac
import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from websockets.datastructures import Headers

from realtime_ser.config import ServerSettings
from realtime_ser.errors import ConfigError

SUBPROTOCOL = "realtime-ser.v1"
TOKEN_SUBPROTOCOL = "realtime-ser.token."
"""A browser cannot set headers; it offers this with the token after it, and `SUBPROTOCOL`."""


def require_safe_address(settings: ServerSettings) -> None:
    """Raise ConfigError for a public address that nothing protects."""
    if is_loopback(settings.host) or settings.token or settings.certfile or settings.insecure:
        return
    raise ConfigError(
        f"{settings.host} can be reached from other machines: set --token or --certfile, or say "
        "--insecure if something else protects it"
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine for sure."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """What `certfile` and `keyfile` say; None without them.

    Raises:
        ConfigError: they cannot be used.
    """
    if not settings.certfile:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for file in filter(None, (settings.certfile, settings.keyfile)):
        if not Path(file).is_file():
            raise ConfigError(f"no file {file}; check --certfile and --keyfile")
    try:
        # without a password of its own, OpenSSL would stop and ask the terminal for one
        context.load_cert_chain(settings.certfile, settings.keyfile or None, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(
            f"the certificate {settings.certfile} cannot be used with its key: {error}; both must "
            "be PEM, without a password"
        ) from None
    return context


def has_token(settings: ServerSettings, headers: Headers, query_token: str | None) -> bool:
    """Whether the client has shown the token, in any of the three places; True if none is set."""
    if not settings.token:
        return True
    shown = [query_token] if query_token is not None else []
    for authorization in headers.get_all("Authorization"):
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            shown.append(value.strip())
    shown += [
        offer.removeprefix(TOKEN_SUBPROTOCOL)
        for offer in offered_subprotocols(headers)
        if offer.startswith(TOKEN_SUBPROTOCOL)
    ]
    # in constant time: how long it takes says nothing about how much of it is right
    expected = settings.token.encode()
    return any(hmac.compare_digest(value.encode("utf-8", "replace"), expected) for value in shown)


def offered_subprotocols(headers: Headers) -> list[str]:
    """What the client offers, in its order."""
    offers = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    return [offer.strip() for offer in offers.split(",")]


def is_origin_allowed(settings: ServerSettings, headers: Headers) -> bool:
    """Whether the page that connects may; programs, which send no origin, always may.

    Our own page may: its origin is the host that it asks for. On loopback that host must be a
    name of loopback as well, or a page could reach us through a name of its own that leads here
    (DNS rebinding).
    """
    origins = headers.get_all("Origin")
    if not origins:
        return True
    allowed = {origin.strip().rstrip("/") for origin in settings.origins.split(",")} - {""}
    if "*" in allowed or allowed.issuperset(origins):
        return True
    hosts = headers.get_all("Host")
    if len(origins) > 1 or len(hosts) != 1:
        return False
    try:
        page, asked = urlsplit(origins[0]), urlsplit(f"//{hosts[0]}")
    except ValueError:
        return False
    if page.netloc.lower() != hosts[0].lower() or page.scheme not in ("http", "https"):
        return False
    return not is_loopback(settings.host) or is_loopback(asked.hostname or "")
