"""What a client may say, without a socket: messages in, actions or ProtocolErrors out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.config import ServerSettings, Settings
from realtime_ser.core.messages import (
    MAXIMUM_TEXT,
    Opening,
    Ping,
    SessionClose,
    SessionUpdate,
    parse_message,
    parse_query,
)
from realtime_ser.core.options import SESSION_SPECS, SessionConfig, StreamOptions
from realtime_ser.core.protocol import (
    Action,
    Configured,
    Ended,
    Heard,
    Pinged,
    SessionProtocol,
    close_code,
)
from realtime_ser.errors import ProtocolError, RemoteProtocolError

OPERATOR = Settings(max_utterance_s=20.0, partial_interval_ms=400)
CLOSE = '{"type": "session.close"}'


def protocol(now_s: float = 0.0, **limits: Any) -> SessionProtocol:
    config = SessionConfig(StreamOptions(), OPERATOR)
    return SessionProtocol(config, OPERATOR, ServerSettings(**limits), now_s)


def update(**changes: Any) -> str:
    return json.dumps({"type": "session.update", **changes})


def refused(session: SessionProtocol, message: str | bytes, now_s: float = 0.0) -> tuple[str, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        session.receive(message, now_s)
    return caught.value.code, str(caught.value)


# messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "ping"}', Ping(None)),
        ('{"type": "ping", "id": "\\"[{"}', Ping('"[{')),
        (' {"type": "session.close"} ', SessionClose()),
        ('{"type": "session.update", "channels": 2}', SessionUpdate({"channels": 2})),
    ],
)
def test_messages_are_read(text: str, message: object) -> None:
    assert parse_message(text, 1) == message


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "invalid_json", "not JSON"),
        ("RIFF....WAVE", "invalid_json", "audio goes in binary messages"),
        ('{"type": "ping", "id": NaN}', "invalid_json", "not JSON"),
        ('{"type": "ping"', "invalid_json", "not JSON"),
        ("9" * 5000, "invalid_json", "not JSON"),
        ("[" * 10_000, "json_too_deep", "deeper than 8"),
        ('{"type": "session.update", "a": ' + "[" * 9 + "]" * 9 + "}", "json_too_deep", "deeper"),
        ('"' + "x" * MAXIMUM_TEXT + '"', "text_too_long", "16386 characters"),
        ("[]", "invalid_message", 'object with a "type"'),
        ("3", "invalid_message", 'object with a "type"'),
        ('{"type": 3}', "invalid_message", 'object with a "type"'),
        ('{"type": "ping", "id": 3}', "invalid_message", "id of a ping"),
        ('{"type": "ping", "id": "\\ud800"}', "invalid_message", "id of a ping"),
        ('{"type": "ping", "when": 3}', "invalid_message", "no field 'when'"),
        ('{"type": "session.close", "now": true}', "invalid_message", "no field 'now'"),
        ('{"type": "session.end"}', "unknown_message", "session.close"),
        ('{"type": "\\ud800"}', "unknown_message", "'\\\\ud800'"),
    ],
)
def test_what_is_none_of_ours_is_refused_with_what_would_be(
    text: str, code: str, words: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        parse_message(text, 8)
    assert caught.value.code == code
    str(caught.value).encode()  # and can be sent


@pytest.mark.parametrize(
    ("query", "opening"),
    [
        ("", Opening({})),
        ("encoding=alaw&partials=no", Opening({"encoding": "alaw", "partials": False})),
        ("token=t&end_after_s=2", Opening({"end_after_s": 2.0}, "t")),
        ("resume=r", Opening({}, None, "r", -1)),
        ("resume=r&last_seq=-1&token=t", Opening({}, "t", "r", -1)),
        ("resume=r&last_seq=41", Opening({}, None, "r", 41)),
    ],
)
def test_queries_are_read(query: str, opening: Opening) -> None:
    assert parse_query(query) == opening


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("encodign=alaw", "invalid_setting", "did you mean encoding"),
        ("channels=two", "invalid_setting", "channels must be a whole number, not 'two'"),
        ("channels=1&channels=2", "invalid_message", "given twice"),
        ("last_seq=4", "invalid_message", "last_seq without resume"),
        ("resume=r&last_seq=four", "invalid_message", "last_seq must be"),
        ("resume=r&last_seq=" + "9" * 5000, "invalid_message", "last_seq must be"),
        ("resume=r&channels=2", "invalid_message", "keeps its settings"),
        ("&".join(f"a{i}=1" for i in range(100)), "invalid_message", "more than 64"),
        ("%ff%00=%ed%a0%80", "invalid_setting", "unknown setting"),
    ],
)
def test_bad_queries_are_refused(query: str, code: str, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        parse_query(query)
    assert caught.value.code == code


# settings


def test_a_session_is_set_before_its_first_audio_and_not_after() -> None:
    session = protocol()
    action = session.receive(update(encoding="f32le", channels=2, hangover_ms=700), 0)
    assert isinstance(action, Configured)
    assert session.config.options == StreamOptions(encoding="f32le", channels=2)
    assert session.config.settings.hangover_ms == 700
    assert session.receive(b"", 0) is None  # an empty message is no audio yet
    session.receive(update(channels=1, pre_roll_ms=100, rolling_half_life_s=5), 0)
    assert session.config.settings.rolling_half_life_s == 5.0
    assert session.config.options.encoding == "f32le"
    session.receive(bytes(8), 0)
    assert refused(session, update(channels=2))[0] == "update_after_audio"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "mp3"}, "encoding must be one of s16le, f32le, mulaw, alaw, not 'mp3'"),
        ({"encoding": 3}, "encoding must be text"),
        ({"sample_rate_hz": 7999}, "sample_rate_hz must lie in 8000 to 192000"),
        ({"sample_rate_hz": 16000.5}, "must be a whole number"),
        ({"channels": 10**400}, "channels must lie in"),
        ({"channels": None}, "channels must be a whole number"),
        ({"channels": [1]}, "channels must be a whole number"),
        ({"hangover": 3}, "unknown setting 'hangover'; did you mean hangover_ms"),
        ({"": 3}, "unknown setting ''; see clients/PROTOCOL.md"),
        ({"asr": "large"}, "asr is for the whole server"),
        ({"token": "x"}, "unknown setting 'token'"),
        ({"max_utterance_s": 25}, "max_utterance_s must be at most 20 on this server"),
        ({"partial_interval_ms": 300}, "partial_interval_ms must be at least 400 on this server"),
        ({"silero_stay": 0.9}, "must not exceed"),
    ],
)
def test_settings_that_are_not_allowed_are_named(changes: dict[str, Any], words: str) -> None:
    code, message = refused(protocol(), update(**changes))
    assert code == "invalid_setting"
    assert words in message


def test_a_failed_update_changes_nothing() -> None:
    session = protocol()
    refused(session, update(channels=2, encoding="mp3"))
    assert session.config.options == StreamOptions()


def test_the_models_and_the_server_are_not_for_clients_to_set() -> None:
    assert "encoding" in SESSION_SPECS
    assert "partials" in SESSION_SPECS
    for name in ("asr", "bundle", "device", "threads", "language", "token", "host"):
        assert name not in SESSION_SPECS


# audio


@given(st.lists(st.integers(0, 50), max_size=40), st.sampled_from([("s16le", 2), ("f32le", 1)]))
def test_audio_may_be_cut_anywhere(sizes: list[int], format: tuple[str, int]) -> None:
    encoding, channels = format
    session = protocol()
    session.receive(update(encoding=encoding, channels=channels), 0)
    data = (np.arange(sum(sizes)) % 100).astype(np.uint8).tobytes()  # no byte of a NaN
    heard, start = [], 0
    for size in sizes:
        action = session.receive(data[start : start + size], 0)
        start += size
        if isinstance(action, Heard):
            heard.append(action.samples)
    whole = len(data) // 4
    assert session.received_samples == whole == sum(map(len, heard))
    if heard:
        assert np.concatenate(heard).tobytes() == data[: whole * 4]
    ended = session.receive(CLOSE, 0)
    assert ended == Ended(len(data) % 4)


def test_a_dropped_connection_forgets_half_a_sample() -> None:
    session = protocol()
    session.receive(b"\x01\x00\x02", 0)
    session.reconnected()
    action = session.receive(b"\x02\x00", 0)
    assert isinstance(action, Heard)
    assert action.samples.tolist() == [[2]]
    assert session.received_samples == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    session = protocol()
    session.receive(update(encoding="f32le"), 0)
    code, message = refused(session, np.array([0, value], "<f4").tobytes())
    assert code == "audio_unsupported"
    assert "f32le" in message


def test_after_the_end_only_pings_are_answered() -> None:
    session = protocol()
    session.receive(bytes(100), 0)
    assert session.receive(CLOSE, 0) == Ended(0)
    for late in (bytes(10), "rubbish", update(channels=2), CLOSE):
        assert session.receive(late, 0) is None
    assert session.receive('{"type": "ping", "id": "x"}', 0) == Pinged("x")
    assert session.received_samples == 50


# limits, in a time of the test's own


def test_audio_may_come_ahead_of_real_time_only_so_far() -> None:
    session = protocol(now_s=500.0, max_ahead_s=10.0)
    session.receive(bytes(2 * 16000 * 10), 1000.0)  # waiting before the first audio saves nothing
    session.receive(bytes(2 * 16000), 1001.5)
    code, message = refused(session, bytes(2 * 16000), 1001.6)
    assert code == "audio_ahead"
    assert "more than 10 s ahead" in message


def test_a_session_may_last_only_so_long_in_audio_and_on_the_clock() -> None:
    session = protocol(max_session_s=5.0)
    session.receive(bytes(2 * 16000 * 5), 1.0)
    assert refused(session, bytes(2), 1.0)[0] == "session_too_long"
    assert refused(protocol(max_session_s=5.0), '{"type": "ping"}', 5.1)[0] == "session_too_long"


def test_silence_is_an_error_unless_the_client_wants_it_to_be_the_end() -> None:
    session = protocol(idle_timeout_s=30.0)
    assert session.idle_limit_s() == 30.0
    with pytest.raises(RemoteProtocolError, match="nothing came for 30 s") as caught:
        session.receive_silence()
    assert caught.value.code == "idle_timeout"

    session = protocol(idle_timeout_s=30.0)
    session.receive(update(end_after_s=2), 0)
    assert session.idle_limit_s() == 30.0  # not before the first audio
    session.receive(bytes(3), 0)
    assert session.idle_limit_s() == 2.0
    assert session.receive_silence() == Ended(1)


def test_the_first_error_decides_how_the_connection_is_closed() -> None:
    codes = ("idle_timeout", "overloaded", "unauthorized", "internal", "invalid_json", "whatever")
    assert [close_code(code) for code in codes] == [1008, 1013, 4401, 1011, 4400, 4400]


# whatever comes in, only ProtocolErrors come out

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
NAMES = st.sampled_from([*SESSION_SPECS, "type", "id", "asr", "resume", "token", "last_seq"])
OURS = st.builds(
    lambda name, fields: json.dumps({**fields, "type": name}),
    st.sampled_from(["ping", "session.update", "session.close", "x"]),
    st.dictionaries(NAMES, JSON | st.sampled_from(["f32le", 2, 16000, True]), max_size=3),
)
MESSAGES = st.binary(max_size=64) | st.text(max_size=200) | JSON.map(json.dumps) | OURS
QUERIES = st.text(max_size=100) | st.lists(
    st.tuples(NAMES, st.text(max_size=12)).map("=".join), max_size=4
).map("&".join)


@given(st.lists(MESSAGES, max_size=12), st.floats(0, 1e6))
def test_no_client_gets_anything_but_protocol_errors_out_of_a_session(
    messages: list[str | bytes], step_s: float
) -> None:
    session = protocol()
    for number, message in enumerate(messages):
        try:
            action = session.receive(message, number * step_s)
        except ProtocolError as error:
            str(error).encode()
        else:
            assert action is None or isinstance(action, Action)


@given(QUERIES)
def test_no_address_gets_anything_but_protocol_errors_out_of_its_query(query: str) -> None:
    try:
        opening = parse_query(query)
        SessionConfig(StreamOptions(), OPERATOR).changed(opening.changes, OPERATOR)
    except ProtocolError as error:
        str(error).encode()
