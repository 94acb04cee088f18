"""A recording with what is known of it, from any corpus, and its sound."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..errors import ExportError
from ..training.corpora import SAMPLE_RATE_HZ, Clip

Waveform = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """One utterance.

    Attributes:
        path: of the sound; a file that need not exist where the corpus gives only texts.
        emotion: the corpus's own word for it, unmapped.
        speaker: unique over all corpora; empty where nobody says.
        split: train, dev or test, disjoint by speaker; empty where the corpus has none.
        sex: male, female or empty.
        text: what is said; empty where nobody wrote it down.
        affect: valence, arousal, dominance, each 0..1, or None.
    """

    path: Path
    corpus: str
    emotion: str
    speaker: str = ""
    split: str = ""
    sex: str = ""
    language: str = ""
    text: str = ""
    affect: tuple[float, float, float] | None = None


def provided(data: Path, corpora: Sequence[str]) -> list[Recording]:
    """The recordings of some corpora of `data/speech.csv`, with the corpus's own emotions.

    Raises:
        ExportError: there is no such file, or none of a corpus in it.
    """
    path = data / "speech.csv"
    if not path.is_file():
        raise ExportError(f"{data} holds no speech.csv; give --data the folder that does")
    with path.open(newline="", encoding="utf-8-sig") as file:
        found = [
            Recording(
                path=data / "speech" / row["file"],
                corpus=row["corpus"],
                emotion=row["emotion"],
                speaker=row["speaker"],
                split=row["split"],
                sex=row["sex"],
                language=row["language"],
                text=row["text"],
            )
            for row in csv.DictReader(file)
            if row["corpus"] in corpora
        ]
    missing = set(corpora) - {recording.corpus for recording in found}
    if missing:
        raise ExportError(f"{path} has no clip of {', '.join(sorted(missing))}")
    return found


def read_sound(path: Path) -> Waveform:
    """The first channel at 16 kHz, float32 in -1..1.

    Raises:
        ExportError: it is not there, or no sound that libsndfile reads.
    """
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ExportError(f"{path} cannot be read ({error}); restore the corpus") from None
    mono = np.ascontiguousarray(samples[:, 0])
    if rate_hz == SAMPLE_RATE_HZ:
        return mono
    resampled: Waveform = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return resampled


def as_clips(recordings: Sequence[Recording], labels: Sequence[str]) -> list[Clip]:
    """For `protocols.splits`, which looks at corpus, speaker, sex, split and label.

    The label is the place in `labels`, the paper's own, and not in `corpora.LABELS`.
    """
    return [
        Clip(
            file=recording.path.name,
            corpus=recording.corpus,
            split=recording.split,
            speaker=recording.speaker,
            label=labels.index(recording.emotion),
            votes=None,
            sex=recording.sex,
        )
        for recording in recordings
    ]
