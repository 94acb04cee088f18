"""Who may connect, and what plain HTTP is answered."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import CLOSE, DEADLINE_S, GatedEngine, Heard, read, serving, talk
from timelines import audio
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, WebSocketException

from realtime_ser.config import ServerSettings
from realtime_ser.errors import ConfigError
from realtime_ser.io.server import RecognitionServer
from realtime_ser.io.server_access import is_origin_allowed, require_safe_address, tls_context
from realtime_ser.io.server_http import Page

TOKEN = "s3cret-and-long-enough"
CERTIFICATE = Path(__file__).parents[1] / "support" / "loopback.pem"
PCM = audio("." * 20 + "#" * 40 + "." * 30).astype("<i2").tobytes()


@pytest.fixture
def engine() -> Iterator[GatedEngine]:
    with GatedEngine() as engine:
        yield engine


def get(address: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an HTTP request."""
    request = urllib.request.Request(address, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


# tokens


@pytest.mark.parametrize(
    ("query", "options"),
    [
        (f"?token={TOKEN}", {}),
        ("", {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}}),
        ("", {"additional_headers": {"Authorization": f"bearer  {TOKEN}"}}),
        ("", {"subprotocols": ["realtime-ser.v1", f"realtime-ser.token.{TOKEN}"]}),
        ("", {"subprotocols": [f"realtime-ser.token.{TOKEN}", "realtime-ser.v1", "chat"]}),
    ],
)
def test_the_token_may_come_in_three_ways(
    engine: GatedEngine, query: str, options: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with serving(engine, token=TOKEN) as served:
            heard = await talk(served.address + query, [PCM, CLOSE], **options)
            assert heard.code == 1000
            async with connect(served.address + query, **options) as websocket:
                offers = options.get("subprotocols")
                assert websocket.subprotocol == ("realtime-ser.v1" if offers else None)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("?token=", {}),
        (f"?token={TOKEN}x", {}),
        ("?token=%ff%ed%a0%80", {}),
        ("", {"additional_headers": {"Authorization": f"Basic {TOKEN}"}}),
        ("", {"additional_headers": {"Authorization": "Bearer"}}),
        ("", {"subprotocols": ["realtime-ser.v1", "realtime-ser.token.wrong"]}),
    ],
)
def test_without_the_token_there_is_no_session_and_a_reason(
    engine: GatedEngine, query: str, options: dict[str, Any]
) -> None:
    async def scenario() -> Heard:
        async with serving(engine, token=TOKEN) as served:
            return await talk(served.address + query, [PCM, CLOSE], **options)

    heard = asyncio.run(scenario())
    (error,) = heard.events
    assert (error["type"], error["code"], error["fatal"]) == ("error", "unauthorized", True)
    assert "Authorization: Bearer TOKEN" in error["message"]
    assert TOKEN not in json.dumps(error)
    assert (heard.code, heard.reason) == (4401, "unauthorized")


# origins

OUR_PAGE = {"Origin": "http://127.0.0.1:8765", "Host": "127.0.0.1:8765"}


@pytest.mark.parametrize(
    ("settings", "headers", "allowed"),
    [
        ({}, {"Host": "127.0.0.1:8765"}, True),  # no page
        ({}, OUR_PAGE, True),
        ({}, {"Origin": "http://LOCALHOST:1", "Host": "localhost:1"}, True),
        ({}, {"Origin": "http://[::1]:1", "Host": "[::1]:1"}, True),
        ({}, {**OUR_PAGE, "Origin": "https://evil.example"}, False),
        ({}, {**OUR_PAGE, "Origin": "http://127.0.0.1:9999"}, False),
        ({}, {**OUR_PAGE, "Origin": "null"}, False),
        ({}, {**OUR_PAGE, "Origin": "http://[" }, False),
        ({}, {"Origin": "http://127.0.0.1:8765"}, False),
        ({}, {**OUR_PAGE, "Origin": ""}, False),
        # a name of an attacker that leads to loopback
        ({}, {"Origin": "http://evil.example:1", "Host": "evil.example:1"}, False),
        ({"host": "0.0.0.0"}, {"Origin": "http://pc.lan:1", "Host": "pc.lan:1"}, True),
        ({"origins": "https://a.example, https://b.example/"},
         {**OUR_PAGE, "Origin": "https://b.example"}, True),
        ({"origins": "https://a.example"}, {**OUR_PAGE, "Origin": "https://b.example"}, False),
        ({"origins": "https://a.example"}, OUR_PAGE, True),
        ({"origins": "*"}, {**OUR_PAGE, "Origin": "https://evil.example"}, True),
    ],
)  # fmt: skip
def test_pages_of_other_origins_are_kept_out(
    settings: dict[str, Any], headers: dict[str, str], allowed: bool
) -> None:
    assert is_origin_allowed(ServerSettings(**settings), Headers(headers)) is allowed


def test_a_page_of_another_origin_gets_no_websocket(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine) as served:
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.address, origin="https://evil.example")
            assert refused.value.response.status_code == 403
            assert b"--origins" in refused.value.response.body
            own = served.page.rstrip("/")
            async with connect(served.address, origin=own) as websocket:
                await read(websocket, "session.created")

    asyncio.run(scenario())


