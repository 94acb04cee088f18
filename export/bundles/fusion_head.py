"""Heads that join an audio and a text expert, and their export to `fusion/model.onnx`.

`ConcatenationHead` is learnt; its settings make it the ones of the papers:

    paper                                   inputs      project   hidden   activation
    UniSpeech-SAT + DistilBERT, Spanish TV  logits      -         2n       none
    HuBERT + BERT                           embeddings  -         -        -
    averaged MFCC + BERT (CogniCIC)         embeddings  256       256      ReLU

`MaximumHead` has nothing to learn: the larger of the experts' probabilities, label by label. (The
mean of probabilities needs no head: the runtime takes it where a bundle has none.)

All take the inputs of the bundle contract. A text may be missing; then its embedding is zeros and
`text_present` is 0, which the learnt head also sees, as modality dropout in its training needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from realtime_ser.models.bundle_description import AFFECT_LABELS

from ..errors import ExportError
from .recipe_description import FusionRecipe

OPSET = 17
_ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU}
# Further below any logit than float32 can tell apart after a softmax, and no infinity.
_NEVER = -1e4


class ConcatenationHead(nn.Module):
    """Embeddings side by side, then linear layers.

    Args:
        audio_width: sum of the widths of the audio experts' embeddings.
        text_width: the same of the text experts'; 0 for a bundle without text.
        labels: number of labels of the bundle.
        project: each modality first goes through a linear layer of this width; 0 for none.
        hidden: widths of the layers in between.
        activation: after each of those: none or relu.
        dropout: before the last layer, in training.
    """

    def __init__(
        self,
        audio_width: int,
        text_width: int,
        labels: int,
        *,
        project: int = 0,
        hidden: tuple[int, ...] = (),
        activation: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.audio_projection = nn.Linear(audio_width, project) if project else nn.Identity()
        self.text_projection: nn.Module = nn.Identity()
        if project and text_width:
            self.text_projection = nn.Linear(text_width, project)
        # One more column than the embeddings have: whether there was a text.
        width = (project or audio_width) + ((project or text_width) + 1 if text_width else 0)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), _ACTIVATIONS[activation]()]
            width = size
        layers += [nn.Dropout(dropout), nn.Linear(width, labels)]
        self.layers = nn.Sequential(*layers)

    def forward(
        self,
        audio_embedding: Tensor,
        text_embedding: Tensor | None = None,
        text_present: Tensor | None = None,
    ) -> Tensor:
        """float32 [batch, audio width], [batch, text width], [batch] -> logits [batch, labels].

        A missing text has no influence beyond `text_present`: whatever the projection makes of
        its zeros is masked.
        """
        joined = self.audio_projection(audio_embedding)
        if text_embedding is not None and text_present is not None:
            present = text_present[:, None]
            text = self.text_projection(text_embedding) * present
            joined = torch.cat([joined, text, present], dim=1)
        logits: Tensor = self.layers(joined)
        return logits


class MaximumHead(nn.Module):
    """The largest probability that any expert gives to a label, as logits.

    Paredes-Valverde & Salas-Zárate (Team ITST at EmoSPeech-IberLEF 2024): "Max is the maximum
    probability of each emotion class". The maxima do not sum to 1; the softmax of their logarithms,
    which is what the runtime computes at temperature 1, is the maxima over their sum.

    Args:
        labels: number of labels. Each expert's embedding is its logits, in the bundle's order.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels

    def forward(
        self,
        audio_embedding: Tensor,
        text_embedding: Tensor | None = None,
        text_present: Tensor | None = None,
    ) -> Tensor:
        """float32 [batch, experts * labels] each, [batch] -> logits [batch, labels]."""
        scores = self._log_probabilities(audio_embedding)
        if text_embedding is not None and text_present is not None:
            text = self._log_probabilities(text_embedding)
            present = text_present[:, None]
            scores = torch.maximum(scores, text * present + _NEVER * (1 - present))
        return scores

    def _log_probabilities(self, logits: Tensor) -> Tensor:
        """The largest over the experts of one modality: [batch, labels]."""
        experts = logits.reshape(-1, logits.shape[1] // self.labels, self.labels)
        return experts.log_softmax(2).amax(1)


def build_head(recipe: FusionRecipe, audio_width: int, text_width: int, labels: int) -> nn.Module:
    """The head of a recipe, with random weights if it has any; for `mean` there is none."""
    if recipe.method == "maximum":
        return MaximumHead(labels)
    return ConcatenationHead(
        audio_width,
        text_width,
        labels,
        project=recipe.project,
        hidden=recipe.hidden,
        activation=recipe.activation,
        dropout=recipe.dropout,
    )


def load_head(head: nn.Module, path: Path) -> None:
    """Fill a head from a safetensors file whose tensors are named as its parameters are.

    Raises:
        ExportError: there is no such file, or its tensors are not the head's; names which.
    """
    import safetensors
    from safetensors.torch import load_file

    wanted = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    try:
        tensors = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ExportError(
            f"the fusion weights {path} cannot be read ({error}); give a safetensors file with "
            f"{_shapes(wanted)}"
        ) from None
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != wanted:
        raise ExportError(
            f"the fusion weights {path} do not fit the recipe: they are {_shapes(found)}, the "
            f"head needs {_shapes(wanted)}"
        )
    head.load_state_dict(tensors)


def shapes_of(head: nn.Module) -> str:
    """Names and shapes of the tensors that a weights file of this head must hold."""
    return _shapes({name: tuple(value.shape) for name, value in head.state_dict().items()})


def _shapes(tensors: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(
        f"{name} [{', '.join(map(str, shape))}]" for name, shape in sorted(tensors.items())
    )


def export_head(
    head: nn.Module,
    audio_width: int,
    text_width: int,
    path: Path,
    outputs: Sequence[str] = ("logits",),
) -> None:
    """Write the head as an ONNX graph with a free batch axis.

    Args:
        outputs: what it returns, in order: logits alone, or logits and affect.
    """
    head.eval()
    example = [torch.zeros(2, audio_width)]
    names = ["audio_embedding"]
    if text_width:
        example += [torch.zeros(2, text_width), torch.ones(2)]
        names += ["text_embedding", "text_present"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The TorchScript exporter announces its own end; the other one takes ten times as long
        # for a graph of half a dozen nodes and stores the paths of this machine in them.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            head,
            tuple(example),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*names, *outputs)},
        )
    onnx.checker.check_model(str(path), full_check=True)


