"""Training one head on pairs, and calibrating it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training.calibration import fit_temperature
from .answers import Answers
from .heads import Fusion, build
from .pairs import KINDS, NO_TEXT, REAL, Pairing, drawn_by
from .settings import FusionSettings

Indices = NDArray[np.int64]
Report = Callable[[int, float], None]

_HELD_OUT_SEED = 7
_GRADIENT_NORM = 5.0


@dataclass(frozen=True, slots=True)
class Side:
    """The clips of one side, what is heard in them, and what they can be paired with.

    Attributes:
        heard: of the n clips of `pairing`.
        read: of all sentences.
    """

    pairing: Pairing
    heard: Answers
    read: Answers


@dataclass(frozen=True, slots=True)
class Pairs:
    """n pairs, as a head takes them.

    Attributes:
        audio: float32 [n, audio width].
        text: float32 [n, text width]; zeros where there is none.
        present: float32 [n].
        label: int64 [n], what is right.
        clips: int64 [n], places among the clips of the side.
        texts: int64 [n], places among the sentences, or `NO_TEXT`.
    """

    audio: Tensor
    text: Tensor
    present: Tensor
    label: Tensor
    clips: Indices
    texts: Indices


def pairs_of(side: Side, kind: str, clips: Indices, rng: np.random.Generator) -> Pairs:
    """A pair of one kind for each of some clips, which must be able to have one."""
    texts = side.pairing.texts(kind, clips, rng)
    return _pairs(side, clips, texts, side.pairing.truth(kind, clips, texts))


def _pairs(side: Side, clips: Indices, texts: Indices, label: Indices) -> Pairs:
    present = (texts != NO_TEXT).astype(np.float32)
    text = side.read.wide(texts) * present[:, None]
    return Pairs(
        torch.from_numpy(side.heard.wide(clips)),
        torch.from_numpy(text.astype(np.float32)),
        torch.from_numpy(present),
        torch.from_numpy(label),
        clips,
        texts,
    )


class Drawing:
    """Draws batches: first the kind, by its share, then an emotion, then a clip of it.

    Of the real pairs only those whose transcript may be learnt.
    """

    def __init__(self, side: Side, settings: FusionSettings) -> None:
        self.side = side
        shares = np.array([getattr(settings.shares, kind) for kind in KINDS])
        pairing = side.pairing
        self._clips: list[list[Indices]] = []
        for kind in KINDS:
            able = pairing.can(kind) & (pairing.learnt if kind == REAL else True)
            of_label = [
                np.flatnonzero(able & (pairing.label == label)) for label in set(pairing.label)
            ]
            self._clips.append([rows for rows in of_label if len(rows)])
        there = np.array([len(rows) > 0 for rows in self._clips])
        self._shares = shares * there / (shares * there).sum()

    def batch(self, size: int, rng: np.random.Generator) -> Pairs:
        """`size` pairs of all kinds."""
        counts = rng.multinomial(size, self._shares)
        clips, texts, labels = [], [], []
        for kind, rows, count in zip(KINDS, self._clips, counts, strict=True):
            if count == 0:
                continue
            drawn = drawn_by(rng.integers(0, len(rows), count), rows.__getitem__, rng)
            clips.append(drawn)
            texts.append(self.side.pairing.texts(kind, drawn, rng))
            labels.append(self.side.pairing.truth(kind, drawn, texts[-1]))
        return _pairs(self.side, *(np.concatenate(each) for each in (clips, texts, labels)))


def train_head(
    strategy: str,
    learning: Side,
    choosing: Side,
    settings: FusionSettings,
    centroids: list[list[float]],
    *,
    temperature: float,
    seed: int,
    report: Report = lambda step, loss: None,
) -> Fusion:
    """Train, keep the best on the held-out quarter, and calibrate.

    Args:
        learning, choosing: pairs to learn from and to choose on.
        centroids: see `Fusion`.
        temperature: that calibrates the voice alone.
        seed: of the weights and of the pairs drawn.
        report: called with the step and the held-out loss whenever that is measured.
    """
    torch.manual_seed(seed)
    fusion = Fusion(
        build(
            strategy,
            learning.heard.layout,
            learning.read.layout,
            hidden=settings.hidden,
            dropout=settings.dropout,
        ),
        learning.heard.layout,
        learning.read.layout,
        centroids,
        arousal_strength=settings.arousal_strength,
        text_affect=settings.text_affect,
    )
    _prepare(fusion, learning, temperature)
    held_out = Drawing(choosing, settings).batch(4096, np.random.default_rng(_HELD_OUT_SEED))
    if any(parameter.requires_grad for parameter in fusion.parameters()):
        _descend(fusion, Drawing(learning, settings), held_out, settings, seed, report)
    _calibrate(fusion.eval(), held_out)
    return fusion


def _prepare(fusion: Fusion, side: Side, temperature: float) -> None:
    """What is not learnt by descent: temperatures of the encoders, means and deviations."""
    pairing, rows = side.pairing, side.pairing.sentences
    fusion.temperature.fill_(temperature)
    fusion.audio_temperature.fill_(temperature)
    fusion.text_temperature.fill_(
        fit_temperature(side.read.logits[rows], pairing.sentence_label[rows])
    )
    for name, embedding in (
        ("audio", side.heard.embedding),
        ("text", side.read.embedding[rows]),
    ):
        getattr(fusion, f"{name}_mean").copy_(torch.from_numpy(embedding.mean(axis=0)))
        deviation = embedding.std(axis=0) + 1e-3
        getattr(fusion, f"{name}_deviation").copy_(torch.from_numpy(deviation))


def _descend(
    fusion: Fusion,
    drawing: Drawing,
    held_out: Pairs,
    settings: FusionSettings,
    seed: int,
    report: Report,
) -> None:
    optimiser = torch.optim.AdamW(
        fusion.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    rng = np.random.default_rng(seed)
    best, kept = _loss(fusion, held_out), _state(fusion)
    for step in range(1, settings.steps + 1):
        fusion.train()
        pairs = drawing.batch(settings.batch_size, rng)
        scores, _ = fusion.scores(pairs.audio, pairs.text, pairs.present)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores, pairs.label).backward()
        torch.nn.utils.clip_grad_norm_(fusion.parameters(), _GRADIENT_NORM)
        optimiser.step()
        schedule.step()
        if step % settings.evaluate_every == 0 or step == settings.steps:
            loss = _loss(fusion, held_out)
            report(step, loss)
            if loss < best:
                best, kept = loss, _state(fusion)
    fusion.load_state_dict(kept)


def _state(fusion: Fusion) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in fusion.state_dict().items()}


def _loss(fusion: Fusion, pairs: Pairs) -> float:
    fusion.eval()
    with torch.no_grad():
        scores, _ = fusion.scores(pairs.audio, pairs.text, pairs.present)
        return float(torch.nn.functional.cross_entropy(scores, pairs.label))


def _calibrate(fusion: Fusion, held_out: Pairs) -> None:
    """One temperature for scores with text, one for those without."""
    with torch.no_grad():
        fused, _ = fusion.scores(held_out.audio, held_out.text, held_out.present)
        nothing = torch.zeros_like(held_out.text), torch.zeros_like(held_out.present)
        alone, _ = fusion.scores(held_out.audio, *nothing)
        voice = fusion.voice(held_out.audio)
        hands_through = torch.allclose(alone.softmax(1), voice.softmax(1), atol=1e-5)
    label, read = held_out.label.numpy(), held_out.present.numpy() == 1
    if read.any():
        fusion.fused_temperature.fill_(fit_temperature(fused.numpy()[read], label[read]))
    if not hands_through:
        fusion.alone_temperature.fill_(fit_temperature(alone.numpy(), label))
