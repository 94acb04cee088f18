"""Progress on stderr: a bar at a terminal, elsewhere a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from ..progress import say

Item = TypeVar("Item")


def bar(
    items: Iterable[Item], title: str, *, total: int | None = None, brief: bool = False
) -> Iterator[Item]:
    """The items, one by one, with a bar beside them.

    Args:
        total: how many there are, where `items` does not know.
        brief: one of many: the bar goes when it is done, and a log has no line of it.
    """
    # stdout is for the report.
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, title, total=total, console=console, transient=brief)
        return
    if not brief:
        say(title)
    yield from items
