"""Training batches of the transcriber: what is heard, and the tokens to write.

As in `batches`, a pool of batches is drawn from a generator seeded by (seed, pool number) and
sorted by length, so that a resumed run sees what an uninterrupted one would have seen.

Besides recordings with words there are two kinds that must not be given any: sounds without a
voice, and speech that is not known (recordings without words, recordings played backwards, and
snippets of several in a row). A closed vocabulary has a likely sentence for everything that it
hears; only such examples teach it to be unsure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from ..speech.batches import POOL_BATCHES
from ..speech.noises import NoiseBank
from .acting import Acting, hurried
from .log_mel import (
    FRAMES_PER_SECOND,
    Augmentation,
    FeatureCache,
    Frames,
    augmented,
    features_of,
    noise_frames,
    window_frames,
)
from .small_whisper import TIMESTAMP_S, token_id
from .transcripts import Recording, emphasis_of, plain_words

IGNORED = -100
"""The label of positions that are not learnt: cross_entropy's default."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a batch is made of; shares and probabilities 0..1.

    Attributes:
        corrupted: share of the decoder's text tokens that are replaced at random. With the words
            before it at hand, the next word of a known sentence needs no listening.
        easy_pools: how many pools it takes for the augmentation to reach its full strength.
    """

    no_voice: float = 0.08
    unknown_speech: float = 0.15
    timestamps: float = 0.15
    corrupted: float = 0.3
    easy_pools: int = 700
    full_window: float = 0.1
    padded: float = 0.01
    noise_sounds: int = 150


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Some examples.

    Attributes:
        features: float32 [batch, frames, bands], zero after each end.
        lengths: int64 [batch], frames before that end.
        tokens: int64 [batch, length], what the decoder is given.
        labels: int64 [batch, length], what it is to answer, or `IGNORED`.
        words: for each example its text tokens; None where it has no words.
        letters: for each example the places of its letters in the alphabet, for the alignment.
        clean: float32 [batch, frames, bands], the same sounds at the same places in time, with
            their own voice and without noise, for a teacher.
        voiced: float32 [batch], 1 where anybody speaks.
    """

    features: Tensor
    lengths: Tensor
    tokens: Tensor
    labels: Tensor
    words: list[list[int] | None]
    letters: list[list[int]]
    clean: Tensor
    voiced: Tensor


@dataclass(frozen=True, slots=True)
class Example:
    """Frames, and the text in them.

    Attributes:
        text: None where it is not known.
        language: of the text. Where there is none it is None: whatever a sound is taken for, it has
            to end at once.
        voice: whether anybody speaks.
        speech: the first and one-past-last frame of it.
    """

    frames: Frames
    text: str | None
    language: str | None
    voice: bool
    speech: tuple[int, int]


def sampling_weights(
    recordings: Sequence[Recording], emphasis: Mapping[str, float]
) -> NDArray[np.float64]:
    """Chance of each recording, float64 [n]: corpora by the root of their number of sentences.

    What has to be learnt are sentences, not recordings: by size alone CREMA-D, which has 4,492
    recordings of 12 sentences, is understood long before nEMO's 90. `emphasis` are factors for
    single corpora, and for sentences by how they begin.
    """
    of_sentence = Counter((each.corpus, each.text) for each in recordings)
    sentences = Counter(corpus for corpus, _ in of_sentence)
    weights = np.array(
        [
            emphasis.get(each.corpus, 1.0)
            * emphasis_of(each.text, emphasis)
            * sentences[each.corpus] ** -0.5
            / of_sentence[each.corpus, each.text]
            for each in recordings
        ]
    )
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def with_pauses(frames: Frames, before: int, behind: int, rng: np.random.Generator) -> Frames:
    """`frames` with so many more frames at its ends, as quiet as its quietest parts."""
    level = np.quantile(frames, rng.uniform(0.0, 0.2))
    pauses = level + rng.normal(0.0, 0.05, (before + behind, frames.shape[1]))
    out: Frames = np.concatenate([pauses[:before], frames, pauses[before:]]).astype(np.float32)
    return out


