"""All audio decoded once, with the place of the speech in each clip.

A clip is trained on and measured on as the product will cut it: from 300 ms before its first
speech to 150 ms after its last. RAVDESS has a second of silence around each sentence; a model that
hears it learns the corpus from the silence, and with it the corpus' labels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from ..training.corpora import SAMPLE_RATE_HZ
from ..training.sound_files import read_int16

PRE_ROLL_SAMPLES = SAMPLE_RATE_HZ * 300 // 1000
POST_ROLL_SAMPLES = SAMPLE_RATE_HZ * 150 // 1000

# Hysteresis as in the product: easier to stay in speech than to enter it.
_ENTER_PROBABILITY = 0.5
_STAY_PROBABILITY = 0.3
_SILERO_FRAME_SAMPLES = 512


@dataclass(frozen=True, slots=True)
class AudioCache:
    """The audio of `n` clips, end to end.

    `samples` int16 [total] (memory-mapped), `offsets` int64 [n + 1], `speech` int64 [n, 2]: first
    and one-past-last sample of speech, relative to the clip.
    """

    samples: NDArray[np.int16]
    offsets: NDArray[np.int64]
    speech: NDArray[np.int64]

    def clip(self, index: int) -> NDArray[np.int16]:
        """The whole clip, int16 [samples]."""
        return self.samples[self.offsets[index] : self.offsets[index + 1]]

    def utterance(
        self, index: int, start_shift: int = 0, end_shift: int = 0
    ) -> NDArray[np.float32]:
        """The clip as the product cuts it: float32 [samples], full scale -1 to 1.

        The shifts (samples) move the cuts, for training: no detector finds the same edge twice.
        """
        first, last = self.speech[index]
        clip = self.clip(index)
        start = max(0, int(first) - PRE_ROLL_SAMPLES + start_shift)
        end = min(len(clip), int(last) + POST_ROLL_SAMPLES + end_shift)
        return clip[start:end].astype(np.float32) / 32768.0


def speech_bounds(probabilities: NDArray[np.float32], samples: int) -> tuple[int, int]:
    """First and one-past-last sample of speech from Silero's probabilities, float32 [frames].

    Without any confident frame the whole clip counts as speech: every clip here has a speaker.
    """
    entered = np.flatnonzero(probabilities >= _ENTER_PROBABILITY)
    if len(entered) == 0:
        return 0, samples
    staying = np.flatnonzero(probabilities >= _STAY_PROBABILITY)
    last = int(staying[-1]) + 1
    return int(entered[0]) * _SILERO_FRAME_SAMPLES, min(samples, last * _SILERO_FRAME_SAMPLES)


def open_cache(folder: Path, root: Path, files: Sequence[str]) -> AudioCache:
    """The cache of `root/file` for each file; built on the first call (minutes), then mapped."""
    key = hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]
    place = folder / f"audio-{key}"
    if not (place / "done.json").exists():
        _build(place, root, files)
    index = np.load(place / "index.npz")
    samples = np.load(place / "samples.npy", mmap_mode="r")
    return AudioCache(samples, index["offsets"], index["speech"])


def _build(place: Path, root: Path, files: Sequence[str]) -> None:
    # Imported here: only the first run needs a speech detector.
    from faster_whisper.vad import get_vad_model

    place.mkdir(parents=True, exist_ok=True)
    silero = get_vad_model()

    def decode(file: str) -> tuple[NDArray[np.int16], tuple[int, int]]:
        mono = read_int16(root / file)
        padded = np.zeros(-(-len(mono) // _SILERO_FRAME_SAMPLES) * _SILERO_FRAME_SAMPLES, "f4")
        padded[: len(mono)] = mono / 32768.0
        return mono, speech_bounds(silero(padded).reshape(-1), len(mono))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = list(track(pool.map(decode, files), "decoding", total=len(files)))
    lengths = [len(samples) for samples, _ in decoded]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    np.save(place / "samples.npy", np.concatenate([samples for samples, _ in decoded]))
    speech = np.array([bounds for _, bounds in decoded], np.int64).reshape(-1, 2)
    np.savez(place / "index.npz", offsets=offsets, speech=speech)
    (place / "done.json").write_text(json.dumps({"clips": len(files)}))
