"""Everyday sentences spoken by espeak-ng: training speech that nobody has rights in.

A take is a sentence in one voice, at one rate and pitch, all drawn from a generator seeded by the
take, so that the same espeak-ng gives the same corpus. The voices (a language and a variant) play
the part of speakers: those of dev and test are never heard in training.

Sentences that the transcriber is *not* to know are spoken too, and written down without their
words: a closed vocabulary has to hear what is outside it.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from realtime_ser.types import Samples

from ..training.corpora import SAMPLE_RATE_HZ
from .transcripts import COLUMNS, plain_words

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
_UNKNOWN_FOR_DEV = 12  # every so manieth; the others are for training

# What everybody reads out alike: no digits, no abbreviations, no marks but these.
_PLAIN_WORD = re.compile(r"(?:[A-Z]?[a-z]+|I)(?:'[a-z]+)?[,.!?]?")
_PLAIN_WORDS = range(3, 16)

# espeak-ng begins with its first sample; a room is heard before anybody speaks in it.
_PAUSE_BEFORE_S = 0.5
_PAUSE_BEHIND_S = 0.4
_ROOM_DBFS = (-90.0, -50.0)


@dataclass(frozen=True, slots=True)
class Take:
    """One sentence as espeak-ng is to say it; `pitch` 0 to 99, rate in words per minute.

    `known` says whether the transcriber is to learn its words.
    """

    text: str
    known: bool
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


def read_unknown(path: Path, known: Sequence[str]) -> list[str]:
    """The lines of a text file that are sentences of 3 to 15 plain words, each once, none known."""
    seen = set(map(plain_words, known))
    kept = []
    for line in read_sentences(path):
        words = line.split()
        plain = len(words) in _PLAIN_WORDS and all(map(_PLAIN_WORD.fullmatch, words))
        if plain and plain_words(line) not in seen:
            seen.add(plain_words(line))
            kept.append(line)
    return kept


def takes(sentences: Sequence[str]) -> Iterator[Take]:
    """All takes of sentences to be learnt, those of a split in voices of its own."""
    spoken = (
        (sentence, split)
        for split, count in _TAKES_OF_SPLIT.items()
        for sentence in sentences
        for _ in range(count)
    )
    for number, (sentence, split) in enumerate(spoken):
        yield _take(sentence, split, number, known=True)


def unknown_takes(sentences: Sequence[str]) -> Iterator[Take]:
    """One take of each of the sentences that are not to be known, for train or for dev."""
    for number, sentence in enumerate(sentences):
        split = "train" if number % _UNKNOWN_FOR_DEV else "dev"
        yield _take(sentence, split, number, known=False)


def _take(text: str, split: str, number: int, *, known: bool) -> Take:
    rng = np.random.default_rng((7 if known else 8, number))
    variants = _VARIANTS_OF_SPLIT[split]
    return Take(
        text=text,
        known=known,
        split=split,
        accent=_ACCENTS[int(rng.choice(len(_ACCENTS), p=(0.3, 0.3, 0.1, 0.1, 0.1, 0.1)))],
        variant=variants[int(rng.integers(len(variants)))],
        pitch=int(rng.integers(15, 95)),
        words_per_minute=int(rng.integers(115, 225)),
        number=number,
    )


def speak(take: Take) -> Samples:
    """The take in a quiet room, with a pause before and behind it.

    Raises CalledProcessError where espeak-ng has no such voice.
    """
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
    return in_a_room(soxr.resample(samples, rate, SAMPLE_RATE_HZ), take.number)


def in_a_room(speech: Samples, number: int) -> Samples:
    """int16 [samples] at 16 kHz of speech with pauses around it and noise of some quiet level."""
    rng = np.random.default_rng((9, number))
    before, behind = (int(s * SAMPLE_RATE_HZ) for s in (_PAUSE_BEFORE_S, _PAUSE_BEHIND_S))
    noise = rng.standard_normal(before + len(speech) + behind)
    sound = noise * 32768 * 10 ** (rng.uniform(*_ROOM_DBFS) / 20)
    sound[before : before + len(speech)] += speech
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def write_corpus(folder: Path, everything: Sequence[Take], threads: int = 1) -> Path:
    """Speak everything into `folder`, with a transcripts.csv; done once, then only read."""
    table = folder / "transcripts.csv"
    if table.exists():
        return folder
    for split in {take.split for take in everything}:
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
            words, voice = take.text if take.known else "", f"{CORPUS}-{take.variant}"
            writer.writerow([take.file, words, take.split, voice, "en", CORPUS])
    draft.replace(table)
    return folder