def describe_head(
    labels: tuple[str, ...],
    audio_width: int,
    text_width: int,
    parameters: int,
    *,
    affect: bool = False,
) -> dict[str, Any]:
    """The fusion part of `bundle.json`.

    Args:
        affect: whether it gives valence, arousal and dominance, 0..1, too.
    """
    inputs: dict[str, list[Any]] = {"audio_embedding": ["batch", audio_width]}
    if text_width:
        inputs |= {"text_embedding": ["batch", text_width], "text_present": ["batch"]}
    outputs = [
        {
            "name": "logits",
            "role": "logits",
            "dtype": "float32",
            "shape": ["batch", len(labels)],
            "unit": "nat",
            "labels": list(labels),
        }
    ]
    if affect:
        outputs.append(
            {
                "name": "affect",
                "role": "affect",
                "dtype": "float32",
                "shape": ["batch", len(AFFECT_LABELS)],
                "unit": "none",
                "labels": list(AFFECT_LABELS),
                "range": [0.0, 1.0],
            }
        )
    return {
        "name": "fusion",
        "file": "fusion/model.onnx",
        "parameters": parameters,
        "inputs": [
            {
                "name": name,
                "dtype": "float32",
                "shape": shape,
                "unit": "1 where there is a text, else 0" if name == "text_present" else "none",
                "normalisation": "none",
            }
            for name, shape in inputs.items()
        ],
        "outputs": outputs,
    }
