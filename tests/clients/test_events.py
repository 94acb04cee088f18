"""The client's own types against the schema of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.core.wire import json_schema
from realtime_ser_client.errors import ServerError
from realtime_ser_client.events import EVENT_TYPES, UnknownEvent, parse_event

SCHEMAS: dict[str, Any] = json_schema()["$defs"]
PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


def schema_of(hint: Any) -> dict[str, Any]:
    """What JSON Schema a type of the client amounts to."""
    if hint is Any:
        return {}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        names = [field.name for field in fields(hint) if field.name != "raw"]
        return {name: schema_of(hints[name]) for name in names}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"const": arguments[0]}
    if origin is UnionType:
        return {"anyOf": [schema_of(argument) for argument in arguments]}
    if origin is tuple:
        return {"items": schema_of(arguments[0])}
    assert origin is Mapping
    return {"values": schema_of(arguments[1])}


def simplified(schema: dict[str, Any]) -> Any:
    """A schema of the server in the same terms; ranges and lists of values are for the server."""
    if "properties" in schema:
        return {name: simplified(item) for name, item in schema["properties"].items()}
    if "enum" in schema:
        return {"type": "string"}
    if "anyOf" in schema:
        return {"anyOf": [simplified(item) for item in schema["anyOf"]]}
    if "items" in schema:
        return {"items": simplified(schema["items"])}
    if "additionalProperties" in schema:
        return {"values": simplified(schema["additionalProperties"])}
    return {key: schema[key] for key in ("type", "const") if key in schema}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_types_are_those_of_the_server(name: str) -> None:
    assert schema_of(EVENT_TYPES[name]) == simplified(SCHEMAS[name])


def test_there_are_no_types_that_the_server_does_not_have() -> None:
    assert set(EVENT_TYPES) == set(SCHEMAS)


def test_what_a_newer_server_says_is_passed_through() -> None:
    text = '{"type": "warning", "seq": 3, "audio_end_ms": 5, "code": "a", "message": "b", "new": 1}'
    event = parse_event(text)
    assert (event.type, event.seq, event.audio_end_ms, event.lag_ms) == ("warning", 3, 5.0, None)
    assert event.raw["new"] == 1
    unknown = parse_event('{"type": "speaker.changed", "speaker": 2}')
    assert isinstance(unknown, UnknownEvent)
    assert (unknown.type, unknown.seq, unknown.raw["speaker"]) == ("speaker.changed", -1, 2)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello", "not JSON"),
        ("[1]", "without a type"),
        ('{"type": 1}', "without a type"),
        ('{"type": "pong", "audio_end_ms": 0, "id": null}', "pong with seq: None where int"),
        ('{"type": "pong", "seq": true, "audio_end_ms": 0, "id": null}', "seq: True where int"),
        ('{"type": "pong", "seq": 0, "audio_end_ms": 0, "id": 7}', "id: 7 where str"),
    ],
)
def test_what_is_no_event_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ServerError, match=complaint):
        parse_event(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(EVENT_TYPES)), st.data())
def test_only_our_error_comes_out(name: str, data: st.DataObject) -> None:
    names = [field.name for field in fields(EVENT_TYPES[name]) if field.name not in ("raw", "type")]
    raw = data.draw(st.dictionaries(st.sampled_from(names), JSON))
    try:
        event = parse_event(json.dumps({"type": name, **raw}))
    except ServerError:
        return
    assert event.type == name
