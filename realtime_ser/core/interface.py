"""The interface of the server as documents for programs: JSON Schemas and AsyncAPI 3.

All of it is generated from the types of events and messages and from the tables of settings.
"""

from __future__ import annotations

import json
from typing import Any

from realtime_ser.config import SettingSpec
from realtime_ser.core.messages import (
    MAXIMUM_PING_ID,
    MESSAGE_TYPES,
    ClientMessage,
    Ping,
    SessionClose,
    SessionUpdate,
)
from realtime_ser.core.options import SESSION_SPECS
from realtime_ser.core.wire import PROTOCOL_VERSION, json_schema

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def documents() -> dict[str, str]:
    """Every document as text, by name: events, client, asyncapi."""
    return {
        "events": json.dumps(json_schema(), indent=2) + "\n",
        "client": json.dumps(client_schema(), indent=2) + "\n",
        "asyncapi": "\n".join(_yaml(asyncapi())) + "\n",
    }


def client_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of every text message of a client; `type` tells which."""
    return {
        "$schema": _DRAFT,
        "title": "realtime-ser client messages",
        "description": f"Protocol version {PROTOCOL_VERSION}; audio goes in binary messages.",
        "oneOf": [{"$ref": f"#/$defs/{message.type}"} for message in MESSAGE_TYPES],
        "$defs": {message.type: _message_schema(message) for message in MESSAGE_TYPES},
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 description, as the server sees it: it receives messages, sends events."""
    events, messages = json_schema()["$defs"], client_schema()["$defs"]
    described = {
        name: {"name": name, "summary": schema["description"], "payload": schema}
        for name, schema in (messages | events).items()
    }
    audio = {
        "name": "audio",
        "summary": "Audio in the session's encoding, any number of bytes.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "realtime-ser",
            "version": str(PROTOCOL_VERSION),
            "description": "Speech emotion recognition over one WebSocket; see PROTOCOL.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8765",
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"}
                    for name in ("audio", *described)
                },
                "bindings": {"ws": {"method": "GET", "query": _query_schema()}},
            }
        },
        "operations": {
            "receive": _operation("receive", ["audio", *messages]),
            "send": _operation("send", list(events)),
        },
        "components": {
            "messages": {"audio": audio, **described},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Only where the server has a token.",
                }
            },
        },
    }


def _operation(action: str, messages: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in messages],
    }


def _query_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "The session's settings, or resume and last_seq; see PROTOCOL.md.",
        "properties": {
            "token": {"type": "string"},
            "resume": {"type": "string"},
            "last_seq": {"type": "integer", "minimum": -1},
            **_settings_schema(),
        },
        "additionalProperties": False,
    }


def _message_schema(message: type[ClientMessage]) -> dict[str, Any]:
    fields: dict[type[ClientMessage], dict[str, Any]] = {
        SessionUpdate: _settings_schema(),
        SessionClose: {},
        Ping: {"id": {"type": ["string", "null"], "maxLength": MAXIMUM_PING_ID}},
    }
    return {
        "type": "object",
        "description": (message.__doc__ or "").split("\n")[0],
        "properties": {"type": {"const": message.type}, **fields[message]},
        "required": ["type"],
        "additionalProperties": False,
    }


def _settings_schema() -> dict[str, Any]:
    return {name: _setting_schema(spec) for name, spec in SESSION_SPECS.items()}


def _setting_schema(spec: SettingSpec) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": _JSON_TYPES[spec.type],
        "description": spec.help,
        "default": spec.default,
    }
    if spec.choices:
        schema["enum"] = list(spec.choices)
    elif spec.type in (int, float):
        schema |= {"minimum": spec.low, "maximum": spec.high}
    return schema


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of block YAML; scalars, and what is empty, as the JSON that YAML is a superset of."""
    lines: list[str] = []
    items = value.items() if isinstance(value, dict) else [(None, item) for item in value]
    for name, item in items:
        head = indent + ("-" if name is None else f"{_yaml_key(name)}:")
        if isinstance(item, dict | list) and item:
            lines += [head, *_yaml(item, indent + "  ")]
        else:
            lines.append(f"{head} {json.dumps(item, ensure_ascii=False)}")
    return lines


def _yaml_key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else json.dumps(name)
