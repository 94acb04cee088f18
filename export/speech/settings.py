"""What can be chosen about the audio encoder and its training: the section [audio] of a recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ..errors import ExportError


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Sizes of the network; the defaults are small enough to train on one CPU core in minutes."""

    labels: int = 7
    stem_channels: int = 16
    width: int = 128
    blocks: int = 3
    heads: int = 4
    feed_forward: int = 2  # times the width
    stacked: int = 1  # frames of 40 ms to one vector
    kernel: int = 15  # vectors
    embedding: int = 128
    dropout: float = 0.06

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ExportError(f"{self.heads} heads do not divide a width of {self.width}")
        if self.kernel % 2 == 0:
            raise ExportError(f"a kernel of {self.kernel} has no middle; take an odd one")

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """How often, and how far, a training view differs from the plain utterance.

    Attributes:
        slowest, fastest: tempo, as a factor.
        window_probability: of hearing only 1 to 4 s of it.
        join_probability: of hearing another utterance of the same person and label after it.
    """

    tempo_probability: float = 0.5
    slowest: float = 0.85
    fastest: float = 1.18
    window_probability: float = 0.4
    join_probability: float = 0.1


@dataclass(frozen=True, slots=True)
class SoundSettings:
    """How often, and how much, a training view sounds otherwise than it was recorded.

    Ranges are drawn from evenly; ratios in dB.
    """

    babble_probability: float = 0.12
    babble_ratio_db: tuple[float, float] = (8.0, 30.0)
    room_probability: float = 0.25
    room_seconds: tuple[float, float] = (0.1, 0.9)
    direct_to_room_db: tuple[float, float] = (-1.0, 15.0)
    noise_probability: float = 0.45
    noise_ratio_db: tuple[float, float] = (3.0, 45.0)
    voice_probability: float = 0.5
    equaliser_db: float = 6.0
    high_pass_probability: float = 0.3
    low_pass_probability: float = 0.4
    floor_exponents: tuple[float, float] = (-5.0, -2.5)


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """How long, how fast and on what; `steps` and `evaluate_every` count optimiser steps.

    Attributes:
        matrix_rate_factor: the weight matrices, which Muon trains, learn so much faster.
        decay_share: last part of the steps, in which the learning rate falls to 0.
        average_decay: of the moving average of the weights, which is what is served.
        corpus_exponent: a corpus of n clips is drawn in proportion to n to this power: 1 drowns
            EmoDB (270 clips) in CREMA-D (4,492), 0 has EmoDB's few clips learnt by heart.
        vote_weight: share of the listeners' votes in the answer to learn, where there are any.
        silent_share: of each batch that is no speech at all.
        computed_noises: how many sounds without a voice are made up.
        patience: evaluations without a better one after which training stops early; 0 for never.
            The rate has then not fallen, and what it would have brought is missed.
    """

    steps: int = 5000
    batch_size: int = 32
    learning_rate: float = 1.2e-3
    matrix_rate_factor: float = 1.5
    weight_decay: float = 0.03
    warmup_steps: int = 300
    decay_share: float = 0.35
    average_decay: float = 0.998
    mixup_probability: float = 0.25
    label_smoothing: float = 0.08
    corpus_exponent: float = 0.5
    vote_weight: float = 0.3
    silent_share: float = 0.0625
    computed_noises: int = 150
    evaluate_every: int = 320
    patience: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)
    views: ViewSettings = field(default_factory=ViewSettings)
    sound: SoundSettings = field(default_factory=SoundSettings)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluate_every < 1:
            raise ExportError("steps and evaluate_every are 1 or more")
        if self.patience < 0:
            raise ExportError("patience is 0 or more")
        if self.batch_size < 2 or not 0 <= self.silent_share < 1:
            raise ExportError("a batch has 2 views or more, and not all of them silent")
