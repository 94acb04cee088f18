"""What a recipe may say of the fusion head: its section [fusion]."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ..errors import ExportError

GATED = "gated"
STRATEGIES = (
    *(GATED, "mean", "max", "logits_mlp"),
    *("concat_linear", "subnet_concat", "subnet_attention"),
)


@dataclass(frozen=True, slots=True)
class Shares:
    """How often a pair of each kind is drawn in training, relative to the others (see `pairs`).

    They are what the head takes the world to be, for no corpus here says: where words and voice
    both carry a feeling (matched and contradicting), it is the same four times out of five; of
    what is said, nearly half (real and neutral) carries none; one time in ten a feeling is in the
    words alone; and one utterance in ten has no text, because the transcriber was not sure of it.
    """

    real: float = 0.25
    matched: float = 0.35
    neutral: float = 0.12
    calm: float = 0.1
    contradicting: float = 0.08
    missing: float = 0.1

    def __post_init__(self) -> None:
        values = [getattr(self, each.name) for each in fields(self)]
        if min(values) < 0 or sum(values) <= 0:
            raise ExportError("the shares of the pairs must not be negative, and not all 0")


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """How the head is made and trained.

    Attributes:
        strategy: one of `STRATEGIES`; see `heads`.
        compared: others to train and measure beside it, for the tables.
        shares: of the kinds of pairs.
        corpora: of the text, names of `text.labels.SHARED`; all of them where empty.
        sentences: at most so many of each corpus and emotion.
        steps: of the optimiser.
        batch_size: pairs a step.
        learning_rate: of AdamW, falling to 0 along a cosine.
        weight_decay: of AdamW.
        dropout: before the last layer of a head that has one.
        hidden: units of the gate.
        evaluate_every: steps; the head with the lowest loss on the held-out quarter is kept.
        arousal_strength: by how much one standard deviation of the intensity that is heard in the
            voice moves arousal (0..1). No corpus says how much; it moves the order, not the mean.
        text_affect: share of the words in valence, arousal and dominance where the gate is open.
    """

    strategy: str = GATED
    compared: tuple[str, ...] = ()
    shares: Shares = field(default_factory=Shares)
    corpora: tuple[str, ...] = ()
    sentences: int = 150
    steps: int = 1500
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    dropout: float = 0.3
    hidden: int = 32
    evaluate_every: int = 100
    arousal_strength: float = 0.08
    text_affect: float = 0.5

    def __post_init__(self) -> None:
        for strategy in (self.strategy, *self.compared):
            if strategy not in STRATEGIES:
                raise ExportError(
                    f"there is no fusion strategy {strategy!r}; use one of {', '.join(STRATEGIES)}"
                )
        if min(self.sentences, self.steps, self.batch_size, self.hidden, self.evaluate_every) < 1:
            raise ExportError(
                "sentences, steps, batch_size, hidden and evaluate_every of [fusion] must be at "
                "least 1"
            )
        for name in ("dropout", "text_affect", "arousal_strength"):
            if not 0 <= getattr(self, name) <= 1:
                raise ExportError(f"{name} of [fusion] must be 0 to 1")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ExportError("learning_rate of [fusion] must be above 0, weight_decay not below")
