"""What the training loop is fed: batches of views with soft targets, random and repeatable.

Batches come in pools of eight: drawn together, sorted by length, so that little of a batch is
padding. Each pool has a random generator of its own, seeded by the run's seed and the pool's
number: a run resumed at a pool boundary therefore sees exactly what an uninterrupted one would
have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training.corpora import LABELS, Clip
from .noises import NoiseBank
from .settings import AudioSettings
from .spectra_cache import KEPT_BINS, SpectraCache, spectra
from .views import LONGEST_FRAMES, SHORTEST_FRAMES, Rows, Views

POOL_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """power and noise float32 [batch, time, KEPT_BINS], frames int64 [batch],
    targets float32 [batch, 7] (each sums to 1), allowed bool [batch, 7]."""

    power: Tensor
    noise: Tensor
    frames: Tensor
    targets: Tensor
    allowed: Tensor


def soft_target(
    clip: Clip, allowed: NDArray[np.bool_], settings: AudioSettings
) -> NDArray[np.float32]:
    """The answer to learn, float32 [7]: acted label, listeners' votes, a little of everything.

    Listeners agree with the actor in 41 % of CREMA-D's clips; their votes say what can be heard.
    """
    target = np.zeros(len(LABELS))
    target[clip.label] = 1.0
    if clip.votes is not None:
        weight = settings.vote_weight
        target = (1 - weight) * target + weight * np.array(clip.votes)
    spread = allowed / allowed.sum()
    smoothing = settings.label_smoothing
    smoothed = (1 - smoothing) * target + smoothing * spread
    out: NDArray[np.float32] = smoothed.astype(np.float32)
    return out


def sampling_weights(clips: Sequence[Clip], corpus_exponent: float) -> NDArray[np.float64]:
    """Chance of each clip, float64 [n]: classes even in a corpus, corpora by a power of size."""
    in_corpus = Counter(clip.corpus for clip in clips)
    in_class = Counter((clip.corpus, clip.label) for clip in clips)
    classes = Counter(corpus for corpus, _ in in_class)
    weights = np.array(
        [
            in_corpus[clip.corpus] ** corpus_exponent
            / classes[clip.corpus]
            / in_class[clip.corpus, clip.label]
            for clip in clips
        ]
    )
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


class NoiseSpectra:
    """Spectra of non-speech, one every 5 ms, cut from at random.

    Computed and recorded sounds are drawn equally often, however few were recorded.
    """

    def __init__(self, recordings: Sequence[NDArray[np.float32]], computed: int, seed: int) -> None:
        made_up = NoiseBank(seed, computed).sounds
        self.groups = [g for g in (len(made_up), len(recordings)) if g]
        parts = [spectra(sound) for sound in [*made_up, *recordings]]
        self.log_power = np.concatenate(parts)
        self.offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def draw(self, frames: int, rng: np.random.Generator) -> Rows:
        """Rows of one stretch of one sound, int64 [frames]; a short sound is repeated."""
        group = int(rng.integers(len(self.groups)))
        sound = sum(self.groups[:group]) + int(rng.integers(self.groups[group]))
        first, end = int(self.offsets[sound]), int(self.offsets[sound + 1])
        start = int(rng.integers(end - first))
        return first + (start + 2 * np.arange(frames)) % (end - first)


class BatchMaker:
    """Draws pools of batches from the given clips.

    `indices` int64 [n] are the clips' places in `spectra`; `masks` says which labels a corpus has.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        indices: NDArray[np.int64],
        spectra: SpectraCache,
        noises: NoiseSpectra,
        masks: dict[str, NDArray[np.bool_]],
        settings: AudioSettings,
        seed: int,
    ) -> None:
        self.clips, self.indices, self.spectra, self.masks = clips, indices, spectra, masks
        self.views = Views(clips, spectra, indices, settings.views)
        self.noises = noises
        self.seed = seed
        self.batch_size = settings.batch_size
        self.silent = round(settings.batch_size * settings.silent_share)
        self.weights = sampling_weights([clips[i] for i in indices], settings.corpus_exponent)
        self.targets = {
            int(i): soft_target(clips[i], masks[clips[i].corpus], settings) for i in indices
        }

    def pool(self, number: int) -> list[Batch]:
        """The batches of one pool, in random order."""
        rng = np.random.default_rng((self.seed, number))
        speech = (self.batch_size - self.silent) * POOL_BATCHES
        drawn = rng.choice(self.indices, speech, p=self.weights)
        views = [self.views.draw(int(index), rng) for index in drawn]
        by_length = np.argsort([len(view) for view in views], kind="stable")
        parts = by_length.reshape(POOL_BATCHES, -1)
        batches = [self._batch([(views[i], int(drawn[i])) for i in part], rng) for part in parts]
        return [batches[i] for i in rng.permutation(POOL_BATCHES)]

    def _batch(self, items: list[tuple[Rows, int]], rng: np.random.Generator) -> Batch:
        longest = max(len(view) for view, _ in items)
        most = max(SHORTEST_FRAMES, min(longest, LONGEST_FRAMES))
        sizes = rng.integers(SHORTEST_FRAMES, most + 1, self.silent)
        sounds = [self.noises.draw(int(size), rng) for size in sizes]
        speech = _gathered(self.spectra.log_power, [view for view, _ in items], longest)
        silent = _gathered(self.noises.log_power, sounds, longest)
        behind = [self.noises.draw(longest, rng) for _ in range(self.batch_size)]
        even = np.full(len(LABELS), 1 / len(LABELS), np.float32)
        targets = [self.targets[index] for _, index in items] + [even] * self.silent
        everything = np.ones(len(LABELS), bool)
        allowed = [self.masks[self.clips[i].corpus] for _, i in items] + [everything] * self.silent
        frames = [len(view) for view, _ in items] + [len(sound) for sound in sounds]
        return Batch(
            torch.cat([speech, silent]),
            _gathered(self.noises.log_power, behind, longest),
            torch.tensor(frames),
            torch.from_numpy(np.stack(targets)),
            torch.from_numpy(np.stack(allowed)),
        )


def _gathered(log_power: NDArray[np.float16], views: Sequence[Rows], longest: int) -> Tensor:
    """Power float32 [views, longest, KEPT_BINS] of the rows of each view, 0 past its end."""
    rows = np.zeros((len(views), longest), np.int64)
    inside = np.zeros((len(views), longest, 1), bool)
    for place, present, view in zip(rows, inside, views, strict=True):
        place[: len(view)] = view
        present[: len(view)] = True
    gathered = torch.from_numpy(log_power[rows.reshape(-1)].reshape(*rows.shape, KEPT_BINS))
    return gathered.float().exp_().mul_(torch.from_numpy(inside))
