"""Paper 2, sections III-A: one corpus out of five, cleaned, and balanced by augmentation.

"Resampled to 16 kHz", "noise reduction", "silence removal", "removed wav files with duration less
than 1 second"; then stretching, pitch shifting, gain, and background noise until the classes of
the training part are even. The paper names neither libraries nor strengths; ours are noisereduce's
stationary gate and librosa's trimming and phase vocoder, with the usual small strengths.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import librosa
import noisereduce
import numpy as np
from numpy.typing import NDArray

from ..training.corpora import SAMPLE_RATE_HZ
from .bars import bar
from .recordings import Recording, Waveform, read_sound

LABELS = ("angry", "calm", "disgust", "fearful", "happy", "sad", "surprised")
CORPORA_HERE = ("cremad", "ravdess", "tess")
PER_CLASS_SHARE = 2000 / 10588
"""Tables 1 to 4: of 10,588 clips (80 % of 13,236) each class gets 2,000, by copies or by leaving
out; both as a share, since there are fewer clips here."""

_LEAST_SAMPLES = SAMPLE_RATE_HZ
_SILENT_BELOW_DB = 35
_CLASSES_WITH_NOISE = ("calm", "surprised")  # "for couple of classes": those that lack most.

Int16 = NDArray[np.int16]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sounds:
    """Waveforms end to end: `samples` int16 [total], memory-mapped; `offsets` int64 [n + 1]."""

    samples: Int16
    offsets: Indices

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Waveform:
        clip = self.samples[self.offsets[index] : self.offsets[index + 1]]
        return clip.astype(np.float32) / np.float32(32768)

    @property
    def lengths(self) -> Indices:
        """Samples of each, int64 [n]."""
        return np.diff(self.offsets)


def cleaned(waveform: Waveform) -> Waveform:
    """Without steady noise and without what is 35 dB below the loudest frame: [samples]."""
    if not len(waveform) or not np.any(waveform):
        return waveform[:0]
    quiet = noisereduce.reduce_noise(
        y=waveform,
        sr=SAMPLE_RATE_HZ,
        stationary=True,
        prop_decrease=0.8,
        # In one piece: its default is made for songs and fills every clip up to 37 s.
        chunk_size=len(waveform),
        padding=1024,
    )
    parts = librosa.effects.split(quiet, top_db=_SILENT_BELOW_DB)
    kept: Waveform = np.concatenate([quiet[a:b] for a, b in parts]).astype(np.float32)
    return kept


def merged(recordings: Sequence[Recording]) -> list[Recording]:
    """Those with one of the seven emotions, under the paper's names for them (section III-A).

    Neutral is dropped everywhere, as are IEMOCAP's xxx, oth and fru; its excitement is happiness,
    as everybody has it, which the paper does not say.
    """
    return [
        replace(recording, emotion=_NAMES[recording.emotion])
        for recording in recordings
        if recording.emotion in _NAMES
    ]


_NAMES = {label: label for label in LABELS} | {
    "ang": "angry", "dis": "disgust", "fea": "fearful", "hap": "happy", "exc": "happy",
    "sad": "sad", "sur": "surprised", "anger": "angry", "fear": "fearful",
    "happiness": "happy", "sadness": "sad", "surprise": "surprised",
}  # fmt: skip


def store(folder: Path, name: str, key: str, count: int, waves: Iterator[Waveform]) -> Sounds:
    """The sounds of `waves`, made on the first call and mapped on later ones.

    Args:
        folder: for caches.
        name: of this one; shown while it is being made.
        key: everything the content depends on.
        count: how many there will be.
    """
    place = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not (place / "offsets.npy").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # aside, and moved there whole: another run with the same caches may be at it, too
        with TemporaryDirectory(dir=folder, prefix=f"{name}-") as draft:
            made = Path(draft) / "made"
            made.mkdir()
            lengths = []
            with (made / "samples.raw").open("wb") as file:
                for wave in bar(waves, name, total=count):
                    clipped = np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
                    file.write(clipped.tobytes())
                    lengths.append(len(clipped))
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            np.save(made / "offsets.npy", offsets)
            with contextlib.suppress(OSError):  # the other one was faster
                made.rename(place)
    offsets = np.load(place / "offsets.npy")
    samples: Int16 = (
        np.memmap(place / "samples.raw", np.int16, "r") if offsets[-1] else np.zeros(0, np.int16)
    )
    return Sounds(samples, offsets)


def prepared(recordings: Sequence[Recording], cache: Path) -> tuple[list[Recording], Sounds]:
    """The recordings that stay, and their cleaned sounds."""
    names = "\n".join(f"{recording.corpus}/{recording.path.name}" for recording in recordings)
    key = f"{_SILENT_BELOW_DB} {names}"
    sounds = store(
        cache,
        "cleaned",
        key,
        len(recordings),
        (cleaned(read_sound(recording.path)) for recording in recordings),
    )
    long_enough = np.flatnonzero(sounds.lengths >= _LEAST_SAMPLES)
    kept = [recordings[int(index)] for index in long_enough]
    if len(kept) == len(recordings):
        return kept, sounds
    return kept, store(cache, "kept", key, len(kept), (sounds[int(i)] for i in long_enough))


@dataclass(frozen=True, slots=True)
class Balanced:
    """A training part with even classes.

    Attributes:
        sounds: of all its clips, the augmented last.
        labels: int64 [n].
        origin: int64 [n], which clip each was made of; equal ones belong on one side.
    """

    sounds: Sounds
    labels: Indices
    origin: Indices

    @property
    def copies(self) -> Sounds:
        """Those that augmentation made."""
        as_they_are = len(np.unique(self.origin))
        return Sounds(self.sounds.samples, self.sounds.offsets[as_they_are:])


def plan(labels: Indices, seed: int) -> list[tuple[int, int]]:
    """(clip, copy) for every clip of a balanced training part; copy 0 is the clip itself.

    Classes with more than their share lose clips, the others get copies of theirs in turn.
    """
    rng = np.random.default_rng(seed)
    wanted = max(1, round(len(labels) * PER_CLASS_SHARE))
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen += [(int(members[n % len(members)]), n // len(members)) for n in range(wanted)]
    return sorted(chosen, key=lambda pair: (pair[1] > 0, pair))


def balanced(
    sounds: Sounds, indices: Indices, labels: Indices, cache: Path, seed: int = 0
) -> Balanced:
    """Even out the classes of the training clips `indices` of `sounds`; `labels` int64 [n]."""
    chosen = plan(labels, seed)

    def make() -> Iterator[Waveform]:
        for clip, copy in chosen:
            wave = sounds[int(indices[clip])]
            name = LABELS[labels[clip]]
            yield augmented(wave, copy, name, np.random.default_rng([seed, clip, copy]))

    key = f"{seed} {chosen} {indices.tolist()} {sounds.offsets[-1]}"
    made = store(cache, "balanced", key, len(chosen), make())
    places = np.array([clip for clip, _ in chosen], np.int64)
    return Balanced(made, labels[places], indices[places])


def augmented(wave: Waveform, copy: int, label: str, rng: np.random.Generator) -> Waveform:
    """Copy number `copy` of a clip: 0 is the clip, the others go through the kinds in turn."""
    if copy == 0:
        return wave
    kinds = _KINDS + ((background_noise,) if label in _CLASSES_WITH_NOISE else ())
    return kinds[(copy - 1) % len(kinds)](wave, rng)


def stretched(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """Up to 20 % slower or 25 % faster at the same pitch."""
    out: Waveform = librosa.effects.time_stretch(wave, rate=float(rng.uniform(0.8, 1.25)))
    return out


def pitch_shifted(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """Up to three semitones higher or lower at the same length."""
    out: Waveform = librosa.effects.pitch_shift(
        wave, sr=SAMPLE_RATE_HZ, n_steps=float(rng.uniform(-3, 3))
    )
    return out


def gained(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """Up to 12 dB quieter or 6 dB louder, never over full scale."""
    gain = 10 ** (rng.uniform(-12, 6) / 20)
    return np.clip(wave * np.float32(gain), -1, 1).astype(np.float32)


def background_noise(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """White noise, 10 to 25 dB below the clip."""
    level = np.sqrt(np.mean(wave**2)) * 10 ** (-rng.uniform(10, 25) / 20)
    noise = rng.standard_normal(len(wave), np.float32) * np.float32(level)
    return np.clip(wave + noise, -1, 1).astype(np.float32)


_KINDS: tuple[Callable[[Waveform, np.random.Generator], Waveform], ...] = (
    stretched,
    pitch_shifted,
    gained,
)
