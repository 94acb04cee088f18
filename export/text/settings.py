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

    vocabulary: int = 10_000
    width: int = 192
    blocks: str = "nn"
    heads: int = 4
    kernel: int = 3
    inner: int = 192
    embedding: int = 192
    dropout: float = 0.2
    token_dropout: float = 0.1

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
class PhaseSettings:
    """One pass of training.

    Attributes:
        steps: optimiser steps.
        learning_rate: the highest; of the blocks it is multiplied by `block_rate`.
        warmup_steps: until it is reached.
        decay_share: last part of the steps, in which it falls to 0.
        draw_power: a corpus of n rows is drawn in proportion to n to this power.
        tuned_share: of all draws, for the corpora of `tuned_on`.
    """

    steps: int = 6000
    learning_rate: float = 4e-3
    block_rate: float = 0.5
    warmup_steps: int = 100
    decay_share: float = 0.5
    draw_power: float = 0.75
    tuned_share: float = 0.0


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The text encoder.

    Attributes:
        corpora: of `labels.CORPORA`, to train on.
        tuned_on: those of them that only the second phase sees. They have no dev or test rows of
            their own and are measured by cross-validation, which repeats that short phase alone.
        folds: of that cross-validation; 0 for none.
        max_tokens: of a text in training.
        spoken_share: of the texts that are shown without punctuation.
        own_weight, affect_weight: of the losses beside that of the seven emotions.
    """

    corpora: tuple[str, ...] = CORPORA
    tuned_on: tuple[str, ...] = ("meacorpus",)
    folds: int = 5
    batch_size: int = 128
    max_tokens: int = 64
    spoken_share: float = 0.3
    label_smoothing: float = 0.05
    own_weight: float = 1.0
    affect_weight: float = 0.3
    weight_decay: float = 0.05
    average_decay: float = 0.997
    evaluate_every: int = 500
    network: NetworkSettings = field(default_factory=NetworkSettings)
    base: PhaseSettings = field(default_factory=PhaseSettings)
    tune: PhaseSettings = field(
        default_factory=lambda: PhaseSettings(
            steps=800, learning_rate=1e-3, decay_share=1.0, tuned_share=0.3
        )
    )

    def __post_init__(self) -> None:
        unknown = {*self.corpora, *self.tuned_on} - set(CORPORA)
        if unknown:
            raise ExportError(
                f"there is no text corpus {', '.join(sorted(unknown))}; known: {', '.join(CORPORA)}"
            )
        if self.folds == 1 or self.folds < 0:
            raise ExportError("cross-validation takes 2 folds or more, or 0 for none")
