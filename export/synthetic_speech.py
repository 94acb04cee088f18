"""Everyday sentences spoken by espeak-ng: training speech that nobody has rights in.

A take is a sentence in one voice, at one rate and pitch, all drawn from a generator seeded by the
take, so that the same espeak-ng gives the same corpus. The voices (a language and a variant) play
the part of speakers: those of dev and test are never heard in training.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .corpora import SAMPLE_RATE_HZ
from .transcripts import COLUMNS

SENTENCES = Path(__file__).with_name("sentences.txt")
CORPUS = "espeak"

_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
_TRAIN = (
    "m1 m2 m3 m6 m7 f1 f3 f4 f5 adam Andrea Andy Annie belinda benjamin caleb david Denis ed Gene "
    "iven iven3 Jacky john linda Lee max Michael Mike norbert pablo paul pedro quincy rob robert "
    "sandro shelby steph travis victor zac grandma klatt2 klatt4"
)
_DEV = "m8 Alicia Henrique steph2"
_TEST = "m4 f2 m5 aunty marcelo Hugo steph3"
_VARIANTS_OF_SPLIT = {"train": _TRAIN.split(), "dev": _DEV.split(), "test": _TEST.split()}
_TAKES_OF_SPLIT = {"train": 12, "dev": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class Take:
    """One sentence as espeak-ng is to say it; `pitch` 0 to 99, rate in words per minute."""

    text: str
    split: str
    accent: str
    variant: str
    pitch: int
    words_per_minute: int
    number: int

    @property
    def file(self) -> str:
        return f"{self.split}/{self.number:05}.flac"


def read_sentences(path: Path = SENTENCES) -> list[str]:
    """The sentences of a text file, one a line; lines that begin with # are remarks."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def takes(sentences: Sequence[str]) -> Iterator[Take]:
    """All takes of all sentences, those of a split in voices of its own."""
    number = 0
    for split, count in _TAKES_OF_SPLIT.items():
        variants = _VARIANTS_OF_SPLIT[split]
        for sentence in sentences:
            for _ in range(count):
                rng = np.random.default_rng((7, number))
                yield Take(
                    text=sentence,
                    split=split,
                    accent=_ACCENTS[
                        int(rng.choice(len(_ACCENTS), p=(0.3, 0.3, 0.1, 0.1, 0.1, 0.1)))
                    ],
                    variant=variants[int(rng.integers(len(variants)))],
                    pitch=int(rng.integers(15, 95)),
                    words_per_minute=int(rng.integers(115, 225)),
                    number=number,
                )
                number += 1


def speak(take: Take) -> np.ndarray:
    """int16 [samples] at 16 kHz; raises CalledProcessError where espeak-ng has no such voice."""
    command = [
        "espeak-ng",
        "--stdout",
        "-v",
        f"{take.accent}+{take.variant}",
        "-p",
        str(take.pitch),
    ]
    command += ["-s", str(take.words_per_minute), "-b", "1", take.text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    samples, rate = soundfile.read(io.BytesIO(spoken), dtype="int16")
    out: np.ndarray = soxr.resample(samples, rate, SAMPLE_RATE_HZ)
    return out


def write_corpus(folder: Path, sentences: Sequence[str], threads: int = 1) -> Path:
    """Speak everything into `folder`, with a transcripts.csv; done once, then only read."""
    table = folder / "transcripts.csv"
    if table.exists():
        return folder
    everything = list(takes(sentences))
    for split in _TAKES_OF_SPLIT:
        (folder / split).mkdir(parents=True, exist_ok=True)

    def write(take: Take) -> None:
        soundfile.write(folder / take.file, speak(take), SAMPLE_RATE_HZ)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, everything))
    draft = table.with_suffix(".new")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for take in everything:
            voice = f"{CORPUS}-{take.variant}"
            writer.writerow([take.file, take.text, take.split, voice, "en", CORPUS])
    draft.replace(table)
    return folder
