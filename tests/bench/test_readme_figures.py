"""The README's figures are those of the committed results."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_they_are_what_was_measured() -> None:
    # benchmarks/ is not installed
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.readme import with_figures
    finally:
        sys.path.remove(str(ROOT))

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("figures", "peers", "targets", "cost"):
        assert text.count(f"<!-- {name}: python -m benchmarks.readme -->") == 1
        assert text.count(f"<!-- end of {name} -->") == 1
    assert with_figures(text) == text
