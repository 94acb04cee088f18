"""Recordings with what is said in them: the corpora, speech of espeak-ng, or a folder of one's own.

A folder of one's own holds transcripts.csv with the columns `file` and `text`, and optionally
`split` (train, dev or test), `speaker`, `language` and `corpus`. Without a split every tenth file,
by a hash of its speaker or else its name, is kept for dev.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..training.corpora import SpeakerLeakError

COLUMNS = ("file", "text", "split", "speaker", "language", "corpus")
SPLITS = ("train", "dev", "test")

# TESS is licensed without derivatives: synthesizers say its sentences, its clips only measure.
MEASURED_ONLY = ("tess",)


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio file and its words.

    Attributes:
        path: of the audio, readable from the working directory.
        text: what is said; empty when it is not known, which makes it an example of speech that
            the transcriber does not know.
    """

    path: str
    text: str
    split: str
    speaker: str
    language: str
    corpus: str


class TranscriptError(ValueError):
    """A transcripts.csv that cannot be used."""


def read_recordings(data: Path) -> list[Recording]:
    """Read the corpora (a folder with speech.csv) or a folder of one's own (transcripts.csv)."""
    if (data / "speech.csv").is_file():
        table, audio = data / "speech.csv", data / "speech"
    elif (data / "transcripts.csv").is_file():
        table, audio = data / "transcripts.csv", data
    else:
        raise TranscriptError(
            f"{data} has neither transcripts.csv nor speech.csv; write one with "
            f"a line `file,text` for each recording"
        )
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"file", "text"} - set(reader.fieldnames or ())
        if missing:
            raise TranscriptError(f"{table} lacks the column {' and '.join(sorted(missing))}")
        recordings = [_recording(row, audio, data.name) for row in reader]
    _check(recordings)
    return recordings


def _recording(row: dict[str, str], audio: Path, name: str) -> Recording:
    speaker = row.get("speaker") or row["file"]
    corpus = row.get("corpus") or name
    split = "test" if corpus in MEASURED_ONLY else row.get("split") or _split_of(speaker)
    language = row.get("language") or "en"
    return Recording(
        str(audio / row["file"]), row["text"].strip(), split, speaker, language, corpus
    )


def _split_of(speaker: str) -> str:
    return "dev" if hashlib.sha256(speaker.encode()).digest()[0] < 26 else "train"


def _check(recordings: Iterable[Recording]) -> None:
    splits: dict[str, set[str]] = {}
    for recording in recordings:
        if recording.split not in SPLITS:
            raise TranscriptError(
                f"{recording.path}: split {recording.split!r} is none of {', '.join(SPLITS)}"
            )
        splits.setdefault(recording.speaker, set()).add(recording.split)
    leaked = [speaker for speaker, where in splits.items() if len(where) > 1]
    if leaked:
        raise SpeakerLeakError(leaked)


def plain_words(text: str) -> str:
    """What the word error rate compares: small letters, without punctuation, single spaces."""
    folded = unicodedata.normalize("NFC", text).casefold().replace("\u2019", "'")
    # \w takes letters but not the vowel signs (category M) of Bengali and its like
    kept = "".join(
        c if c.isalnum() or c == "'" or unicodedata.category(c)[0] == "M" else " " for c in folded
    )
    return re.sub(r"\s+", " ", kept).strip()


def emphasis_of(text: str, emphasis: Mapping[str, float]) -> float:
    """The product of the factors whose keys are how `text` begins; 1 where there is none."""
    return math.prod(factor for start, factor in emphasis.items() if text.startswith(start))
