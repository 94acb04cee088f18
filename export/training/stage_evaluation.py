"""What an evaluation needs besides a subject: the clips with their audio, and what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..speech.audio_cache import open_cache
from .corpora import LABELS, Clip
from .metrics import Flags
from .predictions import Material
from .protocols import Protocol, Split


def open_material(data: Path, cache: Path, clips: Sequence[Clip]) -> Material:
    """The clips with their audio; the first call decodes it, which takes minutes."""
    return Material(clips, open_cache(cache, data / "speech", [clip.file for clip in clips]))


def trained_labels(clips: Sequence[Clip], split: Split) -> Flags:
    """Which of `LABELS` are trained on, bool [7]."""
    return np.isin(np.arange(len(LABELS)), [clips[i].label for i in split.train])


def unseen_corpora(clips: Sequence[Clip], protocol: Protocol) -> list[str]:
    """Corpora that the protocol does not name, which are measured whole."""
    return sorted({clip.corpus for clip in clips} - set(protocol.corpora))
