"""Training batches: which clips, how they are distorted, and what the answer is.

A pool of batches is drawn at once from a generator seeded by (seed, pool number), sorted by length
so that little is padding, and cut up. A run resumed at a pool boundary therefore sees exactly what
an uninterrupted run would have seen.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training.corpora import LABELS, SAMPLE_RATE_HZ, Clip
from .audio_cache import AudioCache
from .augment import LONGEST_SAMPLES, SHORTEST_SAMPLES, NoiseBank, Wave, augment_wave

POOL_BATCHES = 8
_LABEL_SMOOTHING = 0.08
_VOTE_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Batch:
    """waveform float32 [batch, samples], lengths int64 [batch] samples,
    targets float32 [batch, 7] (each sums to 1), allowed bool [batch, 7]."""

    waveform: Tensor
    lengths: Tensor
    targets: Tensor
    allowed: Tensor


def soft_target(clip: Clip, allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The answer to learn, float32 [7]: acted label, listeners' votes, a little of everything.

    Listeners agree with the actor in 41 % of CREMA-D's clips; their votes say what can be heard.
    """
    target = np.zeros(len(LABELS))
    target[clip.label] = 1.0
    if clip.votes is not None:
        target = (1 - _VOTE_WEIGHT) * target + _VOTE_WEIGHT * np.array(clip.votes)
    spread = allowed / allowed.sum()
    smoothed = (1 - _LABEL_SMOOTHING) * target + _LABEL_SMOOTHING * spread
    out: NDArray[np.float32] = smoothed.astype(np.float32)
    return out


def sampling_weights(clips: Sequence[Clip]) -> NDArray[np.float64]:
    """Chance of each clip, float64 [n]: classes even in a corpus, corpora by the root of size.

    Corpora in proportion would drown EmoDB (270 clips) in CREMA-D (4,492); evenly, EmoDB's few
    clips would be learnt by heart.
    """
    in_corpus = Counter(clip.corpus for clip in clips)
    in_class = Counter((clip.corpus, clip.label) for clip in clips)
    classes = Counter(corpus for corpus, _ in in_class)
    weights = np.array(
        [
            in_corpus[clip.corpus] ** 0.5 / classes[clip.corpus] / in_class[clip.corpus, clip.label]
            for clip in clips
        ]
    )
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


class BatchMaker:
    """Draws pools of batches from the given clips.

    `indices` int64 [n] are the clips' places in `audio`; `masks` says which labels a corpus has.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        indices: NDArray[np.int64],
        audio: AudioCache,
        masks: dict[str, NDArray[np.bool_]],
        batch_size: int,
        seed: int,
        noise_sounds: int = 150,
    ) -> None:
        self.clips, self.indices, self.audio, self.masks = clips, indices, audio, masks
        self.seed = seed
        self.bank = NoiseBank(seed, noise_sounds)
        self.batch_size = batch_size
        self.noises = max(1, batch_size // 16)
        self.weights = sampling_weights([clips[i] for i in indices])
        self.targets = {int(i): soft_target(clips[i], masks[clips[i].corpus]) for i in indices}

    def pool(self, number: int) -> list[Batch]:
        """The batches of one pool, in random order."""
        rng = np.random.default_rng((self.seed, number))
        speech = (self.batch_size - self.noises) * POOL_BATCHES
        drawn = rng.choice(self.indices, speech, p=self.weights)
        waves = [self._view(int(index), rng) for index in drawn]
        by_length = np.argsort([len(wave) for wave in waves], kind="stable")
        parts = by_length.reshape(POOL_BATCHES, -1)
        batches = [self._batch([(waves[i], int(drawn[i])) for i in part], rng) for part in parts]
        return [batches[i] for i in rng.permutation(POOL_BATCHES)]

    def _view(self, index: int, rng: np.random.Generator) -> Wave:
        shifts = rng.uniform((-0.15, -0.1), (0.25, 0.1)) * SAMPLE_RATE_HZ
        wave = self.audio.utterance(index, int(shifts[0]), int(shifts[1]))
        voices = int(rng.integers(1, 3)) if rng.random() < 0.25 else 0
        others = [self.audio.utterance(int(i)) for i in rng.choice(self.indices, voices)]
        return augment_wave(wave, others, self.bank, rng)

    def _batch(self, items: list[tuple[Wave, int]], rng: np.random.Generator) -> Batch:
        waves = [wave for wave, _ in items]
        longest = max(len(wave) for wave in waves)
        for _ in range(self.noises):
            size = int(rng.integers(SHORTEST_SAMPLES, min(longest, LONGEST_SAMPLES) + 1))
            waves.append(self.bank.draw(size, rng))
        padded = np.zeros((len(waves), max(map(len, waves))), np.float32)
        for row, wave in zip(padded, waves, strict=True):
            row[: len(wave)] = wave
        even = np.full(len(LABELS), 1 / len(LABELS), np.float32)
        targets = [self.targets[index] for _, index in items] + [even] * self.noises
        everything = np.ones(len(LABELS), bool)
        allowed = [self.masks[self.clips[i].corpus] for _, i in items] + [everything] * self.noises
        return Batch(
            torch.from_numpy(padded),
            torch.tensor([len(wave) for wave in waves]),
            torch.from_numpy(np.stack(targets)),
            torch.from_numpy(np.stack(allowed)),
        )


def prefetched(maker: BatchMaker, first_pool: int) -> Iterator[list[Batch]]:
    """Pools from `first_pool` on, without end, made one ahead in a thread."""
    ready: queue.Queue[list[Batch] | BaseException] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(item: list[Batch] | BaseException) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=1.0)
                return

    def work() -> None:
        number = first_pool
        try:
            while not stopped.is_set():
                put(maker.pool(number))
                number += 1
        except BaseException as error:  # handed over to the consumer, who raises it
            put(error)

    threading.Thread(target=work, name="batches", daemon=True).start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
