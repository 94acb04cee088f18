"""What a client may say: JSON messages and the query of its address, checked and typed.

Whatever comes in, only `RemoteProtocolError` comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from realtime_ser.core.options import parse_options
from realtime_ser.errors import RemoteProtocolError

MAXIMUM_TEXT = 16_384
"""Characters in a text message; ours have a hundred. Audio is what may be long."""

MAXIMUM_PING_ID = 128
_QUERY_FIELDS = 64


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    """Set something for this session, before its first audio."""

    type: ClassVar[str] = "session.update"
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionClose:
    """No more audio comes: finish what was said, then close."""

    type: ClassVar[str] = "session.close"


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? `id` comes back."""

    type: ClassVar[str] = "ping"
    id: str | None


ClientMessage = SessionUpdate | SessionClose | Ping
MESSAGE_TYPES: tuple[type[ClientMessage], ...] = (SessionUpdate, SessionClose, Ping)


@dataclass(frozen=True, slots=True)
class Opening:
    """What the query of an address asks for.

    Attributes:
        changes: settings of the session.
        token: what the client identifies itself with.
        resume: the resume token of the session to come back to; None for a new one.
        last_seq: number of the last event that the client has; -1 for none.
    """

    changes: Mapping[str, Any]
    token: str | None = None
    resume: str | None = None
    last_seq: int = -1


def parse_message(text: str, maximum_depth: int) -> ClientMessage:
    """Read one text message.

    Raises:
        RemoteProtocolError: it is none of ours; the message says what would be.
    """
    if len(text) > MAXIMUM_TEXT:
        raise RemoteProtocolError(
            "text_too_long",
            f"a text message of {len(text)} characters; at most {MAXIMUM_TEXT} are taken, and "
            "audio goes in binary messages",
        )
    if _depth(text) > maximum_depth:
        raise RemoteProtocolError(
            "json_too_deep", f"JSON nested deeper than {maximum_depth} levels; ours has one"
        )
    try:
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise RemoteProtocolError(
            "invalid_json",
            "a text message that is not JSON; audio goes in binary messages, text messages are "
            'such as {"type": "session.close"}',
        ) from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise RemoteProtocolError(
            "invalid_message",
            'a message must be an object with a "type"; send {"type": "session.close"}, say',
        )
    return _typed(message.pop("type"), message)


def parse_query(query: str) -> Opening:
    """Read the query of an address, without its question mark.

    Raises:
        RemoteProtocolError: an unknown name, a name given twice, or a value that is not allowed.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_QUERY_FIELDS)
    except ValueError:
        raise RemoteProtocolError(
            "invalid_message", f"more than {_QUERY_FIELDS} query parameters; send fewer"
        ) from None
    texts = dict(pairs)
    if len(texts) < len(pairs):
        raise RemoteProtocolError("invalid_message", "a query parameter is given twice; keep one")
    token, resume = texts.pop("token", None), texts.pop("resume", None)
    last_seq = texts.pop("last_seq", None)
    if resume is None:
        if last_seq is not None:
            raise RemoteProtocolError("invalid_message", "last_seq without resume; give both")
        return Opening(parse_options(texts), token)
    if texts:
        raise RemoteProtocolError(
            "invalid_message",
            "a session that is resumed keeps its settings; leave the other parameters out",
        )
    return Opening({}, token, resume, _sequence_number(last_seq))


def _sequence_number(text: str | None) -> int:
    if text is None or text == "-1":
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RemoteProtocolError(
            "invalid_message", "last_seq must be the seq of the last event received, or -1 for none"
        )
    return int(text)


def _typed(name: str, fields: dict[str, Any]) -> ClientMessage:
    if name == SessionUpdate.type:
        return SessionUpdate(fields)
    if name == SessionClose.type:
        _require_fields(name, fields, ())
        return SessionClose()
    if name == Ping.type:
        _require_fields(name, fields, ("id",))
        return Ping(_ping_id(fields.get("id")))
    known = ", ".join(message_type.type for message_type in MESSAGE_TYPES)
    raise RemoteProtocolError(
        "unknown_message", f"unknown message type {name[:64]!r}; there are {known}"
    )


def _require_fields(name: str, fields: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    for field in fields:
        if field not in allowed:
            raise RemoteProtocolError(
                "invalid_message", f"{name} has no field {field[:64]!r}; leave it out"
            )


def _ping_id(value: Any) -> str | None:
    # half a surrogate pair is valid JSON, and cannot be sent back in UTF-8
    if value is None or (
        isinstance(value, str)
        and len(value) <= MAXIMUM_PING_ID
        and not any("\ud800" <= character <= "\udfff" for character in value)
    ):
        return value
    raise RemoteProtocolError(
        "invalid_message", f"the id of a ping must be a text of at most {MAXIMUM_PING_ID} letters"
    )


def _depth(text: str) -> int:
    """How deeply the brackets outside of quotes are nested; recursion must not find it out."""
    depth = deepest = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