# addresses and TLS


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_a_public_address_wants_protection(host: str, engine: GatedEngine) -> None:
    with pytest.raises(ConfigError, match="--token or --certfile, or say --insecure"):
        RecognitionServer(engine, ServerSettings(host=host))
    require_safe_address(ServerSettings(host=host, token=TOKEN))
    require_safe_address(ServerSettings(host=host, certfile="x"))
    require_safe_address(ServerSettings(host=host, insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    require_safe_address(ServerSettings(host=host))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"token": "short"}, "16 or more of the letters"),
        ({"token": "with a space in between"}, "16 or more of the letters"),
        ({"keyfile": "key.pem"}, "keyfile is set without certfile"),
        ({"port": 70_000}, "port must lie in 0 to 65535"),
        ({"max_sessions": 0}, "max_sessions must lie in"),
    ],
)
def test_server_settings_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ServerSettings(**settings)


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file nowhere\.pem; check"):
        tls_context(ServerSettings(certfile="nowhere.pem"))
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be used with its key"):
        tls_context(ServerSettings(certfile=str(broken)))


def test_tls(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine, certfile=str(CERTIFICATE)) as served:
            assert served.address.startswith("wss://")
            trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
            heard = await talk(served.address, [PCM, CLOSE], ssl=trusting)
            assert heard.code == 1000
            # who does not speak TLS gets nothing, and disturbs nobody
            with pytest.raises((OSError, EOFError, WebSocketException)):
                await connect(served.address.replace("wss:", "ws:"))
            heard = await talk(served.address, [PCM, CLOSE], ssl=trusting)
            assert heard.code == 1000

    asyncio.run(scenario())


def test_an_address_that_is_taken_is_an_error_with_advice(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine) as served:
            port = int(served.page.rsplit(":", 1)[1].rstrip("/"))
            with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
                async with serving(engine, port=port):
                    pass

    asyncio.run(scenario())


# HTTP


def test_health_and_readiness(engine: GatedEngine) -> None:
    async def scenario() -> None:
        server = RecognitionServer(engine, ServerSettings(port=0))
        async with server.running() as listening:
            page = server.page_address(listening)
            assert (await asyncio.to_thread(get, page + "health"))[0] == 200
            status, _, body = await asyncio.to_thread(get, page + "ready")
            assert (status, json.loads(body)) == (503, {"status": "warming up"})
            heard = await talk(server.address(listening), [])
            assert heard.one("error")["code"] == "warming_up"
            assert heard.code == 1013
            await server.warm_up()
            assert (await asyncio.to_thread(get, page + "ready"))[0] == 200

    asyncio.run(scenario())


def test_the_metrics_say_what_happened(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine) as served:
            await talk(served.address, [PCM, CLOSE])
            await talk(served.address + "?encoding=mp3", [])
            status, headers, body = await asyncio.to_thread(get, served.page + "metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        lines = dict(
            line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")
        )
        values = {name.removeprefix("realtime_ser_"): float(v) for name, v in lines.items()}
        assert values["sessions"] == 0
        assert values["sessions_started_total"] == 1
        assert values['sessions_closed_total{reason="eof"}'] == 1
        assert values["audio_seconds_total"] == pytest.approx(2.7)
        assert values['events_total{type="emotion.final"}'] == 1
        assert values['refused_total{code="invalid_setting"}'] == 1
        assert values['final_latency_seconds_count{part="whole"}'] == 1
        assert values['batch_size_count{kind="speculative"}'] == 1
        assert values['queue_depth{kind="final"}'] == 0
        assert values["ready"] == 1
        assert values['provider{asr="off",bundle="gated",provider="none",version="0"}'] == 1
        assert "event_loop_delay_seconds_count" in values

    asyncio.run(scenario())


def test_the_metrics_of_a_protected_server_want_its_token(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine, token=TOKEN) as served:
            address = served.page + "metrics"
            status, headers, _ = await asyncio.to_thread(get, address)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            assert (await asyncio.to_thread(get, address, bearer))[0] == 200
            assert (await asyncio.to_thread(get, served.page + "health"))[0] == 200

    asyncio.run(scenario())


def test_the_page_comes_with_a_strict_policy(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine) as served:
            status, headers, body = await asyncio.to_thread(get, served.page)
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"realtime-ser" in body
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", 404),
        ("../server.py", 404),
        ("%2e%2e/server.py", 404),
        ("..%2f..%2fpyproject.toml", 404),
        ("/etc/passwd", 404),
        ("v1/stream", 426),
    ],
)
def test_paths_that_lead_nowhere(engine: GatedEngine, path: str, status: int) -> None:
    async def scenario() -> None:
        async with serving(engine) as served:
            # curl would tidy the path up; a socket sends it as it is
            host, port = served.page.removeprefix("http://").rstrip("/").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())

    asyncio.run(scenario())


def test_a_websocket_elsewhere_is_told_where(engine: GatedEngine) -> None:
    async def scenario() -> None:
        async with serving(engine) as served:
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.address.replace("/v1/stream", "/"))
            assert refused.value.response.status_code == 404
            assert b"/v1/stream" in refused.value.response.body

    asyncio.run(scenario())


def test_only_the_files_of_the_page_are_served(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    (folder / "parts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "parts" / "a.js").write_text("export {}")
    (folder / "secret.py").write_text("no")
    (tmp_path / "beside.html").write_text("no")
    page = Page(folder)
    types = {}
    for path in ("/", "/index.html", "/parts/a.js", "/secret.py", "/../beside.html", "/parts"):
        response = page.respond(path)
        types[path] = None if response is None else response.headers["Content-Type"]
    html, script = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
    assert types == {
        "/": html, "/index.html": html, "/parts/a.js": script,
        "/secret.py": None, "/../beside.html": None, "/parts": None,
    }  # fmt: skip
