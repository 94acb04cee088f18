"""The JavaScript client: its own tests in Node against the real server, and its declarations."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import typescript
from serving import reference, sample, serving

from realtime_ser.recognizer import Recognizer

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "javascript"
TOKEN = "0123456789abcdef"


def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node here; the client's tests need 20.10 or later")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    major, minor = (int(part) for part in version.removeprefix("v").split(".")[:2])
    if (major, minor) < (20, 10):
        pytest.skip(f"Node {version} is too old; the client's tests need 20.10 or later")
    return program


def test_it_passes_its_own_tests(recognizer: Recognizer, tmp_path: Path) -> None:
    program = node()
    samples = sample("short")
    events = reference(recognizer, samples, 16_000)
    finals = [event for event in events if event["type"] == "emotion.final"]
    (tmp_path / "audio.raw").write_bytes(samples.astype("<i2").tobytes())
    (tmp_path / "finals.json").write_text(json.dumps(finals))

    async def scenario() -> tuple[int | None, str]:
        async with (
            serving(recognizer, token=TOKEN) as served,
            serving(recognizer, token=TOKEN, max_ahead_s=1.0) as strict,
        ):
            process = await asyncio.create_subprocess_exec(
                program, "--no-warnings", "--experimental-websocket", "--test", "test/",
                cwd=CLIENT,
                env={
                    **os.environ,
                    "REALTIME_SER_TEST_URL": served.address,
                    "REALTIME_SER_TEST_STRICT_URL": strict.address,
                    "REALTIME_SER_TEST_TOKEN": TOKEN,
                    "REALTIME_SER_TEST_AUDIO": str(tmp_path / "audio.raw"),
                    "REALTIME_SER_TEST_FINALS": str(tmp_path / "finals.json"),
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await process.communicate()
        return process.returncode, output.decode()

    code, output = asyncio.run(scenario())
    assert code == 0, output
    assert "skipped 0" in output, output


def test_the_declarations_are_those_of_the_wire() -> None:
    written = (CLIENT / "events.d.ts").read_text(encoding="utf-8")
    assert written == typescript.declarations(), typescript.__doc__


def test_the_page_has_the_same_client() -> None:
    page = ROOT / "realtime_ser" / "io" / "web" / "realtime-ser.js"
    assert (CLIENT / "realtime-ser.js").read_bytes() == page.read_bytes(), (
        "the page's file is the one to edit; copy it to clients/javascript afterwards"
    )
