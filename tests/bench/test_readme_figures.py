"""The README's figures are those of the committed results."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_they_are_what_was_measured() -> None:
    # benchmarks/ is not installed
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.readme import RESULTS, figures, in_readme
    finally:
        sys.path.remove(str(ROOT))
    from realtime_ser.bench.results import read_results

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert in_readme(text, figures(read_results([RESULTS]))) == text
