"""Events as JSON, and the JSON Schema of it, both from the same dataclasses.

On the wire, sample counts become milliseconds (`audio_end` -> `audio_end_ms`), an emotion becomes
`{"top": ..., "probabilities": {label: p}}`, and what does not apply is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from realtime_ser.core.events import EVENT_TYPES, Event
from realtime_ser.types import Emotion, ms_from_samples

PROTOCOL_VERSION = 1

_SAMPLE_INDICES = {"audio_start", "audio_end", "as_of", "start", "end", "speech_end", "endpoint"}
_DECIMALS = 6


def event_to_wire(event: Event) -> dict[str, Any]:
    """The event as what `json.dumps` takes, `type` first."""
    return {"type": event.type, **_encode_fields(event)}


def event_to_json(event: Event) -> str:
    """The event as one line of JSON."""
    return json.dumps(event_to_wire(event), ensure_ascii=False, allow_nan=False)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of every event; `type` tells which."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "realtime-ser events",
        "description": f"Protocol version {PROTOCOL_VERSION}; one JSON object an event.",
        "oneOf": [{"$ref": f"#/$defs/{event_type.type}"} for event_type in EVENT_TYPES],
        "$defs": {event_type.type: _event_schema(event_type) for event_type in EVENT_TYPES},
    }


def _wire_fields(value: Any) -> Iterator[tuple[Field[Any], str, bool]]:
    """Each field that goes on the wire: the field, its name there, whether it counts samples."""
    for field in fields(value):
        if not field.metadata.get("internal"):
            counts_samples = field.name in _SAMPLE_INDICES
            yield field, field.name + "_ms" * counts_samples, counts_samples


def _encode_fields(value: Any) -> dict[str, Any]:
    return {
        name: _encode(
            ms_from_samples(getattr(value, field.name))
            if counts_samples
            else getattr(value, field.name)
        )
        for field, name, counts_samples in _wire_fields(value)
    }


def _encode(value: Any) -> Any:
    if isinstance(value, Emotion):
        return {"top": value.top, "probabilities": _encode(value.as_dict())}
    if is_dataclass(value):
        return _encode_fields(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


def _event_schema(event_type: type[Event]) -> dict[str, Any]:
    schema = _object_schema(event_type)
    schema["properties"] = {"type": {"const": event_type.type}, **schema["properties"]}
    schema["required"] = ["type", *schema["required"]]
    schema["description"] = (event_type.__doc__ or "").split("\n")[0]
    return schema


def _object_schema(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    properties = {
        name: {"type": "number", "minimum": 0} if counts_samples else _schema(hints[field.name])
        for field, name, counts_samples in _wire_fields(cls)
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_EMOTION = {
    "type": "object",
    "properties": {
        "top": {"type": "string"},
        "probabilities": {"type": "object", "additionalProperties": _PROBABILITY},
    },
    "required": ["top", "probabilities"],
    "additionalProperties": False,
}
_PLAIN: dict[Any, dict[str, Any]] = {
    Emotion: _EMOTION,
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    NoneType: {"type": "null"},
    Any: {},
}


def _schema(hint: Any) -> dict[str, Any]:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        return _object_schema(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    assert origin is dict, hint  # an event with another kind of field needs a line here
    return {"type": "object", "additionalProperties": _schema(arguments[1])}
