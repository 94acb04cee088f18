"""What `bundle.json` says, as values. See `bundle_parse` for the rules it must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

FORMAT_VERSION = 1
AFFECT_LABELS = ("valence", "arousal", "dominance")


class Role(StrEnum):
    """What an output of a graph is for."""

    LOGITS = "logits"
    EMBEDDING = "embedding"
    AFFECT = "affect"


PRECISIONS = ("float32", "float16", "int8-dynamic", "int8-static")
"""In which most of a graph's arithmetic may be; its inputs and outputs say their own."""


class Batching(StrEnum):
    """Which audio may share a batch."""

    MASKED = "masked"
    """Any lengths: the `lengths` input makes padding harmless."""
    EXACT_LENGTH = "exact_length"
    """Equal lengths only: padding would change the result."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        dtype: a numpy name: float32, float16, int64.
        shape: a size, or the name of a free dimension, per axis; the first is the batch.
        normalisation: what is done to the values before they go in; of inputs only.
        role: what the values are; of outputs only.
        labels: what the last axis stands for, in the graph's own order; of logits and affect.
        range: the values that stand for 0 and 1 after scaling; of affect only.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str
    normalisation: str | None = None
    role: Role | None = None
    labels: tuple[str, ...] = ()
    range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One graph of the bundle.

    Attributes:
        name: unique in the bundle.
        file: POSIX path relative to the bundle.
        parameters: number of weights, None where nobody counted.
        precision: one of `PRECISIONS`, None where nobody said. There is one graph, which runs
            wherever the bundle is used: half precision is for GPUs, 8 bits are for CPUs.
    """

    name: str
    file: str
    parameters: int | None
    precision: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def output(self, role: Role) -> TensorSpec | None:
        """The output of that role; a part has at most one of each."""
        return next((output for output in self.outputs if output.role is role), None)


@dataclass(frozen=True, slots=True)
class AudioPart(Part):
    """An expert that hears a waveform.

    Attributes:
        minimum_samples: shorter audio is zero-padded up to this.
        maximum_samples: of longer audio, the last so many samples are heard.
    """

    batching: Batching
    minimum_samples: int
    maximum_samples: int


@dataclass(frozen=True, slots=True)
class TextPart(Part):
    """An expert that reads a transcript.

    Attributes:
        tokenizer: path of a `tokenizer.json`, relative to the bundle.
        max_tokens: longer text is cut, special tokens included.
        pad_id: token that fills up a batch, masked out.
    """

    tokenizer: str
    max_tokens: int
    pad_id: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """From logits to probabilities: softmax(logits / temperature).

    Temperature scaling after Guo et al., "On Calibration of Modern Neural Networks", 2017.
    An estimate abstains when its top probability is below `abstain_below`.
    """

    temperature: float
    abstain_below: float


@dataclass(frozen=True, slots=True)
class AffectRule:
    """Affect as the mean of fixed points, one a label, under the posterior.

    Attributes:
        centroids: label to (valence, arousal, dominance), each 0..1.
        source: where the points were published.
    """

    centroids: Mapping[str, tuple[float, float, float]]
    source: str


@dataclass(frozen=True, slots=True)
class AffectPart:
    """Affect as a part gives it, with word of how it comes to it.

    Attributes:
        part: name of a part with an output of role affect.
        source: what it was made from.
    """

    part: str
    source: str


@dataclass(frozen=True, slots=True)
class DataUse:
    """One data set behind the weights."""

    name: str
    licence: str
    used_for: str


@dataclass(frozen=True, slots=True)
class Licence:
    """Under what terms the weights come."""

    weights: str
    data: tuple[DataUse, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure with the protocol that it was measured under."""

    name: str
    value: float
    dataset: str
    split: str
    protocol: str
    count: int | None
    classes: int | None


@dataclass(frozen=True, slots=True)
class GoldenSpec:
    """Recorded inputs and outputs.

    Attributes:
        tolerance: largest absolute difference that a replay may show, as a share of the largest
            value recorded of that output where that is above 1.
    """

    file: str
    tolerance: float


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file must be.

    Attributes:
        sha256: 64 hex digits.
        bytes: its size.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class BundleDescription:
    """All of `bundle.json`.

    Attributes:
        languages: ISO 639-1 codes of the speech it was made for.
        labels: the emotions, in the order that everything outside the bundle sees.
        fusion: joins the experts; None averages their calibrated probabilities.
        affect: a rule, or where it comes from; None when graphs give it and nothing is said of how.
        files: by POSIX path relative to the bundle; `bundle.json` itself is not among them.
    """

    name: str
    version: str
    description: str
    licence: Licence
    languages: tuple[str, ...]
    sample_rate_hz: int
    labels: tuple[str, ...]
    audio: tuple[AudioPart, ...]
    text: tuple[TextPart, ...]
    fusion: Part | None
    calibration: Calibration
    affect: AffectRule | AffectPart | None
    metrics: tuple[Metric, ...]
    golden: GoldenSpec
    files: Mapping[str, FileRecord]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, in the order in which they run."""
        fusion = (self.fusion,) if self.fusion else ()
        return (*self.audio, *self.text, *fusion)