class TextBatchMaker:
    """Draws pools of batches; `indices` int64 [n] are the recordings' places in `features`."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        indices: NDArray[np.int64],
        features: FeatureCache,
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        window_s: float,
        padded_s: float,
        mixture: Mixture,
        augmentation: Augmentation,
        seed: int,
        emphasis: Mapping[str, float] | None = None,
    ) -> None:
        self.recordings, self.features, self.tokenizer = recordings, features, tokenizer
        self.known = np.array([i for i in indices if recordings[i].text], np.int64)
        self.wordless = np.array([i for i in indices if not recordings[i].text], np.int64)
        self.weights = sampling_weights([recordings[i] for i in self.known], emphasis or {})
        in_corpus = Counter(recordings[i].corpus for i in self.wordless)
        evenly = np.array([1 / in_corpus[recordings[i].corpus] for i in self.wordless])
        self.wordless_weights = evenly / max(1, len(in_corpus))
        self.words = {
            text: tokenizer.encode(f" {text}").ids
            for text in {recordings[i].text for i in self.known}
        }
        self.languages = sorted({recordings[i].language for i in self.known})
        alphabet = sorted({letter for text in self.words for letter in plain_words(text)})
        self.alphabet = {letter: place for place, letter in enumerate(alphabet)}
        self.noises = noise_frames(NoiseBank(seed, mixture.noise_sounds).sounds)
        self.batch_size, self.seed = batch_size, seed
        self.window_frames = window_frames(window_s)
        self.padded_frames = window_frames(padded_s)
        self.mixture, self.augmentation = mixture, augmentation
        self._ids = {
            name: token_id(tokenizer, name)
            for name in ("startoftranscript", "transcribe", "notimestamps", "nospeech", "endoftext")
        }
        self._first_timestamp = token_id(tokenizer, "0.00")

    def pool(self, number: int) -> list[TextBatch]:
        """The batches of one pool, in random order."""
        rng = np.random.default_rng((self.seed, number))
        rules = self.augmentation.eased(min(1.0, number / max(1, self.mixture.easy_pools)))
        count = self.batch_size * POOL_BATCHES
        examples = [self._example(rules.acting, rng) for _ in range(count)]
        by_length = np.argsort([len(each.frames) for each in examples], kind="stable")
        parts = by_length.reshape(POOL_BATCHES, -1)
        batches = [self._batch([examples[i] for i in part], rules, rng) for part in parts]
        return [batches[i] for i in rng.permutation(POOL_BATCHES)]

    def _example(self, acting: Acting, rng: np.random.Generator) -> Example:
        kind = rng.random()
        if kind < self.mixture.no_voice:
            frames = self._no_voice(rng)
            return Example(frames, None, None, False, (0, len(frames)))
        if kind < self.mixture.no_voice + self.mixture.unknown_speech:
            frames = self._unknown_speech(rng)[: self.window_frames]
            return Example(frames, None, None, True, (0, len(frames)))
        index = int(rng.choice(self.known, p=self.weights))
        recording = self.recordings[index]
        first, last = (int(bound) for bound in self.features.speech[index])
        # The product cuts 300 ms before speech and 150 ms after it, give or take its doubts.
        lead, tail = (int(x * FRAMES_PER_SECOND) for x in rng.uniform((0.1, 0.04), (0.46, 0.26)))
        frames = self.features.cut(index, lead, tail)
        # Speech of espeak-ng begins with its first sample. Without a pause put before it, the place
        # of a sound in the window would tell the sentence, and only there would it be heard.
        before = max(0, lead - first)
        behind = max(0, lead + last - first + tail - before - len(frames))
        frames = with_pauses(frames, before, behind, rng)[: self.window_frames]
        frames, speech = hurried(frames, (lead, lead + last - first), acting, rng)
        return Example(frames, recording.text, recording.language, True, speech)

    def _no_voice(self, rng: np.random.Generator) -> Frames:
        noise = self.noises[int(rng.integers(len(self.noises)))]
        size = int(rng.uniform(0.4, 5.0) * FRAMES_PER_SECOND)
        start = int(rng.integers(len(noise)))
        # From digital silence, which `features_of` makes of less than 1e-10, to what overdrives.
        powers = noise[(torch.arange(size) + start) % len(noise)] * 10 ** rng.uniform(-11.0, 2.5)
        out: Frames = features_of(powers[None])[0].numpy()
        return out

    def _unknown_speech(self, rng: np.random.Generator) -> Frames:
        kind = rng.random()
        if kind < 0.5 and len(self.wordless):
            index = int(rng.choice(self.wordless, p=self.wordless_weights))
            return self.features.all_frames(index)
        if kind < 0.6:
            backwards = self.features.all_frames(int(rng.choice(self.known)))[::-1]
            return backwards.copy()  # torch takes no negative strides
        seconds = rng.uniform(1.0, self.window_frames / FRAMES_PER_SECOND)
        corpus = self.recordings[int(rng.choice(self.known, p=self.weights))].corpus
        alike = [int(i) for i in rng.choice(self.known, 60, p=self.weights)]
        alike = [i for i in alike if self.recordings[i].corpus == corpus] or alike
        pieces: list[Frames] = []
        while sum(map(len, pieces)) < seconds * FRAMES_PER_SECOND:
            frames = self.features.all_frames(alike[int(rng.integers(len(alike)))])
            size = int(rng.uniform(0.25, 0.9) * FRAMES_PER_SECOND)
            start = int(rng.integers(max(1, len(frames) - size)))
            pieces.append(frames[start : start + size])
        return np.concatenate(pieces)

    def _batch(
        self, examples: list[Example], rules: Augmentation, rng: np.random.Generator
    ) -> TextBatch:
        window = rng.random()
        if window < self.mixture.padded:
            # As long as what plain faster-whisper pads to; few clips, for it is slow.
            examples = examples[:: max(1, len(examples) // 4)]
        features, lengths, clean = augmented(
            [each.frames for each in examples], self.noises, rules, rng
        )
        longest = int(lengths.max())
        frames = longest + 1 + int(rng.uniform(0.1, 1.0) * FRAMES_PER_SECOND)
        if window < self.mixture.padded:
            frames = self.padded_frames
        elif window < self.mixture.padded + self.mixture.full_window:
            frames = self.window_frames
        frames = max(frames, longest) // 2 * 2
        features = torch.nn.functional.pad(features, (0, 0, 0, max(0, frames - features.shape[1])))
        rates = [
            size / len(each.frames) for size, each in zip(lengths.tolist(), examples, strict=True)
        ]
        rows = [self._tokens(each, rate, rng) for each, rate in zip(examples, rates, strict=True)]
        longest_row = max(len(row) for row, _ in rows)
        tokens = torch.full((len(rows), longest_row), self._ids["endoftext"])
        labels = torch.full((len(rows), longest_row), IGNORED)
        for i, (row, answers) in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row)
            labels[i, : len(row)] = torch.tensor(answers)
        return TextBatch(
            features[:, :frames],
            lengths.clamp(max=frames),
            tokens,
            labels,
            [None if each.text is None else self.words[each.text] for each in examples],
            [[self.alphabet[c] for c in plain_words(each.text or "")] for each in examples],
            clean[:, :frames],
            torch.tensor([float(each.voice) for each in examples]),
        )

    def _tokens(
        self, example: Example, rate: float, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """The decoder's input and what it is to answer at each place; `rate` from its tempo."""
        ids = self._ids
        start, end = ids["startoftranscript"], ids["endoftext"]
        language = token_id(self.tokenizer, example.language or str(rng.choice(self.languages)))
        prompt = [start, language, ids["transcribe"]]
        if example.text is None:
            first = IGNORED if example.voice else ids["nospeech"]
            return [*prompt, ids["notimestamps"]], [first, IGNORED, IGNORED, end]
        words = self.words[example.text]
        replaced = rng.random(len(words)) < self.mixture.corrupted
        random = rng.integers(0, end, len(words))
        heard = [int(r) if swap else w for w, r, swap in zip(words, random, replaced, strict=True)]
        if rng.random() >= self.mixture.timestamps:
            given = [*prompt, ids["notimestamps"], *heard]
            return given, [language, IGNORED, IGNORED, *words, end]
        times = (frame * rate / FRAMES_PER_SECOND / TIMESTAMP_S for frame in example.speech)
        begin, stop = (self._first_timestamp + round(time) for time in times)
        return [*prompt, begin, *heard, stop], [language, IGNORED, begin, *words, stop, end]
