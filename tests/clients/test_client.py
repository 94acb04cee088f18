"""The asyncio client against the real server, over real WebSockets on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cutting_proxy import Cut, cutting_proxy
from serving import assert_same, pieces, reference, sample, serving

from realtime_ser.recognizer import Recognizer
from realtime_ser_client import (
    Backoff,
    ConnectError,
    ConnectionLostError,
    EmotionFinal,
    Event,
    ServerError,
    SessionClosed,
    SessionCreated,
    SessionEndedError,
    SessionResumed,
    connect,
)

PCM = sample().astype("<i2").tobytes()
AT_ONCE = Backoff(first_s=0.0, maximum_s=0.0)
TOKEN = "0123456789abcdef"
CERTIFICATE = Path(__file__).parents[1] / "support" / "loopback.pem"


def raw(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [dict(event.raw) for event in events]


async def heard(address: str, audio: Sequence[Any], **options: Any) -> list[Event]:
    """All events of a session in which `audio` is sent while it is read."""
    async with connect(address, backoff=AT_ONCE, **options) as session:

        async def send() -> None:
            for piece in audio:
                await session.send(piece)
            await session.close()

        sending = asyncio.create_task(send())
        events = [event async for event in session]
        await sending
        return events


@pytest.mark.parametrize("name", ["short", "demo"])
def test_it_hears_what_the_file_gives(recognizer: Recognizer, name: str) -> None:
    samples = sample(name)

    async def scenario() -> None:
        async with serving(recognizer) as served:
            events = await heard(served.address, np.array_split(samples, 50))
        assert isinstance(events[0], SessionCreated)
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        assert_same(raw(events), reference(recognizer, samples, 16_000))

    asyncio.run(scenario())


def test_a_recording_is_not_sent_further_ahead_than_the_server_takes(
    recognizer: Recognizer,
) -> None:
    async def scenario() -> None:
        async with serving(recognizer, max_ahead_s=1.0) as served:
            events = await heard(served.address, [sample()])
        assert isinstance(events[0], SessionCreated)
        assert events[0].max_ahead_s == 1.0
        assert_same(raw(events), reference(recognizer, sample(), 16_000))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("encoding", "convert"),
    [
        ("s16le", lambda samples: samples / 32768),
        ("s16le", lambda samples: (samples / 32768).astype(np.float32)),
        ("f32le", lambda samples: samples),
        ("s16le", lambda samples: np.stack([samples, samples], axis=1)),
        ("f32le", lambda samples: (samples / np.float32(32768)).astype("<f4").tobytes()),
    ],
    ids=["float64", "float32", "int16 as f32le", "stereo", "bytes"],
)
def test_every_kind_of_array_is_heard_alike(
    recognizer: Recognizer, encoding: str, convert: Any
) -> None:
    samples = sample()
    audio = convert(samples)
    channels = audio.shape[1] if getattr(audio, "ndim", 1) == 2 else 1

    async def scenario() -> None:
        async with serving(recognizer) as served:
            events = await heard(served.address, [audio], encoding=encoding, channels=channels)
        assert_same(raw(events), reference(recognizer, samples, 16_000))

    asyncio.run(scenario())


def test_settings_reach_the_session(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            address = served.address + "?hangover_ms=300"
            settings = {"partials": False}
            async with connect(address, settings=settings, sample_rate_hz=8000) as session:
                config = session.created.config
        assert (config["hangover_ms"], config["partials"]) == (300, False)
        assert config["sample_rate_hz"] == 8000

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "cuts",
    [
        [Cut(up=50_000)],
        [Cut(up=50_001), Cut(up=30_003), Cut(up=20_000)],
        [Cut(down=2_600)],
        [Cut(down=2_600), Cut(up=100), Cut(down=10), Cut(down=900)],
        [Cut(up=len(PCM) + 300)],
    ],
    ids=["mid-utterance", "thrice", "mid-event", "in every way", "at the end"],
)
@pytest.mark.parametrize("size", [len(PCM), 1_601])
def test_a_cut_connection_loses_nothing(recognizer: Recognizer, cuts: list[Cut], size: int) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served, cutting_proxy(served.address, cuts) as proxy:
            events = await heard(proxy.address, pieces(PCM, size))
        assert proxy.connections >= 2
        assert any(isinstance(event, SessionResumed) for event in events)
        numbers = [event.seq for event in events if not isinstance(event, SessionResumed)]
        assert numbers == sorted(set(numbers))
        assert_same(raw(events), reference(recognizer, sample(), 16_000))

    asyncio.run(scenario())


def test_a_connection_cut_before_any_audio_begins_anew(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            # the handshake goes through, and the audio does not
            cuts = [Cut(up=400)]
            async with cutting_proxy(served.address, cuts) as proxy:
                events = await heard(proxy.address, [PCM[:60_000]])
        assert sum(isinstance(event, SessionCreated) for event in events) == 2
        assert_same(raw(events), reference(recognizer, sample()[:30_000], 16_000))

    asyncio.run(scenario())


def test_a_session_that_the_server_gave_up_is_an_error(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with (
            serving(recognizer, resume_grace_s=0.0) as served,
            cutting_proxy(served.address, [Cut(up=50_000)]) as proxy,
        ):
            with pytest.raises((ServerError, ConnectionLostError)) as caught:
                await heard(proxy.address, pieces(PCM, 5_000))
        if isinstance(caught.value, ServerError):
            assert caught.value.code == "resume_unknown"

    asyncio.run(scenario())


def test_a_server_that_has_gone_is_an_error(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with (
            serving(recognizer, resume_grace_s=0.01) as served,
            cutting_proxy(served.address, [Cut(up=50_000)]) as proxy,
        ):
            session = connect(proxy.address, backoff=AT_ONCE)
            with pytest.raises(ConnectionLostError, match="dropped"):
                async with session:
                    await session.send(PCM[:3200])
                    # nobody listens there any more
                    session._url = "ws://127.0.0.1:1/v1/stream"
                    await session.send(PCM)
                    await session.close()
            # what was told before is still there
            assert session.received()

    asyncio.run(scenario())


def test_a_session_resumed_elsewhere_ends_here(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served, connect(served.address) as session:
            await session.send(PCM[:6400])
            async for _ in session:
                break
            other = connect(served.address)
            other._conversation.created = session.created
            with pytest.raises(ConnectionLostError, match="elsewhere"):
                await other._dial()
                async for _ in session:
                    pass
            await other._hang_up()

    asyncio.run(scenario())


def test_a_wrong_token_is_said(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer, token=TOKEN) as served:
            for token in (None, "wrong"):
                with pytest.raises(ServerError, match="unauthorized: no token, or a wrong") as no:
                    async with connect(served.address, token=token):
                        pass
                assert (no.value.code, no.value.retry_after_s) == ("unauthorized", None)
            for options in ({"token": TOKEN}, {"url": f"{served.address}?token={TOKEN}"}):
                async with connect(**{"url": served.address, **options}) as session:
                    assert session.created.bundle["name"] == "tiny"

    asyncio.run(scenario())


def test_a_full_server_is_said(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer, max_sessions=1) as served, connect(served.address):
            with pytest.raises(ServerError, match="try again after 5 s") as full:
                async with connect(served.address):
                    pass
        assert full.value.code == "too_many_sessions"
        assert full.value.retry_after_s == 5

    asyncio.run(scenario())


def test_what_a_session_breaks_is_told_after_what_was_heard(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        events: list[Event] = []
        async with serving(recognizer) as served:
            with pytest.raises(ServerError) as caught:
                async with connect(served.address, encoding="f32le") as session:
                    await session.send(sample())
                    await session.send(np.full(100, np.nan, np.float32).tobytes())
                    async for event in session:
                        events.append(event)  # noqa: PERF401 - what came before the error counts
        assert caught.value.code == "audio_unsupported"
        assert any(isinstance(event, EmotionFinal) for event in events)
        assert events[-1].type == "session.closed"

    asyncio.run(scenario())


def test_a_wrong_setting_is_said(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            with pytest.raises(ServerError, match="did you mean hangover_ms"):
                async with connect(served.address, settings={"hangover": 1}):
                    pass

    asyncio.run(scenario())


def test_tls_is_spoken_and_certificates_are_checked(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer, certfile=str(CERTIFICATE)) as served:
            trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
            events = await heard(served.address, [PCM], ssl=trusting)
            assert events[-1].type == "session.closed"
            with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                async with connect(served.address):
                    pass

    asyncio.run(scenario())


def test_where_no_server_is_that_is_said(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectError, match="does `realtime-ser serve` run there"):
            async with connect("ws://127.0.0.1:1"):
                pass
        async with serving(recognizer) as served:
            with pytest.raises(ConnectError, match="404: the WebSocket is at /v1/stream"):
                async with connect(served.address.replace("stream", "steam")):
                    pass

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://a", "ws://", ""])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(ValueError, match="no address of a server"):
        connect(url)


def test_when_the_server_stops_all_is_told_and_no_more_taken(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served:
            session = await connect(served.address).__aenter__()
            await session.send(PCM[:60_000])
            async for event in session:
                if event.type == "utterance.start":
                    break
        events = [event async for event in session]
        assert isinstance(events[-1], SessionClosed)
        assert any(isinstance(event, EmotionFinal) for event in events)
        with pytest.raises(SessionEndedError, match="server_shutdown"):
            await session.send(PCM)
        assert (await session.close()).reason == "server_shutdown"
        await session.__aexit__(None, None, None)

    asyncio.run(scenario())


def test_after_close_no_audio_is_taken_and_all_can_still_be_read(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer) as served, connect(served.address) as session:
            await session.send(PCM)
            assert session.sent_ms == pytest.approx(len(PCM) / 32)
            totals = await session.close()
            assert (totals.reason, totals.utterances) == ("eof", 1)
            assert await session.close() == totals
            with pytest.raises(SessionEndedError, match="was closed"):
                await session.send(PCM)
            told = session.received()
            assert told[-1] == totals
            assert [event async for event in session] == []

    asyncio.run(scenario())


def test_leaving_with_an_exception_ends_the_session_at_once(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with serving(recognizer, max_sessions=1) as served:
            with pytest.raises(KeyError):
                async with connect(served.address) as session:
                    await session.send(PCM)
                    raise KeyError
            assert session._websocket is not None
            assert session._websocket.close_code == 1000

    asyncio.run(scenario())


def test_audio_waits_once_the_buffer_is_full(recognizer: Recognizer) -> None:
    async def scenario() -> None:
        async with (
            serving(recognizer) as served,
            connect(served.address, buffer_s=5.0) as session,
        ):
            for _ in range(20):
                await session.send(bytes(32_000))
                assert session._conversation.kept_s <= 5.0
            totals = await session.close()
        assert totals.audio_seconds == 20

    asyncio.run(scenario())
