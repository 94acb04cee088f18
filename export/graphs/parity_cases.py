"""What a graph is asked when it is compared: lengths, batches and padding that must not matter.

Audio is speech, the packaged recording from different places, as noise alone would not excite
what speech does; besides digital silence, a whisper of it, and noise at full scale. No length is a
multiple of the 20 ms that most encoders step by, nor one that an export traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import AudioPart, Batching, TextPart
from realtime_ser.samples import sample_path
from realtime_ser.types import SAMPLE_RATE_HZ

Waveform = NDArray[np.float32]

SETS = ("fast", "full")
_LENGTHS_S = {
    "fast": (0.4, 1.237, 3.011),
    "full": (0.4, 0.617, 1.0, 1.501, 2.237, 3.333, 5.009, 7.919, 10.0, 15.013, 20.021, 30.0),
}
_EQUAL_S = 1.013
_BATCHES = {"fast": (3,), "full": (2, 3, 4, 5, 6, 7, 8)}
_MIXED = {"fast": (3,), "full": (2, 3, 5, 8)}
TEXTS = {
    "fast": ("Fine.", "I can't believe you did that for me, thank you so much!", "¿Qué? ¡No! 😡"),
    "full": (
        "",
        "no",
        "Fine.",
        "   spaces \t and\nlines   ",
        "¿Qué? ¡No! 😡",
        "¡No me lo puedo creer! ¿Cómo has podido hacerme esto después de tantos años?",
        "Zażółć gęślą jaźń — naprawdę się cieszę.",
        "আমি আজ খুব খুশি, কিন্তু কাল মন খারাপ ছিল।",
        "我今天非常高兴。 とても悲しいです。 أنا غاضب جدا",
        "e\u0301 is é in two, ﬁ a ligature, \u200b a space of no width, 👩‍👩‍👧 a family",
        "I can't believe you did that for me, thank you so much!",
        "And then he said that " + "it does not matter, really, " * 9 + "and left.",
        "All work and no play makes for a very long sentence indeed, and " * 60,
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the graph.

    Attributes:
        name: what is compared, for people.
        inputs: a waveform, float32 [samples] in -1..1, or a text for each row of the batch.
        garbage: what lies behind the end of the shorter rows is noise instead of zeros, and there
            is some behind the end of the longest too.
    """

    name: str
    inputs: tuple[Waveform | str, ...]
    garbage: bool = False


def cases(part: AudioPart | TextPart, which: str = "full") -> tuple[Case, ...]:
    """The cases that fit a part; `which` is one of `SETS`."""
    return tuple(_text_cases(which) if isinstance(part, TextPart) else _audio_cases(part, which))


def _audio_cases(part: AudioPart, which: str) -> Iterator[Case]:
    def fit(seconds: float) -> int:
        samples = round(seconds * SAMPLE_RATE_HZ)
        return min(max(samples, part.minimum_samples), part.maximum_samples)

    def in_s(samples: int) -> str:
        return f"{samples / SAMPLE_RATE_HZ:.2f} s"

    lengths = sorted({fit(seconds) for seconds in _LENGTHS_S[which]})
    lone = [speech(samples, seed) for seed, samples in enumerate(lengths)]
    for waveform in lone:
        yield Case(in_s(len(waveform)), (waveform,))
    short = fit(_EQUAL_S)
    noise = np.random.default_rng(0).uniform(-1, 1, short).astype(np.float32)
    yield Case("silence", (np.zeros(short, np.float32),))
    if which == "full":
        yield Case("speech at -60 dB", (speech(short, 0) / 1000,))
    yield Case("noise at full scale", (noise,))
    equal = [speech(short, 10 + seed) for seed in range(max(_BATCHES[which]))]
    for size in _BATCHES[which]:
        yield Case(f"{size} of {in_s(short)}", tuple(equal[:size]))
    if len(lone) == 1:
        return  # A graph of one length.
    for size in _MIXED[which]:
        rows = [*lone[: size - 1], lone[min(len(lone) - 1, 8)]]
        yield Case(f"{len(rows)} of {in_s(len(rows[0]))} to {in_s(len(rows[-1]))}", tuple(rows))
    if part.batching is Batching.MASKED:
        yield Case("1 with noise as padding", (lone[1],), garbage=True)
        rows = lone[: max(_MIXED[which])]
        yield Case(f"{len(rows)} with noise as padding", tuple(rows), garbage=True)


def _text_cases(which: str) -> Iterator[Case]:
    texts = TEXTS[which]
    for text in texts:
        short = text if len(text) <= 24 else f"{text[:20]} ... ({len(text)} characters)"
        yield Case(repr(short), (text,))
    for size in _BATCHES[which]:
        yield Case(f"{size} texts", tuple(texts[:size]))
        if which == "full":
            yield Case(f"{size} texts, from the longest", tuple(texts[-size:]))
    rows = texts[:8]
    yield Case(f"{len(rows)} texts with other tokens as padding", rows, garbage=True)


def speech(samples: int, seed: int) -> Waveform:
    """Speech of that length, from a place in the packaged recording that depends on `seed`."""
    recording = _recording()
    start = seed * 41_017 % len(recording)
    return np.take(recording, np.arange(start, start + samples), mode="wrap")


@cache
def _recording() -> Waveform:
    samples: Waveform = soundfile.read(sample_path("demo"), dtype="float32")[0]
    samples.setflags(write=False)
    return samples
