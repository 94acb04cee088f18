"""The client without `await`, and the command line; both against the real server."""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Served, assert_same, reference, sample, serving

from realtime_ser.recognizer import Recognizer
from realtime_ser_client import Backoff, ServerError, SessionClosed, sync
from realtime_ser_client.cli import main

TOKEN = "0123456789abcdef"


def with_server(recognizer: Recognizer, work: Callable[[Served], Any], **settings: Any) -> Any:
    """What `work` returns, done by a thread while the server runs."""

    async def scenario() -> Any:
        async with serving(recognizer, **settings) as served:
            return await asyncio.to_thread(work, served)

    return asyncio.run(scenario())


def test_it_hears_what_the_file_gives(recognizer: Recognizer) -> None:
    def work(served: Served) -> list[Any]:
        events = []
        with sync.connect(served.address) as session:
            for piece in np.array_split(sample(), 20):
                session.send(piece)
                events += session.received()
            totals = session.close()
            events += session
        assert isinstance(totals, SessionClosed)
        assert session.created.bundle["name"] == "tiny"
        assert session.sent_ms == pytest.approx(len(sample()) / 16)
        return [dict(event.raw) for event in events]

    assert_same(with_server(recognizer, work), reference(recognizer, sample(), 16_000))


def test_its_errors_are_the_same(recognizer: Recognizer) -> None:
    def work(served: Served) -> None:
        with pytest.raises(ServerError, match="unauthorized"), sync.connect(served.address):
            pass
        session = sync.connect(served.address, token=TOKEN)
        with pytest.raises(RuntimeError, match="inside of its `with`"):
            session.send(b"")
        with pytest.raises(KeyError), session:
            raise KeyError
        with pytest.raises(RuntimeError, match="inside of its `with`"):
            session.send(b"")

    with_server(recognizer, work, token=TOKEN)


# the command line


def write_wav(path: Path, samples: np.ndarray, width: int = 2, rate_hz: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        if width == 1:
            file.writeframes(((samples >> 8) + 128).astype(np.uint8).tobytes())
        else:
            wide = samples.astype("<i4") << 16
            file.writeframes(wide.view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes())
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_stream_hears_what_the_file_gives(
    recognizer: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    path = write_wav(tmp_path / "call.wav", sample(), width)
    arguments = ["stream", str(path), "--fast", "--json", "--url"]
    assert with_server(recognizer, lambda served: main([*arguments, served.address])) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    samples = sample() if width > 1 else (sample() >> 8) << 8
    assert_same(events, reference(recognizer, samples, 16_000))


def test_stream_takes_bare_pcm_from_standard_input(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    floats = (sample() / 32768).astype("<f4").tobytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(floats)))
    arguments = ["stream", "-", "--encoding", "f32le", "--set", "partials=false", "--url"]
    assert with_server(recognizer, lambda served: main([*arguments, served.address])) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny on CPUExecutionProvider; transcripts: off\n")
    assert out.endswith(f"1 utterances, 1.6 s of speech in {len(sample()) / 16000:.1f} s; eof\n")
    assert "..." not in out


def test_stream_tells_faults_in_a_line(
    recognizer: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF but not quite")
    call = write_wav(tmp_path / "call.wav", sample())

    def work(served: Served) -> list[int]:
        url = ["--url", served.address]
        return [
            main(["stream", "no.wav", *url]),
            main(["stream", str(bad), *url]),
            main(["stream", str(call), *url]),
            main(["stream", str(call), "--url", "ws://127.0.0.1:1"]),
            main(["stream", str(call), "--url", "nonsense"]),
        ]

    assert with_server(recognizer, work, token=TOKEN) == [3, 3, 5, 5, 2]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["realtime-ser-client"] * 5
    for line, said in zip(
        lines, ["no file", "ffmpeg", "unauthorized", "cannot connect", "no address"], strict=True
    ):
        assert said in line


def test_a_microphone_that_is_not_there_is_said(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    work = lambda served: main(["stream", "mic", "--url", served.address])  # noqa: E731
    assert with_server(recognizer, work) == 3
    assert "pip install sounddevice" in capsys.readouterr().err


def test_a_token_comes_from_the_environment(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_SER_TOKEN", TOKEN)
    call = write_wav(tmp_path / "call.wav", np.zeros(1600, np.int16))
    work = lambda served: main(["stream", str(call), "--url", served.address])  # noqa: E731
    assert with_server(recognizer, work, token=TOKEN) == 0


# waits


@given(st.floats(0, 10), st.floats(0, 10), st.integers(0, 2**32))
def test_waits_are_drawn_below_a_ceiling_that_doubles(a: float, b: float, seed: int) -> None:
    first_s, maximum_s = sorted((a, b))
    waits = Backoff(first_s, maximum_s).waits_s(random.Random(seed))
    for attempt, wait_s in zip(range(50), waits, strict=False):
        assert 0 <= wait_s <= min(maximum_s, first_s * 2**attempt)


def test_a_backoff_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        Backoff(2.0, 1.0)
    with pytest.raises(ValueError, match="buffer_s is 1"):
        sync.connect(buffer_s=1)
