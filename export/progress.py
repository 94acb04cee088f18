"""What is being done, for whoever waits: on stderr, since stdout is for results."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
