"""`realtime-ser serve` as its operator meets it: a real process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Heard, read, read_all, sample
from websockets.asyncio.client import connect

TOKEN = "not-for-other-eyes"


@pytest.fixture
def environment(small_bundle: Path, tmp_path: Path) -> dict[str, str]:
    """Nobody's settings but the small bundle and no transcripts."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("REALTIME_SER_")}
    ours = {"BUNDLE": str(small_bundle), "ASR": "off", "PORT": "0", "TOKEN": TOKEN}
    return {
        **kept,
        "HOME": str(tmp_path),
        **{f"REALTIME_SER_{name}": value for name, value in ours.items()},
    }


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "realtime_ser", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with start(environment, "serve") as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_in_good_order(
    server: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert server.stdout is not None
    line = server.stdout.readline()
    said = re.fullmatch(
        r"serving (ws://127\.0\.0\.1:\d+/v1/stream), page http://127\.0\.0\.1:\d+/; "
        r"bundle tiny 0\.0\.1, CPUExecutionProvider, transcripts off\n",
        line,
    )
    assert said, line

    async def scenario() -> Heard:
        heard = Heard()
        async with connect(f"{said[1]}?token={TOKEN}") as websocket:
            await websocket.send(sample().astype("<i2").tobytes())
            await websocket.send('{"type": "ping"}')
            await read(websocket, "pong")
            server.send_signal(number)
            await read_all(websocket, heard)
        return heard

    heard = asyncio.run(scenario())
    assert heard.events[-1]["reason"] == "server_shutdown"
    assert heard.code == 1001
    out, err = server.communicate(timeout=60)
    assert (out, err, server.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    ("arguments", "more", "code", "message"),
    [
        (["--host", "0.0.0.0"], {"REALTIME_SER_TOKEN": ""}, 2, "set --token or --certfile"),
        (["--certfile", "none.pem"], {}, 2, "no file none.pem"),
        (["--max-sessions", "0"], {}, 2, "--max-sessions must lie in 1 to 100000, not 0"),
        (["--port", "high"], {}, 2, "--port must be a whole number, not 'high'"),
        (["--host", "192.0.2.1"], {}, 2, "cannot listen on 192.0.2.1"),
        (["--bundle", "nowhere"], {}, 4, "nowhere"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_an_exit_code(
    environment: dict[str, str],
    arguments: list[str],
    more: dict[str, str],
    code: int,
    message: str,
) -> None:
    with start({**environment, **more}, "serve", *arguments) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err.startswith("realtime-ser: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_the_token_is_not_printed_with_the_other_settings(environment: dict[str, str]) -> None:
    with start(environment, "config") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert TOKEN not in out
    assert re.search(r'^token = "\(set\)" +# environment REALTIME_SER_TOKEN$', out, re.MULTILINE)
    assert re.search(r"^max_sessions = 64 +# default$", out, re.MULTILINE)
