"""Tables of a TOML file as frozen dataclasses; whatever is wrong is an error that names the key."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import ExportError

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], table: object, place: str) -> Settings:
    """A table as an instance of the dataclass `kind`.

    A field may be a bool, int, float, str, a `Literal` of those, a tuple, another dataclass, or
    one of these or None. A field with a default may be left out.

    Args:
        place: of the table, for messages: `my.toml, [audio]`.

    Raises:
        ExportError: a key is unknown or missing, or its value is of another kind.
    """
    if not isinstance(table, Mapping):
        raise ExportError(f"{place}: must be a table, not {table!r}")
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ExportError(f"{place}: has an unknown key {key!r}; known are {', '.join(known)}")
    values = {key: _read(hints[key], value, f"{place}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:  # the only one that is left: something without a default is missing
        raise ExportError(f"{place}: {str(error).partition(') ')[2] or error}") from None
    except ExportError as error:
        raise ExportError(f"{place}: {error}") from None


def _read(hint: Any, value: object, place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:  # TOML has no such thing, run.json has
            return None
        (hint,) = (kind for kind in inner if kind is not type(None))
        return _read(hint, value, place)
    if origin is Literal:
        if value not in inner:
            raise ExportError(
                f"{place} must be one of {', '.join(map(repr, inner))}, not {value!r}"
            )
        return value
    if origin is tuple:
        return _read_tuple(inner, value, place)
    if is_dataclass(hint):
        return read_settings(hint, value, place)  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is a kind of int to Python, and `steps = true` a mistake to people.
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ExportError(f"{place} must be {_WORDS.get(hint, hint.__name__)}, not {value!r}")
    return value


def _read_tuple(inner: tuple[Any, ...], value: object, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ExportError(f"{place} must be a list, not {value!r}")
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise ExportError(f"{place} must have {len(inner)} values, not {len(value)}")
    return tuple(
        _read(hint, each, f"{place}[{number}]")
        for number, (hint, each) in enumerate(zip(inner, value, strict=True))
    )


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    bool: "true or false",
}
