"""Everyday sentences spoken by synthesizers, and which voice says which how.

A take is a sentence in one voice, at one rate and pitch, all drawn from a generator seeded by the
take, so that the same programs give the same corpus. The voices play the part of speakers: those of
dev and test are never heard in training. There are three kinds, each a corpus of its own: those of
espeak-ng alone, a language and a variant each, in which nobody has rights; borrowed ones, which
were made of people's recordings (`synthesizers`); and borrowed ones with an accent, which are made
of the sounds of another language and so are poorer speech, but more people.

Sentences that the transcriber is *not* to know are spoken too, and written down without their
words: a closed vocabulary has to hear what is outside it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from realtime_ser.types import Samples

from ..training.corpora import SAMPLE_RATE_HZ
from .synthesizers import Manner, Voice, say
from .transcripts import COLUMNS, emphasis_of, plain_words

SENTENCES = Path(__file__).with_name("sentences.txt")
ESPEAK = "espeak"
BORROWED = "voices"
ACCENTED = "accents"

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

_EVERY_UNKNOWN = 12  # of the sentences that are not to be known a borrowed voice says every twelfth


@dataclass(frozen=True, slots=True)
class Cast:
    """Who speaks in a corpus of borrowed voices, and how often.

    Attributes:
        voices: of each split.
        takes: of each sentence to be learnt, in each split.
        sizes: factors for every frequency.
        seeds: of the takes of sentences to be learnt, and of the others.
        first_unknown: of the sentences not to be known; a dozen later comes the next.
    """

    voices: dict[str, tuple[Voice, ...]]
    takes: dict[str, int]
    sizes: tuple[float, float]
    seeds: tuple[int, int]
    first_unknown: int


_ACCENTED_WOMEN = ("de5", "fr4", "hu1", "pl1", "sw2")
_ACCENTED_MEN = ("af1", "de4", "fr1", "gr2", "nl2", "ro1", "sw1")

# Women twice: there are few of them. slt and awb are each borrowed by two programs.
_CASTS = {
    BORROWED: Cast(
        voices={
            "train": (
                *[Voice("flite", "slt", "slt"), Voice("rhvoice", "slt", "slt")] * 2,
                *[Voice("rhvoice", "clb", "clb"), Voice("pico", "en-US", "pico-us")] * 2,
                Voice("flite", "awb", "awb"),
                Voice("rhvoice", "alan", "awb"),
                Voice("flite", "rms", "rms"),
                Voice("flite", "kal16", "kal"),
                Voice("rhvoice", "bdl", "bdl"),
                Voice("mbrola", "mb-us2", "us2"),
                Voice("mbrola", "mb-us3", "us3"),
                Voice("mbrola", "mb-en1", "en1"),
            ),
            # Two women, neither of whom is heard in training.
            "dev": (Voice("mbrola", "mb-us1", "us1"), Voice("pico", "en-GB", "pico-gb")),
        },
        takes={"train": 3, "dev": 1},
        sizes=(0.9, 1.2),
        seeds=(10, 11),
        first_unknown=0,
    ),
    ACCENTED: Cast(
        voices={
            "train": tuple(
                Voice("mbrola", f"mb-{name}-en", name)
                for name in _ACCENTED_WOMEN * 2 + _ACCENTED_MEN
            )
        },
        takes={"train": 4},
        sizes=(0.9, 1.25),
        seeds=(12, 13),
        first_unknown=6,
    ),
}

# What everybody reads out alike: no digits, no abbreviations, no marks but these.
_PLAIN_WORD = re.compile(r"(?:[A-Z]?[a-z]+|I)(?:'[a-z]+)?[,.!?]?")
_PLAIN_WORDS = range(3, 16)

# espeak-ng begins with its first sample; a room is heard before anybody speaks in it.
_PAUSE_BEFORE_S = 0.5
_PAUSE_BEHIND_S = 0.4
_ROOM_DBFS = (-90.0, -50.0)


@dataclass(frozen=True, slots=True)
class Take:
    """One sentence as a voice is to say it.

    Attributes:
        text: what is written down, and `spoken` what the voice is given; they differ in marks.
        known: whether the transcriber is to learn its words.
        corpus: `ESPEAK`, `BORROWED` or `ACCENTED`.
    """

    text: str
    spoken: str
    known: bool
    split: str
    corpus: str
    voice: Voice
    manner: Manner
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
    """All takes of espeak-ng of sentences to be learnt, those of a split in voices of its own."""
    spoken = (
        (sentence, split)
        for split, count in _TAKES_OF_SPLIT.items()
        for sentence in sentences
        for _ in range(count)
    )
    for number, (sentence, split) in enumerate(spoken):
        yield _take(sentence, split, number, known=True)


def unknown_takes(sentences: Sequence[str]) -> Iterator[Take]:
    """One take of espeak-ng of each sentence that is not to be known, for train or for dev."""
    for number, sentence in enumerate(sentences):
        split = "train" if number % _UNKNOWN_FOR_DEV else "dev"
        yield _take(sentence, split, number, known=False)


def borrowed_takes(
    corpus: str, sentences: Sequence[str], emphasis: Mapping[str, float]
) -> Iterator[Take]:
    """Takes of borrowed voices of sentences to be learnt; for train, emphasised ones have more.

    `corpus` is `BORROWED` or `ACCENTED`; `emphasis` are factors for the beginnings of sentences:
    see `transcripts.emphasis_of`.
    """
    spoken = []
    for split, count in _CASTS[corpus].takes.items():
        for sentence in sentences:
            factor = emphasis_of(sentence, emphasis) if split == "train" else 1.0
            spoken += [(sentence, split)] * round(count * factor)
    for number, (sentence, split) in enumerate(spoken):
        yield _borrowed_take(corpus, sentence, split, number, known=True)


def borrowed_unknown_takes(corpus: str, sentences: Sequence[str]) -> Iterator[Take]:
    """One take of a borrowed voice of every twelfth sentence that is not to be known."""
    cast = _CASTS[corpus]
    for number, sentence in enumerate(sentences[cast.first_unknown :: _EVERY_UNKNOWN]):
        split = "train" if number % _UNKNOWN_FOR_DEV or "dev" not in cast.voices else "dev"
        yield _borrowed_take(corpus, sentence, split, number, known=False)


def _take(text: str, split: str, number: int, *, known: bool) -> Take:
    rng = np.random.default_rng((7 if known else 8, number))
    variants = _VARIANTS_OF_SPLIT[split]
    accent = _ACCENTS[int(rng.choice(len(_ACCENTS), p=(0.3, 0.3, 0.1, 0.1, 0.1, 0.1)))]
    variant = variants[int(rng.integers(len(variants)))]
    return Take(
        text=text,
        spoken=text,
        known=known,
        split=split,
        corpus=ESPEAK,
        voice=Voice("espeak-ng", f"{accent}+{variant}", variant),
        manner=Manner(int(rng.integers(15, 95)), int(rng.integers(115, 225))),
        number=number,
    )


def _borrowed_take(corpus: str, text: str, split: str, number: int, *, known: bool) -> Take:
    cast = _CASTS[corpus]
    rng = np.random.default_rng((cast.seeds[0 if known else 1], number))
    voices = cast.voices[split]
    return Take(
        text=text,
        spoken=_marked(text, rng),
        known=known,
        split=split,
        corpus=corpus,
        voice=voices[int(rng.integers(len(voices)))],
        manner=Manner(
            int(rng.integers(10, 99)), int(rng.integers(90, 215)), float(rng.uniform(*cast.sizes))
        ),
        number=number,
    )


def _marked(text: str, rng: np.random.Generator) -> str:
    """The same words with an end, and at times a pause before the last word, drawn at random.

    A voice has one melody for a sentence; marks are what all the programs take for another.
    """
    words = text.rstrip(".!?").split()
    if rng.random() < 0.25 and words[-2:-1] and words[-2][-1].isalpha():
        words[-2] += ","
    return " ".join(words) + str(rng.choice([".", "!", "?"], p=(0.5, 0.3, 0.2)))


def speak(take: Take) -> Samples:
    """The take in a quiet room, with a pause before and behind it.

    Raises SynthesizerError where the program is missing or has no such voice.
    """
    return in_a_room(say(take.voice, take.manner, take.spoken), take.number)


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
            words, speaker = take.text if take.known else "", f"{take.corpus}-{take.voice.speaker}"
            writer.writerow([take.file, words, take.split, speaker, "en", take.corpus])
    draft.replace(table)
    return folder
