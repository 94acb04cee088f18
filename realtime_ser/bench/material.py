"""Speech to measure with: the sample recording's utterances, put together to any length.

Where speech begins and ends is known, so that a wait can be counted from what was said, not from
what was heard of it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from realtime_ser.errors import ConfigError
from realtime_ser.io.file import AudioFile
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.samples import sample_path
from realtime_ser.types import SAMPLE_RATE_HZ, Samples

_JOIN_S = 0.08
"""Between two pieces of one utterance: a breath, shorter than the pause that starts speculation."""

_NOISE_AMPLITUDE = 6
"""Of the silence, of 32768: a quiet room. Digital silence is easier than any room."""

_BLOCK_S = 0.02


@dataclass(frozen=True, slots=True)
class Material:
    """A recording.

    Attributes:
        samples: int16 [samples] at 16 kHz.
        speech: where each utterance begins and ends, as sample indices.
    """

    samples: Samples
    speech: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE_HZ

    def blocks(self) -> Iterator[AudioBlock]:
        """It in blocks of 20 ms, as a microphone gives them."""
        size = round(_BLOCK_S * SAMPLE_RATE_HZ)
        for start in range(0, len(self.samples), size):
            yield AudioBlock(self.samples[start : start + size], SAMPLE_RATE_HZ)


def conversation(
    utterance_s: float, silence_s: float, count: int, *, seed: int = 0, lead_in_s: float = 1.0
) -> Material:
    """`count` utterances of about `utterance_s` with `silence_s` after each.

    An utterance is whole sentences of the sample recording, hence "about": it ends where a sentence
    does.

    Raises:
        ConfigError: shorter than any sentence, or longer than an utterance may be.
    """
    if not 1 <= utterance_s <= 14 or silence_s < 0 or count < 1:
        raise ConfigError(
            f"cannot make {count} utterances of {utterance_s:g} s: 1 to 14 s, and at least one"
        )
    random = np.random.default_rng(seed)
    sentences = itertools.cycle(_sentences())
    for _ in range(int(random.integers(len(_sentences())))):
        next(sentences)
    utterances = (_utterance(sentences, utterance_s, random) for _ in range(count))
    return _joined(utterances, silence_s, lead_in_s, random)


def single_sentences(silence_s: float, count: int, *, lead_in_s: float = 1.0) -> Material:
    """`count` utterances, each a whole sentence that the transcriber `mini` knows."""
    sentences = itertools.islice(itertools.cycle(_sentences()), count)
    return _joined(sentences, silence_s, lead_in_s, np.random.default_rng(0))


def _joined(
    utterances: Iterable[Samples], silence_s: float, lead_in_s: float, random: np.random.Generator
) -> Material:
    parts = [_quiet(random, lead_in_s)]
    speech = []
    position = len(parts[0])
    for spoken in utterances:
        silence = _quiet(random, silence_s)
        speech.append((position, position + len(spoken)))
        parts += [spoken, silence]
        position += len(spoken) + len(silence)
    return Material(np.concatenate(parts), tuple(speech))


def _utterance(
    sentences: Iterator[Samples], utterance_s: float, random: np.random.Generator
) -> Samples:
    """Sentences until the next one would lead further from the length than none."""
    wanted = round(utterance_s * SAMPLE_RATE_HZ)
    spoken = next(sentences)
    while wanted - len(spoken) > SAMPLE_RATE_HZ:
        spoken = np.concatenate([spoken, _quiet(random, _JOIN_S), next(sentences)])
    # what is too long loses its beginning: where it ends is what is measured
    return spoken[-max(wanted, SAMPLE_RATE_HZ) :] if len(spoken) > wanted else spoken


def _quiet(random: np.random.Generator, seconds: float) -> Samples:
    noise = random.normal(0, _NOISE_AMPLITUDE, round(seconds * SAMPLE_RATE_HZ))
    return noise.astype(np.int16)


def _sentences() -> list[Samples]:
    path = sample_path("demo")
    whole = np.concatenate([block.samples for block in AudioFile(path)])[:, 0]
    description = json.loads((path.parent / "samples.json").read_text(encoding="utf-8"))
    return [
        whole[
            round(each["start_s"] * SAMPLE_RATE_HZ) : round(each["end_s"] * SAMPLE_RATE_HZ)
        ].astype(np.int16)
        for each in description["files"][path.name]["utterances"]
    ]
