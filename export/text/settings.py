"""What can be chosen about the text encoder and its training: the section [text] of a recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ..errors import ExportError
from .labels import CORPORA


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Sizes of the network.

    Attributes:
        vocabulary: byte pairs at most; fewer if the sentences do not hold so many.
        blocks: one letter each, in order: n looks at the neighbours of a token, a attends to all.
        kernel: tokens that n sees, the middle one included.
        inner: hidden units of n.
        token_dropout: share of the tokens that training hides.
    """

    vocabulary: int = 14_000
    width: int = 160
    blocks: str = "n"
    heads: int = 4
    kernel: int = 3
    inner: int = 160
    embedding: int = 160
    dropout: float = 0.35
    token_dropout: float = 0.25

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ExportError(f"{self.heads} heads do not divide a width of {self.width}")
        if self.kernel % 2 == 0:
            raise ExportError(f"a kernel of {self.kernel} has no middle; take an odd one")
        if set(self.blocks) - {"n", "a"}:
            raise ExportError(f"blocks are letters n and a, not {self.blocks!r}")
        if not 300 <= self.vocabulary <= 32_000:
            raise ExportError("a vocabulary has 300 to 32000 byte pairs")

    def as_dict(self) -> dict[str, int | float | str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The text encoder.

    Attributes:
        corpora: of `labels.CORPORA`, to train on.
        folds, fold: corpora without a split of their own (MEACorpus) are dealt into so many folds,
            and this one, from 0, is their test set. All in turn are a cross-validation.
        steps: optimiser steps; `evaluate_every` counts them too.
        learning_rate: the highest; of the blocks it is multiplied by `block_rate`.
        warmup_steps: until it is reached.
        decay_share: last part of the steps, in which it falls to 0.
        average_decay: of the moving average of the weights, which is what is served.
        draw_power: a corpus of n rows is drawn in proportion to n to this power,
        boosted: these corpora `boost` times as often: small, and what targets are set for.
        max_tokens: of a text in training.
        spoken_share: of the texts that are shown without punctuation.
        patience: evaluations without a better one after which training stops early; 0 for never.
        own_weight, affect_weight: of the losses beside that of the seven emotions.
    """

    corpora: tuple[str, ...] = CORPORA
    folds: int = 5
    fold: int = 0
    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 4e-3
    block_rate: float = 0.5
    warmup_steps: int = 100
    decay_share: float = 0.7
    weight_decay: float = 0.05
    average_decay: float = 0.997
    draw_power: float = 0.75
    boosted: tuple[str, ...] = ("meacorpus", "emobank")
    boost: float = 2.5
    max_tokens: int = 64
    spoken_share: float = 0.3
    label_smoothing: float = 0.1
    own_weight: float = 1.0
    affect_weight: float = 1.0
    evaluate_every: int = 500
    patience: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        unknown = {*self.corpora, *self.boosted} - set(CORPORA)
        if unknown:
            raise ExportError(
                f"there is no text corpus {', '.join(sorted(unknown))}; known: {', '.join(CORPORA)}"
            )
        if self.patience < 0:
            raise ExportError("patience is 0 or more")
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise ExportError("there are 2 folds or more, counted from 0")
