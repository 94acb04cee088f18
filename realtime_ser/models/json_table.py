"""Read untrusted JSON key by key: every value typed, every leftover key an error."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NoReturn, Self, TypeVar

from realtime_ser.errors import BundleFormatError

_Item = TypeVar("_Item")


class Table:
    """A JSON object at `field` of `source`, read by taking its keys one after the other.

    What else comes in tables is read by a subclass with a `fail` of its own.
    """

    def __init__(self, value: object, source: str, field: str = "") -> None:
        self.source = source
        self.field = field
        self._taken: set[str] = set()
        if not isinstance(value, dict):
            self.fail("", f"must be an object, not {_show(value)}")
        self._values: dict[str, Any] = value

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise BundleFormatError that names the file and the field."""
        field = ".".join(name for name in (self.field, key) if name)
        place = f"{self.source}, field {field}" if field else self.source
        raise BundleFormatError(f"{place}: {problem}; re-export the bundle")

    def take(self, key: str) -> object:
        """The value of a required key."""
        self._taken.add(key)
        if key not in self._values:
            self.fail(key, "is missing")
        return self._values[key]

    def has(self, key: str) -> bool:
        """Whether an optional key is there and is not null."""
        self._taken.add(key)
        return self._values.get(key) is not None

    def done(self) -> None:
        """Raise BundleFormatError when a key is left that nobody took."""
        for key in self._values:
            if key not in self._taken:
                known = ", ".join(sorted(self._taken))
                self.fail("", f"has an unknown key {_show(key)} (known: {known})")

    def names(self) -> Iterator[str]:
        """All keys, for an object whose keys are data."""
        for key in self._values:
            yield self._require_text(key, "")

    def text(self, key: str) -> str:
        """Printable text: a line break or an escape sequence has no place in a name."""
        return self._require_text(self.take(key), key)

    def _require_text(self, value: object, key: str) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            self.fail(key, f"must be one line of printable text, not {_show(value)}")
        return value

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        """One of the words in `choices`."""
        value = self.text(key)
        if value not in choices:
            self.fail(key, f"must be one of {', '.join(choices)}, not {_show(value)}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number in `low` to `high`."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"must be a whole number in {low} to {high}, not {_show(value)}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in `low` to `high`."""
        return self._require_number(self.take(key), key, low, high)

    def _require_number(self, value: object, key: str, low: float, high: float) -> float:
        number = math.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                number = float(value)
        if not (math.isfinite(number) and low <= number <= high):
            limits = "" if math.isinf(low) and math.isinf(high) else f" in {low:g} to {high:g}"
            self.fail(key, f"must be a finite number{limits}, not {_show(value)}")
        return number

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """A list of exactly `count` numbers in `low` to `high`."""
        values = self.list(key)
        if len(values) != count:
            self.fail(key, f"must hold {count} numbers, not {len(values)}")
        return tuple(
            self._require_number(v, f"{key}[{i}]", low, high) for i, v in enumerate(values)
        )

    def list(self, key: str) -> list[object]:
        """A list of anything."""
        value = self.take(key)
        if not isinstance(value, list):
            self.fail(key, f"must be a list, not {_show(value)}")
        return value

    def words(self, key: str, least: int) -> tuple[str, ...]:
        """A list of at least `least` different texts."""
        values = [self._require_text(v, f"{key}[{i}]") for i, v in enumerate(self.list(key))]
        if len(values) < least:
            self.fail(key, f"must hold at least {least}, not {len(values)}")
        if len(set(values)) != len(values):
            self.fail(key, "names something twice")
        return tuple(values)

    def shape(self, key: str) -> tuple[int | str, ...]:
        """The axes of a tensor: sizes from 1 up, or names of free dimensions."""
        axes: list[int | str] = []
        for index, axis in enumerate(self.list(key)):
            if isinstance(axis, str):
                axes.append(self._require_text(axis, f"{key}[{index}]"))
            elif isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1:
                axes.append(axis)
            else:
                self.fail(f"{key}[{index}]", f"must be a size or a name, not {_show(axis)}")
        return tuple(axes)

    def path(self, key: str) -> str:
        """A POSIX path that stays inside the bundle."""
        return self.require_path(self.take(key), key)

    def require_path(self, value: object, key: str) -> str:
        """Check that `value` is a POSIX path that stays inside the bundle."""
        text = self._require_text(value, key)
        path = PurePosixPath(text)
        if "\\" in text or ":" in text or path.is_absolute() or ".." in path.parts:
            self.fail(key, f"must be a path inside the bundle, not {_show(text)}")
        if path.as_posix() != text or text == ".":
            self.fail(key, f"must be a plain relative path, not {_show(text)}")
        return text

    def table(self, key: str) -> Self:
        """An object."""
        return type(self)(self.take(key), self.source, self._below(key))

    def tables(self, key: str, read: Callable[[Self], _Item]) -> tuple[_Item, ...]:
        """A list of objects, each turned into a value by `read`."""
        return tuple(
            read(type(self)(item, self.source, self._below(f"{key}[{index}]")))
            for index, item in enumerate(self.list(key))
        )

    def _below(self, key: str) -> str:
        return f"{self.field}.{key}" if self.field else key


def parse_json(content: bytes, source: str) -> object:
    """Decode UTF-8 JSON, stricter than `json.loads`: no double keys, no NaN, no infinity.

    Raises:
        BundleFormatError: it is not such JSON.
    """

    def reject(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise ValueError(f"the same key twice in one object, among {_show(keys)}")
        return dict(pairs)

    try:
        value: object = json.loads(
            content.decode("utf-8"), parse_constant=reject, object_pairs_hook=unique
        )
    except (ValueError, RecursionError) as error:
        problem = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BundleFormatError(
            f"{source}: is not the JSON of a bundle ({problem}); re-export the bundle"
        ) from None
    return value


def _show(value: object) -> str:
    """A value in a message: printable, and short whatever was sent."""
    try:
        # Not all tables come from JSON: one of TOML may hold a date.
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        # An integer of more digits than Python prints.
        return "a value too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
