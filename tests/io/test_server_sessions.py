"""Sessions of the server: coming back, limits, overload, the end. What is loud is speech here."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from serving import (
    CLOSE,
    DEADLINE_S,
    GatedEngine,
    Heard,
    Served,
    assert_same,
    pieces,
    read,
    read_all,
    send_all,
    serving,
    talk,
    until,
)
from timelines import audio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LINE = "." * 20 + ("#" * 40 + "." * 30) * 3
PCM = audio(LINE).astype("<i2").tobytes()
SECOND = 32_000


@pytest.fixture
def engine() -> Iterator[GatedEngine]:
    with GatedEngine() as engine:
        yield engine


def run(
    engine: GatedEngine, scenario: Callable[[Served], Awaitable[None]], **settings: Any
) -> None:
    """Serve, and act."""

    async def act() -> None:
        async with serving(engine, **settings) as served:
            await scenario(served)

    asyncio.run(act())


async def whole(served: Served) -> Heard:
    """What a client is told that is never cut off."""
    return await talk(served.address, [*pieces(PCM, 3200), CLOSE])


def finals(events: list[dict[str, Any]]) -> list[int]:
    return [event["utterance_id"] for event in events if event["type"] == "emotion.final"]


async def drop(websocket: ClientConnection) -> None:
    """Cut the connection, as a network does."""
    websocket.transport.abort()
    await websocket.wait_closed()


# coming back


@pytest.mark.parametrize("sent", [SECOND + 1, 2 * SECOND + 777, len(PCM) - 3])
def test_a_dropped_client_comes_back_and_misses_nothing(engine: GatedEngine, sent: int) -> None:
    async def scenario(served: Served) -> None:
        heard = Heard()
        async with connect(served.address) as websocket:
            created = await read(websocket)
            for piece in pieces(PCM[:sent], 3201):
                await websocket.send(piece)
            await websocket.send('{"type": "ping"}')
            heard.events.append(created)
            while (event := await read(websocket))["type"] != "pong":
                heard.events.append(event)
            # the last two were lost on the way
            del heard.events[max(1, len(heard.events) - 2) :]
            await drop(websocket)
        last = heard.events[-1]["seq"]
        address = f"{served.address}?resume={created['resume_token']}&last_seq={last}"
        async with connect(address) as websocket:
            resumed = await read(websocket)
            assert resumed["type"] == "session.resumed"
            assert resumed["seq"] == last
            assert resumed["session_id"] == created["session_id"]
            assert resumed["received_samples"] == sent // 2
            await websocket.send(PCM[resumed["received_samples"] * 2 :])
            await websocket.send(CLOSE)
            await read_all(websocket, heard)
        seqs = [event["seq"] for event in heard.events]
        assert seqs == sorted(set(seqs))
        assert heard.code == 1000
        assert finals(heard.events) == [0, 1, 2]
        assert_same(heard.events, (await whole(served)).events)

    run(engine, scenario)


def test_a_client_takes_over_from_its_own_dead_connection(engine: GatedEngine) -> None:
    async def scenario(served: Served) -> None:
        async with connect(served.address) as dead:
            created = await read(dead)
            await dead.send(PCM[:SECOND])
            await read(dead, "utterance.start")
            address = f"{served.address}?resume={created['resume_token']}&last_seq=0"
            heard = await talk(address, [PCM[SECOND:], CLOSE])
            with pytest.raises(ConnectionClosed) as closed:
                await read(dead, "session.closed")
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                1008,
                "the session was resumed elsewhere",
            )
        assert heard.one("session.resumed")["received_samples"] == SECOND // 2
        assert_same(heard.events, (await whole(served)).events)

    run(engine, scenario)


def test_what_a_client_did_not_wait_for_can_be_read_later(engine: GatedEngine) -> None:
    async def scenario(served: Served) -> None:
        async with connect(served.address) as websocket:
            created = await read(websocket)
            await websocket.send(PCM)
            await websocket.send('{"type": "ping"}')
            await read(websocket, "pong")
        # closed with 1000: the session has ended, and its last words wait
        resume = f"{served.address}?resume={created['resume_token']}"
        heard = await talk(resume, [PCM])  # more audio does not count
        assert heard.one("session.closed")["audio_seconds"] == pytest.approx(len(LINE) * 0.03)
        assert_same(heard.events, (await whole(served)).events)
        # and once they were read, they are gone
        again = await talk(resume, [])
        assert again.one("error")["code"] == "resume_unknown"
        assert (again.code, again.reason) == (4400, "resume_unknown")

    run(engine, scenario)


@pytest.mark.parametrize("size", [3200, 60_000])
def test_what_was_sent_before_a_close_is_heard_to_its_end(size: int) -> None:
    """However fast the client comes back for it, and whatever it is told meanwhile."""

    async def scenario(served: Served) -> None:
        async with connect(served.address) as websocket:
            created = await read(websocket)
            for piece in pieces(PCM, size):
                await websocket.send(piece)
        assert websocket.close_code == 1000
        heard = await talk(f"{served.address}?resume={created['resume_token']}", [PCM])
        assert heard.one("session.closed")["audio_seconds"] == pytest.approx(len(LINE) * 0.03)
        assert heard.one("session.closed")["reason"] == "eof"
        assert_same(heard.events, (await whole(served)).events)

    with GatedEngine(partial_interval_ms=30, partial_first_ms=30) as engine:
        run(engine, scenario)


def test_who_does_not_come_back_is_given_up(engine: GatedEngine) -> None:
    async def scenario(served: Served) -> None:
        async with connect(served.address) as websocket:
            created = await read(websocket)
            await websocket.send(PCM[:SECOND])
            await read(websocket, "utterance.start")
            await drop(websocket)
        await until(lambda: not served.open_sessions)
        heard = await talk(f"{served.address}?resume={created['resume_token']}", [])
        assert heard.one("error")["code"] == "resume_unknown"

    run(engine, scenario, resume_grace_s=0.0)


def test_nobody_comes_back_to_a_session_that_was_given_up() -> None:
    """It goes on until what was said has been analysed, with nobody to tell it to."""

    async def scenario(served: Served) -> None:
        async with connect(served.address) as websocket:
            created = await read(websocket)
            await websocket.send(PCM)
            await asyncio.to_thread(engine.started.wait)
            await drop(websocket)
        await until(lambda: not served.server.open_connections)
        heard = await talk(f"{served.address}?resume={created['resume_token']}", [])
        assert heard.one("error")["code"] == "resume_unknown"
        assert served.open_sessions == 1
        engine.gate.set()
        await until(lambda: not served.open_sessions)

    with GatedEngine(is_open=False, speculation=False) as engine:
        run(engine, scenario, resume_grace_s=0.0)


def test_a_client_that_comes_back_does_not_wait_for_audio_that_nobody_takes_in_yet() -> None:
    """More utterances wait for their finals than the server lets wait: the rest stays outside."""
    line = "." * 20 + ("#" * 20 + "." * 20) * 12
    pcm = audio(line).astype("<i2").tobytes()
    many = pieces(pcm, SECOND)

    async def scenario(served: Served) -> None:
        heard = Heard()
        async with connect(served.address) as websocket:
            created = await read(websocket)
            sending = asyncio.create_task(send_all(websocket, many))
            while (event := await read(websocket)).get("utterance_id") != 7:
                heard.events.append(event)
            heard.events.append(event)
            await asyncio.to_thread(engine.started.wait)
            await drop(websocket)
            await sending
        resume = f"{served.address}?resume={created['resume_token']}"
        for _ in range(3):  # and drops again, and again
            async with connect(f"{resume}&last_seq={heard.events[-1]['seq']}") as websocket:
                resumed = await read(websocket)
                assert resumed["type"] == "session.resumed"
                assert 0 < resumed["received_samples"] < len(pcm) // 2
                await websocket.send(pcm[2 * resumed["received_samples"] :][:SECOND])
                await drop(websocket)
        async with connect(f"{resume}&last_seq={heard.events[-1]['seq']}") as websocket:
            resumed = await read(websocket)
            rest = pcm[2 * resumed["received_samples"] :]
            sending = asyncio.create_task(send_all(websocket, [*pieces(rest, SECOND), CLOSE]))
            engine.gate.set()
            await read_all(websocket, heard)
            await sending
        assert finals(heard.events) == list(range(12))
        assert heard.one("session.closed")["audio_seconds"] == pytest.approx(len(line) * 0.03)
        assert_same(heard.events, (await talk(served.address, [*many, CLOSE])).events)

    with GatedEngine(is_open=False, speculation=False, partials=False) as engine:
        run(engine, scenario)


@pytest.mark.parametrize("last_seq", [99, 5])
def test_resuming_with_a_number_that_never_was_is_refused(
    engine: GatedEngine, last_seq: int
) -> None:
    async def scenario(served: Served) -> None:
        async with connect(served.address) as websocket:
            created = await read(websocket)
            await websocket.send(PCM[: SECOND // 2])
            await drop(websocket)
        token = created["resume_token"]
        heard = await talk(f"{served.address}?resume={token}&last_seq={last_seq}", [])
        assert heard.one("error")["code"] == "resume_impossible"
        assert heard.code == 4400
        heard = await talk(f"{served.address}?resume={token}&last_seq=0", [CLOSE])
        assert heard.code == 1000

    run(engine, scenario)


# settings


def test_the_settings_of_one_session_are_not_those_of_another(engine: GatedEngine) -> None:
    async def scenario(served: Served) -> None:
        query = "?partials=false&hangover_ms=300&rolling_half_life_s=1"
        audio_in = [*pieces(PCM, 3200), CLOSE]
        quiet, usual = await asyncio.gather(
            talk(served.address + query, audio_in), talk(served.address, audio_in)
        )
        assert quiet.one("session.created")["config"]["hangover_ms"] == 300
        assert usual.one("session.created")["config"]["hangover_ms"] == 500
        assert not quiet.of("emotion.partial")
        assert finals(quiet.events) == finals(usual.events) == [0, 1, 2]
        endpoints = [
            [event["endpoint_ms"] - event["speech_end_ms"] for event in heard.of("emotion.final")]
            for heard in (quiet, usual)
        ]
        assert endpoints == [[300.0] * 3, [510.0] * 3]

    run(engine, scenario)


def test_a_tool_that_only_streams_gets_its_finals(engine: GatedEngine) -> None:
    async def scenario(served: Served) -> None:
        heard = await talk(f"{served.address}?end_after_s=0.05", [PCM])
        assert heard.code == 1000
        assert heard.one("session.closed")["reason"] == "eof"
        assert_same(heard.events, (await whole(served)).events)

    run(engine, scenario)


# limits


@pytest.mark.parametrize(
    ("limits", "messages", "code"),
    [
        ({"idle_timeout_s": 0.05}, [PCM], "idle_timeout"),
        ({"max_ahead_s": 2.0}, [PCM], "audio_ahead"),
        ({"max_session_s": 5.0}, pieces(PCM, SECOND), "session_too_long"),
    ],
)
def test_a_limit_ends_the_session_with_its_error_and_its_finals(
    engine: GatedEngine, limits: dict[str, float], messages: list[bytes], code: str
) -> None:
    async def scenario(served: Served) -> None:
        heard = await talk(served.address, messages)
        error, closed = heard.events[-2:]
        assert (error["type"], error["code"], error["fatal"]) == ("error", code, True)
        assert (closed["type"], closed["reason"]) == ("session.closed", "error")
        assert (heard.code, heard.reason) == (1008, code)
        assert len(finals(heard.events)) == closed["utterances"]

    run(engine, scenario, **limits)


def test_a_close_does_not_wait_behind_audio_that_nobody_reads(engine: GatedEngine) -> None:
    """What ends the session comes before megabytes of audio, and the client's goodbye after them.

    Did the server not let them pass, it would wait for as long as a close may take.
    """

    async def scenario(served: Served) -> None:
        heard = await talk(
            served.address,
            ["no JSON", *[bytes(SECOND)] * 600],
            close_timeout=None,
            ping_interval=None,
        )
        assert (heard.code, heard.reason) == (4400, "invalid_json")

    run(engine, scenario, handshake_timeout_s=10.0 * DEADLINE_S)


def test_when_all_sessions_are_taken_the_next_is_told_when_to_come_back(
    engine: GatedEngine,
) -> None:
    async def scenario(served: Served) -> None:
        async with connect(served.address) as websocket:
            await read(websocket)
            heard = await talk(served.address, [PCM])
            error = heard.one("error")
            assert (error["code"], error["retry_after_s"]) == ("too_many_sessions", 5.0)
            assert (heard.code, heard.reason) == (1013, "too_many_sessions; retry after 5 s")
        await until(lambda: not served.open_sessions)
        assert finals((await whole(served)).events) == [0, 1, 2]

    run(engine, scenario, max_sessions=1)


def test_while_finals_wait_too_long_no_session_is_added() -> None:
    async def scenario(served: Served) -> None:
        async with connect(served.address) as first, connect(served.address) as second:
            await read(second)
            await first.send(PCM)
            await asyncio.to_thread(engine.started.wait)
            # all of the first's finals may run in one batch; the second's must wait for it
            await second.send(PCM)
            await until(lambda: engine.worker.final_wait_s() > 0.001)
            refused = await talk(served.address, [])
            assert refused.one("error")["code"] == "overloaded"
            assert refused.code == 1013
            engine.gate.set()
            for websocket in (first, second):
                heard = Heard()
                await websocket.send(CLOSE)
                await read_all(websocket, heard)
                # who was there has all finals, and was told that they came late: once or twice,
                # for after the gate opens one of them may come within half a millisecond
                assert finals(heard.events) == [0, 1, 2]
                assert {event["code"] for event in heard.of("warning")} == {"lagging"}

    with GatedEngine(is_open=False, lag_warning_ms=1.0, speculation=False) as engine:
        run(engine, scenario, refuse_lag_ms=1.0)


def test_audio_waits_while_many_finals_do() -> None:
    line = "." * 20 + ("#" * 20 + "." * 20) * 40

    async def scenario(served: Served) -> None:
        heard = Heard()
        async with connect(served.address) as websocket:
            sending = asyncio.create_task(
                send_all(websocket, [*pieces(audio(line).astype("<i2").tobytes(), 16_000), CLOSE])
            )
            while (event := await read(websocket)).get("utterance_id") != 7:
                heard.events.append(event)
            # time for the rest to be taken, if it were: that of a whole other session
            silence = await talk(served.address, [bytes(40 * SECOND // 160)] * 160 + [CLOSE])
            assert silence.code == 1000
            engine.gate.set()
            await read_all(websocket, heard)
            await sending
        assert finals(heard.events) == list(range(40))
        types = [event["type"] for event in heard.events]
        before_first_final = types[: types.index("emotion.final")]
        # number 7 is told above; 8 wait for their analysis, and one is being spoken
        assert before_first_final.count("utterance.start") <= 8

    with GatedEngine(is_open=False, speculation=False, partials=False) as engine:
        run(engine, scenario)


def test_a_client_that_does_not_read_is_dropped(engine: GatedEngine) -> None:
    ping = json.dumps({"type": "ping", "id": "x" * 128})

    async def scenario(served: Served) -> None:
        # small buffers, and a queue of one: the client's library stops reading as well
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setblocking(False)
        place = urlsplit(served.address)
        await asyncio.get_running_loop().sock_connect(sock, (place.hostname, place.port))
        async with connect(served.address, sock=sock, max_queue=1, close_timeout=0.01) as websocket:
            with pytest.raises(ConnectionClosed):
                while True:
                    await websocket.send(ping)
        await until(lambda: not served.open_sessions)

    run(engine, scenario, idle_timeout_s=0.3)


# the end


def test_a_stopped_server_finishes_what_was_said() -> None:
    async def scenario() -> None:
        heard = Heard()
        async with serving(engine) as served:
            websocket = await connect(served.address)
            await websocket.send(PCM[: int(2.6 * SECOND)])
            await asyncio.to_thread(engine.started.wait)
            await websocket.send('{"type": "ping"}')
            while (event := await read(websocket))["type"] != "pong":
                heard.events.append(event)
            reading = asyncio.create_task(read_all(websocket, heard))
            asyncio.get_running_loop().call_soon(engine.gate.set)
        await reading
        assert heard.events[-1]["reason"] == "server_shutdown"
        assert (heard.code, heard.reason) == (1001, "server_shutdown")
        assert finals(heard.events) == list(range(heard.events[-1]["utterances"]))
        assert finals(heard.events)
        with pytest.raises(OSError):
            await connect(served.address)

    with GatedEngine(is_open=False) as engine:
        asyncio.run(scenario())


def test_a_server_that_cannot_finish_stops_in_time() -> None:
    async def scenario() -> None:
        async with serving(engine, drain_timeout_s=0.05) as served:
            websocket = await connect(served.address)
            await websocket.send(PCM)
            await asyncio.to_thread(engine.started.wait)
        with pytest.raises(ConnectionClosed):
            await read(websocket, "session.closed")

    with GatedEngine(is_open=False) as engine:
        asyncio.run(scenario())


def test_a_server_that_stops_waits_for_no_handshake() -> None:
    """Browsers open connections that they may never use."""

    async def scenario() -> None:
        async with serving(engine, handshake_timeout_s=10.0 * DEADLINE_S) as served:
            place = urlsplit(served.address)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            await talk(served.address, [CLOSE])  # by then the other one has been accepted, too
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    with GatedEngine() as engine:
        asyncio.run(scenario())


@pytest.mark.parametrize("turns", range(6))
def test_what_connects_as_a_server_stops_is_closed(turns: int) -> None:
    """However many turns of the loop it has; a socket left open is a warning, an error here."""

    async def scenario() -> socket.socket:
        async with serving(engine) as served:
            place = urlsplit(served.address)
            client = socket.create_connection((place.hostname, place.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        return client

    with GatedEngine() as engine, asyncio.run(scenario()) as client:
        gc.collect()
        client.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
