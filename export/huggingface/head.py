"""What head a model has, held against what is wanted of it; the same for speech and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from realtime_ser.models.bundle_description import AFFECT_LABELS

from ..errors import ExportError
from .source import labels_of

HEADS = ("auto", "none", "classification", "regression")


@dataclass(frozen=True, slots=True)
class Head:
    """What is on top of an encoder.

    Attributes:
        role: of its output: logits or affect; "" for no head.
        labels: in the order of its output.
        range: what lowest and highest stand for, of affect.
        shares: each label is answered on its own (a sigmoid), and the logits are to say their
            shares of all.
    """

    role: str = ""
    labels: tuple[str, ...] = ()
    range: tuple[float, float] = (0.0, 1.0)
    shares: bool = False

    def outputs(self) -> list[dict[str, Any]]:
        """Its entries among the outputs of a part of `bundle.json`: one, or none."""
        if not self.role:
            return []
        entry: dict[str, Any] = {"name": self.role, "role": self.role, "dtype": "float32"}
        entry |= {"shape": ["batch", len(self.labels)], "labels": list(self.labels)}
        if self.role == "affect":
            return [entry | {"unit": "none", "range": list(self.range)}]
        shares = "nat, logarithm of the probability of each label on its own"
        return [entry | {"unit": shares if self.shares else "nat"}]


def find_head(
    name: str,
    settings: Mapping[str, Any],
    wanted: str,
    *,
    present: bool,
    labels: tuple[str, ...] | None = None,
    affect_range: tuple[float, float] | None = None,
    shares: bool = False,
) -> Head:
    """The head to export.

    Args:
        name: of the model, for messages.
        settings: its config.json.
        wanted: one of `HEADS`.
        present: whether the model has one at all.
        labels: names of its outputs, in their order, instead of those in `settings`.
        affect_range: what lowest and highest are in the numbers of a regression head.
        shares: accept a head that answers each label on its own.

    Raises:
        ExportError: the model does not have what is wanted, or it is not known what its outputs
            mean.
    """
    if wanted not in HEADS:
        raise ExportError(f"there is no head {wanted!r}; use one of {', '.join(HEADS)}")
    if wanted == "none" or (wanted == "auto" and not present):
        return Head()
    if not present:
        architecture = architecture_of(settings) or "no architecture"
        raise ExportError(f"{name} ({architecture}) has no head; use --head none")
    names = labels_of(settings, labels, model=name)
    problem = settings.get("problem_type")
    # transformers trains a single output by regression, whatever it is called.
    found = "regression" if problem == "regression" or len(names) == 1 else "classification"
    if set(map(str.lower, names)) == set(AFFECT_LABELS):
        found = "regression"
    if wanted not in ("auto", found):
        raise ExportError(
            f"{name} has a head for {found} ({', '.join(names)}), not {wanted}; use --head auto"
        )
    if found == "regression":
        return _regression(name, names, affect_range)
    several = problem == "multi_label_classification"
    if several and not shares:
        raise ExportError(
            f"{name} answers each label on its own, none or several may hold; bundles choose one. "
            "Use --head none for its embedding, or --multi-label-shares to let each label have its "
            "share of the sum of all probabilities (then it cannot say that none holds)"
        )
    return Head("logits", names, shares=several)


def _regression(
    name: str, labels: tuple[str, ...], affect_range: tuple[float, float] | None
) -> Head:
    lower = tuple(label.lower() for label in labels)
    if set(lower) != set(AFFECT_LABELS):
        raise ExportError(
            f"{name} has a regression head for {', '.join(labels)}; only all of "
            f"{', '.join(AFFECT_LABELS)} can be served. Name its outputs with --name-labels, or "
            "use --head none"
        )
    if affect_range is None:
        raise ExportError(
            f"{name} gives {', '.join(lower)} in numbers of its own; look up in its model card "
            "what the lowest and the highest are and give them: --range LOW HIGH, such as "
            "--range 0 1"
        )
    if affect_range[0] >= affect_range[1]:
        raise ExportError("--range must rise from its first number to its second")
    return Head("affect", lower, affect_range)


def architecture_of(settings: Mapping[str, Any]) -> str:
    """The class that a config.json names; "" where it names none."""
    return str(next(iter(settings.get("architectures") or ()), ""))
