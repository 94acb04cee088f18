"""Sounds beside the acted corpora: calm readers and noises, half to train on, half to measure on.

A model that only ever heard actors calls every calm reader *sad* and every noise something. Half of
the readers (by person) and half of the noises are therefore trained on; every published figure on
them comes from the other half, whose people and sounds no training run has heard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

READERS = "read_speech"
NOISES = "noise"
SPLITS = ("train", "test")


def reader_of(path: Path) -> str:
    """Who reads: LibriSpeech files are named reader-chapter-utterance."""
    return path.stem.split("-")[0]


def split_of(name: str) -> str:
    """`train` or `test`, always the same for a name, on every machine."""
    return SPLITS[hashlib.sha256(name.encode()).digest()[0] % 2]


def reader_files(data: Path, split: str) -> list[Path]:
    """The neutral readings of one half of the readers, sorted; empty without the folder."""
    return _files(data / "sound" / READERS, split, reader_of)


def noise_files(data: Path, split: str) -> list[Path]:
    """One half of the non-speech recordings, sorted; empty without the folder."""
    return _files(data / "sound" / NOISES, split, lambda path: path.stem)


def _files(folder: Path, split: str, name_of: Callable[[Path], str]) -> list[Path]:
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".opus", ".flac", ".wav"))
    return [path for path in paths if split_of(name_of(path)) == split]
