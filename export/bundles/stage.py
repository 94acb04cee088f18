"""The last stage of a training run: what was trained becomes a bundle, measured as it is served."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_ser.models.bundle import Bundle
from realtime_ser.types import SAMPLE_RATE_HZ

from ..encoder_folder import GRAPH_FILE, RECORD_FILE, replacing
from ..errors import ExportError
from ..progress import say
from ..training.calibration import Calibration
from ..training.context import StageContext
from ..training.corpora import LABELS
from ..training.evaluation import Evaluation, Measured, evaluate
from ..training.predictions import calibrate
from ..training.report import published
from ..training.run import write_evaluation
from ..training.run_folder import EVALUATION, RUN_FILE
from ..training.stage_evaluation import open_material, trained_labels, unseen_corpora
from ..training.subjects import BundleSubject, EncoderSubject
from .centroids import PAD_SOURCE, centroids
from .licences import data_uses, text_title
from .place_encoder import Placed, place
from .settings import BundleSettings
from .trained_card import CardFacts, trained_card
from .trained_parts import FUSION, golden_of_trained, trained_part
from .write_bundle import FORMAT_VERSION, GOLDEN_FILE, finish_bundle

if TYPE_CHECKING:
    from ..fusion.heads import Fusion

AUDIO, TEXT = "audio", "text"
FIGURES_FILE = "figures.json"
TOLERANCE = 1e-3

_AFFECT_SOURCE = (
    "Voice: label centroids, then arousal moved by the acted intensity that is heard; words: a "
    "regression on EmoBank's ratings, as far as the gate lets them count. " + PAD_SOURCE
)


@dataclass(frozen=True, slots=True)
class _Joined:
    """The head, and what its stage wrote of it."""

    module: Fusion
    graph: Path
    figures: Mapping[str, Any]


def train(settings: BundleSettings, context: StageContext) -> None:
    """Put the run's encoders and its head, if it has one, into the bundle `context.folder`.

    Nothing is trained here. Temperature and threshold come from dev, and every figure from the
    bundle itself, with its own graphs, on the test clips; they are left in the run's `evaluation`,
    too. This is measured again each time, so that figures and graphs cannot come apart.

    Raises:
        ExportError: an encoder is missing, the bundle does not answer as what it was made of, or
            it is too large.
    """
    joined = _joined(context.run)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=context.run) as work:
        draft = Path(work) / "draft"
        draft.mkdir()
        placed = _place(context, draft, with_text=joined is not None)
        cases = golden_of_trained(placed, None if joined is None else joined.module)
        calibration = _calibration(context, joined)
        if joined is not None:
            (draft / FUSION).mkdir()
            shutil.copyfile(joined.graph, draft / FUSION / GRAPH_FILE)
        graphs = Path(work) / "graphs"
        shutil.copytree(draft, graphs)
        description = _describe(settings, context, placed, joined, calibration)
        bundle = finish_bundle(draft, description, cases, "# Not measured yet\n")
        _check_size(bundle, settings.most_bytes)
        say(f"{settings.name}: measuring it")
        evaluation = _measure(bundle, context)
        description["metrics"] = [
            *published(evaluation.document),
            *_fusion_metrics(joined),
            *_text_metrics(context.run, joined),
        ]
        card = trained_card(_facts(context, description, evaluation, joined, placed))
        with replacing(context.folder) as final:
            shutil.copytree(graphs, final, dirs_exist_ok=True)
            finish_bundle(final, description, cases, card)
    write_evaluation(evaluation, context.clips, context.run / EVALUATION)


def _joined(run: Path) -> _Joined | None:
    """The head of the run; None where it has none."""
    folder = run / FUSION
    if not (folder / GRAPH_FILE).is_file():
        return None
    from ..fusion.stage import HEAD_FILE, load_head

    figures = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
    return _Joined(load_head(folder / HEAD_FILE), folder / GRAPH_FILE, figures)


def _place(context: StageContext, draft: Path, *, with_text: bool) -> tuple[Placed, ...]:
    placed = []
    for modality in (AUDIO, TEXT) if with_text else (AUDIO,):
        folder = context.run / modality / "encoder"
        if not (folder / RECORD_FILE).is_file():
            raise ExportError(
                f"{folder} is no encoder folder yet; train [{modality}] before [bundle]"
            )
        part = trained_part(
            modality,
            folder,
            LABELS,
            embedding="all" if with_text else "pooled",
            tolerance=TOLERANCE,
        )
        placed.append(place(part, folder, draft, LABELS))
    return tuple(placed)


def _calibration(context: StageContext, joined: _Joined | None) -> Calibration:
    """Of the voice alone, on dev.

    A head brings the temperature that it was made for: it calibrates its own answers to that one.
    """
    subject = EncoderSubject(context.run / AUDIO / "encoder", context.threads)
    material = open_material(context.data, context.cache, context.clips)
    found = calibrate(subject, material, context.split.dev, texts=False)
    if joined is None:
        return found
    return Calibration(
        round(float(joined.module.temperature), 4), found.abstain_below, found.source
    )


def _describe(
    settings: BundleSettings,
    context: StageContext,
    placed: Sequence[Placed],
    joined: _Joined | None,
    calibration: Calibration,
) -> dict[str, Any]:
    """All of `bundle.json` but `files`, without figures."""
    entries = {each.part.modality: dict(each.entry) for each in placed}
    head = None
    if joined is not None:
        from .fusion_head import describe_head

        module = joined.module
        parameters = sum(parameter.numel() for parameter in module.parameters())
        head = describe_head(LABELS, module.audio.width, module.text.width, parameters, affect=True)
    of_train = [context.clips[i] for i in context.split.train]
    languages = sorted({clip.language for clip in of_train if clip.language}) or ["en"]
    affect = {"method": "label_centroids", "centroids": centroids(LABELS), "source": PAD_SOURCE}
    if head is not None:
        affect = {"method": "part", "part": head["name"], "source": _AFFECT_SOURCE}
    return {
        "format_version": FORMAT_VERSION,
        "name": settings.name,
        "version": settings.version,
        "description": settings.description,
        "licence": {
            "weights": settings.licence,
            "data": data_uses(
                (clip.corpus for clip in of_train),
                (clip.corpus for clip in context.clips),
                _text_corpora(placed),
                _fused_corpora(joined),
                readers=bool(context.readers),
                noises=bool(context.noises),
            ),
        },
        "languages": languages,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": list(LABELS),
        "parts": {
            "audio": [entries[AUDIO]],
            "text": [entries[TEXT]] if TEXT in entries else [],
            "fusion": head,
        },
        "calibration": {
            "temperature": calibration.temperature,
            "abstain_below": calibration.abstain_below,
        },
        "affect": affect,
        "metrics": [],
        "golden": {"file": GOLDEN_FILE, "tolerance": TOLERANCE},
    }


def _text_corpora(placed: Sequence[Placed]) -> list[str]:
    """What the text encoder says that it was trained on."""
    records = [each.record for each in placed if each.part.modality == TEXT]
    return [corpus for record in records for corpus in record.options.get("corpora", ())]


def _fused_corpora(joined: _Joined | None) -> list[str]:
    """The text corpora whose sentences the head was trained on."""
    return [] if joined is None else list(joined.figures["corpora"])


def _check_size(bundle: Bundle, most_bytes: int) -> None:
    total = sum(record.bytes for record in bundle.description.files.values())
    if total > most_bytes:
        raise ExportError(
            f"the bundle has {total:,} bytes, the recipe allows {most_bytes:,}; train smaller "
            "encoders, or raise most_bytes of [bundle]"
        )


def _measure(bundle: Bundle, context: StageContext) -> Evaluation:
    """The bundle on voices alone; what the words bring is measured by the fusion stage."""
    subject = BundleSubject(bundle.path, context.threads)
    material = open_material(context.data, context.cache, context.clips)
    return evaluate(
        [Measured(subject, context.split, trained_labels(context.clips, context.split))],
        material,
        context.data,
        context.protocol,
        texts=False,
        unseen=unseen_corpora(context.clips, context.protocol),
    )


def _fusion_metrics(joined: _Joined | None) -> list[dict[str, Any]]:
    """UA of voice, words and both, by kind of pair."""
    if joined is None:
        return []
    rows = []
    found = joined.figures["figures"][joined.figures["strategy"]]["test"]
    for kind, figures in found.items():
        for who in ("audio", "text", "fused"):
            if figures[who] is None:
                continue
            rows.append(
                {
                    "name": "unweighted_average_recall",
                    "value": round(figures[who], 4),
                    "dataset": f"pairs of voice and text: {kind}",
                    "split": "test",
                    "protocol": f"{who}; all labels, as served; see MODEL_CARD.md on the pairs",
                    "count": figures["count"],
                    "classes": len(LABELS),
                }
            )
    return rows


def _text_metrics(run: Path, joined: _Joined | None) -> list[dict[str, Any]]:
    """What the text stage measured, where it left it."""
    path = run / TEXT / FIGURES_FILE
    if joined is None or not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    return [{**row, "dataset": text_title(row["dataset"])} for row in rows]


def _facts(
    context: StageContext,
    description: Mapping[str, Any],
    evaluation: Evaluation,
    joined: _Joined | None,
    placed: Sequence[Placed],
) -> CardFacts:
    clips = [context.clips[i] for i in context.split.train]
    recipe, versions = _of_run(context.run)
    return CardFacts(
        description=description,
        evaluation=evaluation.document,
        text_metrics=_text_metrics(context.run, joined),
        fusion=None if joined is None else joined.figures,
        speakers=len({clip.speaker for clip in clips}),
        recipe=recipe,
        made_by=[_made_by(each) for each in placed],
        versions=versions,
    )


def _made_by(placed: Placed) -> str:
    """How an encoder was trained, from what its folder says.

    `history` among the record's options is what nobody but its maker can know, such as that the
    run went on from the weights of another.
    """
    training = placed.record.options.get("training", {})
    said = [f"The {placed.part.modality} encoder was trained from scratch"]
    if {"total_steps", "batch_size", "total_seconds"} <= training.keys():
        minutes = training["total_seconds"] / 60
        said.append(
            f", {training['total_steps']:,} steps of {training['batch_size']} in {minutes:.0f} "
            "minutes on one or two CPU cores shared with other work"
        )
    if {"step", "dev_recall"} <= training.keys():
        said.append(
            f"; of the averages of its weights the one with the best mean UA on dev "
            f"({training['dev_recall']:.1%}) was kept, step {training['step']:,}"
        )
    history = placed.record.options.get("history", "")
    return " ".join(["".join([*said, "."]), history]).rstrip()


def _of_run(run: Path) -> tuple[str, Mapping[str, str]]:
    """The recipe's name and the packages' versions, which `run.json` holds; of several splits it
    lies in the folder above."""
    for folder in (run, run.parent):
        if (folder / RUN_FILE).is_file():
            content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
            return content["recipe"]["name"], content["versions"]
    return "RECIPE", {}
