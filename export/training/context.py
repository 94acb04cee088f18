"""What a stage of training is given, and how it tells where it is.

A stage is a function `train(settings, context) -> None` in the module `stage` of its package:
speech, text, fusion or bundles. It goes on from `context.folder` where it was stopped (unless told
to start afresh), writes last.pt, best.pt and history.jsonl there, and ends with what is served: an
encoder folder at `context.encoder`, a fusion graph, a bundle.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .corpora import Clip
from .protocols import Protocol, Split

PACKAGES = {"audio": "speech", "text": "text", "fusion": "fusion", "bundle": "bundles"}
"""The stages in their order, and the package in which each has its modules stage and settings."""

HISTORY_FILE = "history.jsonl"
_LINES = 20


@dataclass(slots=True)
class Progress:
    """Where a stage is: a line that is written over at a terminal, else twenty lines in all."""

    stage: str
    folder: Path
    _printed: int = field(default=-1, init=False)

    def step(self, done: int, total: int, **figures: float) -> None:
        """Say that `done` of `total` steps are done; on stderr."""
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        line = f"{self.stage}: step {done} of {total}{', ' if told else ''}{told}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="" if done < total else "\n", file=sys.stderr, flush=True)
        elif (share := done * _LINES // max(1, total)) != self._printed:
            self._printed = share
            print(line, file=sys.stderr, flush=True)

    def record(self, **figures: Any) -> None:
        """Append a line to the stage's history.jsonl, and show it on stderr."""
        line = json.dumps(figures)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / HISTORY_FILE).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{start}{self.stage}: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class StageContext:
    """All that a stage needs besides its own settings.

    Attributes:
        stage: audio, text, fusion or bundle.
        data: folder with speech.csv and speech/, and sound/ and text/ where they are needed.
        run: the run's folder.
        cache: for what can be made again: decoded audio, spectra, encoder outputs.
        seed: of everything that is drawn.
        labels: of the answers, in order.
        clips: all of speech.csv; `split` holds places in it, and so does the cache of the audio.
        protocol: that `split` is of.
        split: whom to train on and whom to choose on; `split.test` is only for measuring what is
            finished.
        readers: utterances of neutral reading that may be trained on; empty unless the recipe says.
        noises: noises that may be trained on; likewise.
        resume: False to start afresh although `folder` holds a stopped run.
        threads: CPU threads to use.
        progress: to tell where it is.
    """

    stage: str
    data: Path
    run: Path
    cache: Path
    seed: int
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    protocol: Protocol
    split: Split
    readers: tuple[Path, ...]
    noises: tuple[Path, ...]
    resume: bool
    threads: int
    progress: Progress

    @property
    def folder(self) -> Path:
        """The stage's own folder: history.jsonl, last.pt, best.pt."""
        return self.run / self.stage

    @property
    def encoder(self) -> Path:
        """Where the stage leaves its encoder folder."""
        return self.folder / "encoder"
