"""A recipe becomes a run, and a run its figures: the stages in order, for each split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..progress import say
from ..text.splits import read_rows
from .context import PACKAGES, Progress, StageContext
from .corpora import Clip, read_clips
from .evaluation import FILE as METRICS_FILE
from .evaluation import Evaluation, Measured, evaluate
from .extra_sounds import noise_files, reader_files
from .plots import draw
from .predictions import FILE as PREDICTIONS_FILE
from .predictions import save
from .protocols import Protocol, Split, splits
from .report import report
from .run_folder import (
    EVALUATION,
    begin_run,
    read_run,
    recipe_of_run,
    result_of,
    split_folder,
)
from .run_recipe import RunRecipe
from .stage_evaluation import open_material, trained_labels, unseen_corpora
from .subjects import Subject, open_subject
from .text_evaluation import TextSubject, evaluate_text

Stage = Callable[[Any, StageContext], None]
REPORT_FILE = "report.md"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes.

    Attributes:
        data: folder with speech.csv.
        cache: for what can be made again.
        threads: of the CPU.
    """

    data: Path
    cache: Path
    threads: int = 1


def train_run(
    recipe: RunRecipe,
    out: Path,
    places: Places,
    *,
    afresh: bool = False,
    allow_changes: bool = False,
    stages: Mapping[str, Stage] | None = None,
) -> None:
    """Train what the recipe says, or go on where it was stopped.

    Args:
        out: the run's folder.
        stages: in place of those of the packages, by name.

    Raises:
        ExportError: the recipe does not fit the data, or `out` is another run.
        SpeakerLeakError: a speaker stands on both sides of a split.
    """
    clips = clips_of(recipe, places.data)
    made = splits(clips, recipe.protocol)
    for split in made:
        if len(split.train) == 0 or len(split.dev) == 0:
            raise ExportError(
                f"the split {split.name} has {len(split.train)} clips to train on and "
                f"{len(split.dev)} to choose on; give speech.csv some of each, or take another "
                "protocol"
            )
    names = [split.name for split in made]
    run = begin_run(out, recipe, places.data, names, afresh=afresh, allow_changes=allow_changes)
    for split in made:
        folder = split_folder(out, run, split.name)
        for stage, settings in recipe.stages.items():
            context = _context(recipe, stage, folder, places, clips, split, not afresh)
            say(
                f"{recipe.name}, {split.name}: {stage}; {len(split.train)} clips to train on, "
                f"{len(split.dev)} to choose on"
            )
            train = (stages or {}).get(stage) or stage_of(stage)
            train(settings, context)


def stage_of(stage: str) -> Stage:
    """The function that trains a stage."""
    module = import_module(f"..{PACKAGES[stage]}.stage", __package__)
    train: Stage = module.train
    return train


def clips_of(recipe: RunRecipe, data: Path) -> tuple[Clip, ...]:
    """The clips of speech.csv whose label the recipe has."""
    return tuple(clip for clip in read_clips(data) if clip.label_name in recipe.labels)


def evaluate_run(out: Path, places: Places, *, texts: bool = True) -> Evaluation:
    """Measure a run by its own protocol, all splits together; one of text alone on sentences.

    Raises:
        ExportError: it is not trained to the end.
    """
    run = read_run(out)
    recipe = recipe_of_run(run, out)
    if list(recipe.stages) == ["text"]:
        made = split_folder(out, run, run.splits[0]) / "text" / "encoder"
        return evaluate_text_encoder(made, places, out / EVALUATION)
    clips = clips_of(recipe, places.data)
    measured = []
    for split in splits(clips, recipe.protocol):
        made = result_of(split_folder(out, run, split.name))
        subject = open_subject(made, places.threads)
        measured.append(Measured(subject, split, trained_labels(clips, split)))
    found = _evaluate(measured, clips, recipe.protocol, places, texts)
    found.document["subject"]["name"] = recipe.name
    write_evaluation(found, clips, out / EVALUATION)
    return found


def evaluate_subject(
    subject: Subject, protocol: Protocol, places: Places, out: Path, *, texts: bool = True
) -> Evaluation:
    """Measure an encoder or a bundle on the test clips of a protocol, wherever it was trained.

    Nobody knows here what it was trained on: that its training did not hear the test speakers is
    for whoever trained it to say.
    """
    clips = tuple(read_clips(places.data))
    measured = [Measured(subject, split, subject.labels) for split in splits(clips, protocol)]
    found = _evaluate(measured, clips, protocol, places, texts)
    write_evaluation(found, clips, out)
    return found


def evaluate_text_encoder(folder: Path, places: Places, out: Path) -> Evaluation:
    """Measure the encoder folder of a text model on the test sentences of `data/text`."""
    found, sentences = evaluate_text(
        TextSubject(folder, places.threads), read_rows(places.data / "text")
    )
    write_evaluation(found, sentences, out)
    return found


def write_evaluation(evaluation: Evaluation, clips: Sequence[Clip], folder: Path) -> None:
    """Write metrics.json, predictions.npz, report.md and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(evaluation.document, indent=1, ensure_ascii=False) + "\n"
    (folder / METRICS_FILE).write_text(text, encoding="utf-8")
    (folder / REPORT_FILE).write_text(report(evaluation.document), encoding="utf-8")
    save(evaluation.predictions, clips, folder / PREDICTIONS_FILE)
    draw(evaluation.document, folder)


def _evaluate(
    measured: Sequence[Measured],
    clips: Sequence[Clip],
    protocol: Protocol,
    places: Places,
    texts: bool,
) -> Evaluation:
    # By one subject alone: of several, each would answer the same clips, and which one counts?
    unseen = unseen_corpora(clips, protocol) if len(measured) == 1 else []
    material = open_material(places.data, places.cache, clips)
    return evaluate(measured, material, places.data, protocol, texts=texts, unseen=unseen)


def _context(
    recipe: RunRecipe,
    stage: str,
    folder: Path,
    places: Places,
    clips: tuple[Clip, ...],
    split: Split,
    resume: bool,
) -> StageContext:
    extra = recipe.data.extra
    return StageContext(
        stage=stage,
        data=places.data,
        run=folder,
        cache=places.cache,
        seed=recipe.seed,
        labels=recipe.labels,
        clips=clips,
        protocol=recipe.protocol,
        split=split,
        readers=tuple(reader_files(places.data, "train")) if "readers" in extra else (),
        noises=tuple(noise_files(places.data, "train")) if "noises" in extra else (),
        resume=resume,
        threads=places.threads,
        progress=Progress(stage, folder / stage),
    )
