"""The text of MODEL_CARD.md for a bundle made by a recipe; everything in it is from its sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..graphs.parity import EVERYTHING
from .recipe_description import Recipe

if TYPE_CHECKING:
    from .place_encoder import Placed

_LIMITS = """\
## Limits

No figure of accuracy comes with this bundle: none was measured on it. What a model was trained on
(acted or spontaneous, which language, which microphone) decides what it hears; see the pages of the
models above. One voice at a time. The estimate says what the sound and the words are most like, not
what a person feels.

## Not to be used for

Decisions about people: hiring, grading, credit, insurance, policing, border control, medical or
psychological diagnosis, lie detection, monitoring of workers or pupils.
"""

_METHODS = {
    "mean": "The mean of the parts' probabilities; without a transcript, of the audio parts alone.",
    "maximum": "The largest probability that any part gives to a label, over the sum of these.",
    "concatenation": "The parts' embeddings side by side, then linear layers",
}


def recipe_card(recipe: Recipe, placed: Sequence[Placed], description: Mapping[str, Any]) -> str:
    """Markdown text.

    Args:
        placed: the encoders as they went into the bundle.
        description: `bundle.json` without its hashes.
    """
    sections = [
        f"# Model card: {recipe.name} {recipe.version}\n\n{description['description']}",
        f"Languages: {', '.join(recipe.languages)}. Labels: {', '.join(recipe.labels)}.",
        "## Parts\n\n" + "\n".join(_parts(placed, description["parts"]["fusion"])),
        "## Licences and data\n\n" + "\n".join(_licences(recipe)),
        "## Labels\n\n" + "\n".join(_labels(placed)),
        "## How the answers are joined\n\n" + _joined(recipe),
        "## Measured on the machine that made this bundle\n\n" + "\n".join(_measured(placed)),
        "## What the author of the recipe ran and checked\n\n" + "\n".join(_run_here(recipe)),
        _LIMITS,
    ]
    return "\n\n".join(sections)


def _parts(placed: Iterable[Placed], fusion: Mapping[str, Any] | None) -> Iterator[str]:
    yield "| part | model | revision | architecture | precision | parameters | licence |"
    yield "|---|---|---|---|---|---|---|"
    for each in placed:
        source = each.record.source
        model = source.model
        if model != each.part.model:
            model += f", in place of {each.part.model}"
        yield (
            f"| {each.part.name} ({each.part.modality}) | {model} "
            f"| {source.revision or 'a folder'} | {source.architecture} "
            f"| {each.record.precision} | {each.entry['parameters']:,} "
            f"| {source.licence or 'not stated by the model'} |"
        )
    if fusion:
        yield f"| fusion | see below | | | float32 | {fusion['parameters']:,} | |"
    yield ""
    for each in placed:
        yield f"{each.part.name}: weights sha256 {each.record.source.weights_sha256}."


def _licences(recipe: Recipe) -> Iterator[str]:
    yield f"The weights together: {recipe.licence}."
    if recipe.data:
        yield ""
        yield "| data | licence | used for |"
        yield "|---|---|---|"
    for use in recipe.data:
        yield f"| {use['name']} | {use['licence']} | {use['used_for']} |"


def _labels(placed: Iterable[Placed]) -> Iterator[str]:
    for each in placed:
        name, part = each.part.name, each.part
        if part.head == "none":
            yield f"- {name}: has no labels of its own."
        elif part.head == "regression":
            yield f"- {name}: gives valence, arousal and dominance."
        else:
            mapped = ", ".join(f"{own} is {label}" for own, label in part.labels.items())
            left = f"; left out: {', '.join(part.dropped)}" if part.dropped else ""
            yield f"- {name}: {mapped}{left}."


def _joined(recipe: Recipe) -> str:
    fusion, calibration, affect = recipe.fusion, recipe.calibration, recipe.affect
    text = _METHODS[fusion.method]
    if fusion.method == "concatenation":
        steps = [f"each modality to {fusion.project}"] if fusion.project else []
        steps += [f"{width} ({fusion.activation})" for width in fusion.hidden]
        steps.append(str(len(recipe.labels)))
        text += f": {', '.join(steps)}."
    lines = [
        f"{text} {fusion.source}",
        f"Probabilities at temperature {calibration.temperature:g}; abstains below "
        f"{calibration.abstain_below:g}. {calibration.source}",
    ]
    if affect.part is not None:
        lines.append(f"Valence, arousal and dominance: from the part {affect.part}.")
    else:
        lines.append(
            "Valence, arousal and dominance are not measured: each label stands at a published "
            f"point, and the estimate is their mean under the probabilities. {affect.source}"
        )
    return "\n\n".join(lines)


def _measured(placed: Iterable[Placed]) -> Iterator[str]:
    """Parity and speed as the encoder folders record them."""
    yield "Against the model behind each graph (of a quantised one: its graph in float32):"
    yield ""
    for each in placed:
        rows = [row for row in each.record.parity if row.get("case") == EVERYTHING]
        for row in rows:
            yield f"- {each.part.name}: {_facts(row)}"
        if not rows:
            yield f"- {each.part.name}: no comparison is on record."
        for row in each.record.speed:
            yield f"- {each.part.name}, speed: {_facts(row)}"


def _facts(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.4g}"
        if isinstance(value, float)
        else f"{key.replace('_', ' ')} {value}"
        for key, value in row.items()
        if value is not None and key not in ("case", "passed")
    )


def _run_here(recipe: Recipe) -> Iterator[str]:
    run = recipe.run_here
    for title, lines in (
        ("run", run.run),
        ("not run", run.not_run),
        ("checked", run.checked),
        ("not checked", run.not_checked),
    ):
        for line in lines:
            yield f"- {title}: {line}"
