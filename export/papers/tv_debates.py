"""Paper 1, section 2: answers of five annotators become labels.

The corpus (Spanish TV debates, project AMIC) is not published. Its annotations are read from a
table in the terms of the paper, one row for each annotator of each intervention:

    audio/NAME.wav
    annotations.csv    file, speaker, sex, text, annotator, emotion, valence, arousal, dominance

where emotion is a word of the paper's table 3 and the rest are the numbers that section 2.1 gives
the answers.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import ExportError
from .recordings import Recording

AGREEMENT = 0.6
CATEGORIES = ("Calm", "Upset", "Worried")
"""The three that were told apart; table 3 has the others, most with too few clips."""

_COLUMNS = ("file", "annotator", "emotion", "valence", "arousal", "dominance")
_DIMENSIONS = ("valence", "arousal", "dominance")


def valence_class(value: float) -> int:
    """0 negative (v <= 0.4), 1 neutral, 2 positive (v >= 0.6); table 2."""
    return 0 if value <= 0.4 else 2 if value >= 0.6 else 1


def arousal_class(value: float) -> int:
    """0 neutral (a <= 0.15), 1 excited; table 2. Of 0 neutral to 1 excited."""
    return int(value > 0.15)


def dominance_class(value: float) -> int:
    """0 intimidated (d <= 0.75), 1 dominant; table 2."""
    return int(value > 0.75)


def agreed(emotions: list[str]) -> str:
    """The word that at least 60 % of the annotators chose, else an empty one."""
    word, votes = Counter(emotions).most_common(1)[0]
    return word if votes / len(emotions) >= AGREEMENT else ""


def read_tv_debates(folder: Path) -> Iterator[Recording]:
    """annotations.csv with a row for each annotator (file, speaker, sex, text, annotator, emotion,
    valence, arousal, dominance), and audio/FILE.

    `affect` holds the means over the annotators; `emotion` is empty where they do not agree.
    """
    path = folder / "annotations.csv"
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ExportError(f"{path} has no column {missing[0]!r}; needs {', '.join(_COLUMNS)}")
        of_file: dict[str, list[dict[str, str]]] = {}
        for row in reader:
            of_file.setdefault(row["file"], []).append(row)
    for name, rows in of_file.items():
        try:
            means = [sum(float(row[d]) for row in rows) / len(rows) for d in _DIMENSIONS]
        except ValueError as error:
            raise ExportError(f"{path}: {name}: {error}; ratings are 0 to 1") from None
        first = rows[0]
        yield Recording(
            path=folder / "audio" / name,
            corpus="tv_debates",
            emotion=agreed([row["emotion"] for row in rows]),
            speaker=f"tv-{first['speaker']}" if first.get("speaker") else "",
            sex=first.get("sex") or "",
            language="es",
            text=(first.get("text") or "").strip(),
            affect=(means[0], means[1], means[2]),
        )
