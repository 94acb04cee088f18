"""The verbs of training: train, evaluate, compare, features."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..progress import say
from ..training.protocols import KINDS, Protocol
from ..training.run_recipe import packaged_run_recipes

_WORK = Path("~/.cache/realtime-ser-export").expanduser()
_HEARING = "hearing the test clips; the first time all audio is decoded, which takes minutes"


def add_verbs(verbs: Any) -> None:
    """Add the verbs to an argparse sub-command group; each sets `run`."""
    _add_train(verbs)
    _add_evaluate(verbs)
    _add_compare(verbs)
    _add_features(verbs)


def _add_train(verbs: Any) -> None:
    verb = verbs.add_parser(
        "train",
        help="train encoders, a fusion head and a bundle by a recipe",
        description="Train what a recipe says, or go on where it was stopped.",
    )
    verb.set_defaults(run=_train)
    verb.add_argument(
        "recipe",
        metavar="RECIPE",
        help=f"a TOML file, or one of ours: {', '.join(packaged_run_recipes())}",
    )
    _add_places(verb)
    verb.add_argument("--out", type=Path, required=True, help="folder of the run")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="instead of what the recipe says, such as audio.steps=200; may be repeated",
    )
    verb.add_argument("--afresh", action="store_true", help="forget the run that is there")
    verb.add_argument(
        "--allow-changes",
        action="store_true",
        help="go on with the run that is there although recipe or data changed",
    )


def _add_evaluate(verbs: Any) -> None:
    verb = verbs.add_parser(
        "evaluate",
        help="measure a run, an encoder or a bundle; tables, plots, predictions",
        description="Measure through the exported graphs. A run is measured by its own protocol. "
        "Of an encoder folder or a bundle nobody knows here whom its training heard: that the "
        "test speakers were none of them is for you to know. A text encoder is measured on the "
        "test sentences of the corpora in text/.",
    )
    verb.set_defaults(run=_evaluate)
    verb.add_argument(
        "subject", metavar="RUN|ENCODER|BUNDLE", help="a folder, or a packaged bundle"
    )
    _add_places(verb)
    verb.add_argument(
        "--out", type=Path, help="where to write; of a run its own folder evaluation/"
    )
    verb.add_argument("--protocol", choices=KINDS, help="of an encoder or bundle (default: given)")
    verb.add_argument(
        "--corpora",
        metavar="A,B",
        help="that it was trained on; the others are measured whole, as never seen",
    )
    verb.add_argument(
        "--text",
        choices=("given", "missing"),
        default="given",
        help="of a bundle that reads: the texts of speech.csv, and without any (default), or only "
        "without any",
    )


def _add_compare(verbs: Any) -> None:
    verb = verbs.add_parser(
        "compare",
        help="a table and plots of several evaluations",
        description="Print a table of several evaluations, and by how much each differs from the "
        "first on the clips that both answered.",
    )
    verb.set_defaults(run=_compare)
    verb.add_argument(
        "folders", metavar="RUN", type=Path, nargs="+", help="a run, or the folder of an evaluation"
    )
    verb.add_argument("--out", type=Path, help="folder for the table and the plots")


def _add_features(verbs: Any) -> None:
    verb = verbs.add_parser(
        "features",
        help="what an encoder, or those of a bundle, make of every clip",
        description="Write the outputs of the exported graphs for all clips of speech.csv, as npz.",
    )
    verb.set_defaults(run=_features)
    verb.add_argument("encoders", metavar="ENCODER|BUNDLE", help="a folder, or a packaged bundle")
    _add_places(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="to write")
    verb.add_argument("--seconds", type=float, help="only the first so many seconds of speech")


def _add_places(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--data", type=Path, required=True, help="folder with speech.csv")
    verb.add_argument(
        "--work",
        type=Path,
        default=_WORK,
        metavar="CACHE",
        help="for what can be made again, such as decoded audio; 4 GB (default: %(default)s)",
    )
    verb.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def _train(options: argparse.Namespace) -> None:
    from ..training.run import train_run
    from ..training.run_recipe import read_run_recipe

    recipe = read_run_recipe(options.recipe, options.set)
    train_run(
        recipe,
        options.out,
        _places(options),
        afresh=options.afresh,
        allow_changes=options.allow_changes,
    )
    print(f"trained {options.out}")


def _evaluate(options: argparse.Namespace) -> None:
    from ..encoder_folder import RECORD_FILE, read_record
    from ..errors import ExportError
    from ..training.report import corpora_table, sounds_table
    from ..training.run import (
        REPORT_FILE,
        evaluate_run,
        evaluate_subject,
        evaluate_text_encoder,
    )
    from ..training.run_folder import EVALUATION, is_run
    from ..training.subjects import open_subject

    texts, places = options.text == "given", _places(options)
    folder = Path(options.subject)
    if is_run(folder):
        if options.protocol or options.corpora or options.out:
            raise ExportError(
                f"{folder} is a run, which is measured by its own protocol and keeps its own "
                "evaluation; leave out --protocol, --corpora and --out"
            )
        out = folder / EVALUATION
        say(_HEARING)
        found = evaluate_run(folder, places, texts=texts)
    elif options.out is None:
        raise ExportError("--out is missing: a folder for the evaluation")
    elif (folder / RECORD_FILE).is_file() and read_record(folder).modality == "text":
        out = options.out
        found = evaluate_text_encoder(folder, places, out)
    else:
        subject, out = open_subject(options.subject, options.threads), options.out
        say(_HEARING)
        found = evaluate_subject(subject, _protocol(options), places, out, texts=texts)
    print(corpora_table(found.document))
    if found.document["sounds"]:
        print(f"\n{sounds_table(found.document)}")
    print(f"\nmore in {out / REPORT_FILE}")


def _protocol(options: argparse.Namespace) -> Protocol:
    kind = options.protocol or "given"
    if options.corpora is None:
        return Protocol(kind)
    return Protocol(kind, tuple(name.strip() for name in options.corpora.split(",")))


def _compare(options: argparse.Namespace) -> None:
    from ..errors import ExportError
    from ..training.compare import differences, read_evaluation, table
    from ..training.plots import draw_comparison

    names = [folder.resolve().name for folder in options.folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in options.folders]
    if len(set(names)) < len(names):
        raise ExportError("one folder is named twice; name each once")
    read = {
        name: read_evaluation(folder) for name, folder in zip(names, options.folders, strict=True)
    }
    documents = {name: document for name, (document, _) in read.items()}
    text = table(documents)
    if len(names) > 1:
        text += "\n\n" + differences(documents, {name: found for name, (_, found) in read.items()})
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "comparison.md").write_text(text + "\n", encoding="utf-8")
        draw_comparison(documents, options.out)


def _features(options: argparse.Namespace) -> None:
    from ..training.corpora import read_clips
    from ..training.features import cached, open_encoders, save
    from ..training.stage_evaluation import open_material

    encoders = open_encoders(options.encoders, options.threads)
    material = open_material(options.data, options.work, read_clips(options.data))
    features = cached(encoders, material, options.work, options.seconds)
    save(features, material, options.out)
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in features.values.items())
    print(f"wrote {options.out}: {shapes}")


def _places(options: argparse.Namespace) -> Any:
    from ..training.run import Places

    return Places(options.data, options.work, options.threads)
