"""What a recipe says, as values. See `recipe` for the rules it must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HEADS = ("none", "classification", "regression")
EMBEDDINGS = ("pooled", "logits", "all")
FUSIONS = ("mean", "maximum", "concatenation")
ACTIVATIONS = ("none", "relu")


@dataclass(frozen=True, slots=True)
class PartRecipe:
    """One encoder.

    Attributes:
        name: of the part in the bundle, and of the folder it lies in.
        modality: audio or text.
        model: hub id, or the name of a feature extractor of ours that has no weights.
        revision: commit on the hub; None where nobody pinned it.
        licence: of the model's weights, as its own page says.
        parameters: number of weights, as published or as its config gives; None where unknown.
        head: none, classification (logits) or regression (affect).
        fine_tuned: whether `model` has that head; False for a pretrained encoder, which must be
            fine-tuned first and is then given in its place.
        precision: one of `bundle_description.PRECISIONS`.
        tolerance: largest absolute difference that an output may show, in its own unit.
        model_labels: the model's own labels in the order of its head, where known. They name the
            columns of a model whose config does not.
        labels: label of the model to label of the bundle.
        dropped: labels of the model that the bundle has none for.
        range: what 0 and 1 of affect are in the model's own numbers; of regression heads.
        embedding: what a fusion head gets: the pooled hidden states, the logits, or all there is:
            pooled hidden states, logits and, where the encoder gives it, affect, side by side.
    """

    name: str
    modality: str
    model: str
    revision: str | None
    licence: str
    parameters: int | None
    head: str
    fine_tuned: bool
    precision: str
    tolerance: float
    model_labels: tuple[str, ...]
    labels: Mapping[str, str]
    dropped: tuple[str, ...]
    range: tuple[float, float] | None
    embedding: str


@dataclass(frozen=True, slots=True)
class FusionRecipe:
    """How the answers of the parts become one.

    Attributes:
        method: mean (of the probabilities), maximum (of the probabilities), or concatenation (of
            the embeddings, then linear layers that have to be trained).
        project: each modality first goes through a linear layer of this width; 0 for none.
        hidden: widths of the layers between the concatenation and the labels.
        activation: after each hidden layer.
        dropout: share of values zeroed before the last layer in training; no trace of it is left
            when exported.
        weights: safetensors file of the head, relative to the recipe; None while there is none.
        source: where the combination was published, or that it is ours.
    """

    method: str
    project: int
    hidden: tuple[int, ...]
    activation: str
    dropout: float
    weights: Path | None
    source: str


@dataclass(frozen=True, slots=True)
class CalibrationRecipe:
    """Temperature and abstention; `source` says what they were fitted on, or that they were not."""

    temperature: float
    abstain_below: float
    source: str


@dataclass(frozen=True, slots=True)
class AffectRecipe:
    """Where valence, arousal and dominance come from.

    Attributes:
        part: the part that gives them, or None for `centroids`.
        centroids: label to (valence, arousal, dominance), each 0..1; empty when a part gives them.
        source: where the points were published; empty when a part gives them.
    """

    part: str | None
    centroids: Mapping[str, tuple[float, float, float]]
    source: str


@dataclass(frozen=True, slots=True)
class RunHere:
    """What the author of the recipe knows, and how; each a list of sentences."""

    run: tuple[str, ...]
    not_run: tuple[str, ...]
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All of a recipe file.

    Attributes:
        file: where it was read from.
        data: name, licence and use of each data set behind the weights, as far as known.
    """

    file: Path
    name: str
    version: str
    description: str
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    licence: str
    data: tuple[Mapping[str, str], ...]
    audio: tuple[PartRecipe, ...]
    text: tuple[PartRecipe, ...]
    fusion: FusionRecipe
    calibration: CalibrationRecipe
    affect: AffectRecipe
    run_here: RunHere

    @property
    def parts(self) -> tuple[PartRecipe, ...]:
        """The encoders, in the order in which they run."""
        return (*self.audio, *self.text)
