"""The fusion stage of a training run: what both encoders answer becomes a head that joins them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from realtime_ser.models.ort import CPU

from ..bundles.centroids import centroids
from ..bundles.fusion_head import export_head
from ..encoder_folder import GRAPH_FILE, RECORD_FILE
from ..errors import ExportError
from ..text.labels import SHARED
from ..text.splits import read_rows
from ..training.calibration import fit
from ..training.checkpoints import save_atomically
from ..training.context import StageContext
from ..training.corpora import LABELS
from ..training.predictions import Material
from ..training.stage_evaluation import open_material
from . import arousal
from .answers import Answers, Layout, hear, read
from .figures import measure
from .fit import Side, pairs_of, train_head
from .heads import Fusion, build
from .pairs import CHOOSE, FIT, MATCHED, MISSING, TEST, Pairing, Sentences, gather, side_of
from .settings import FusionSettings

HEAD_FILE = "head.pt"
FIGURES_FILE = "figures.json"
OUTPUTS = ("logits", "affect")
PARITY_TOLERANCE = 1e-4
AUDIO, TEXT = "audio", "text"

Indices = NDArray[np.int64]


def train(settings: FusionSettings, context: StageContext) -> None:
    """Train the head, and leave `head.pt`, `model.onnx` and `figures.json` in `context.folder`.

    It learns from three quarters of the dev clips and dev sentences, and the last quarter chooses
    (see `answers` for why not from train); test clips and test sentences measure it.

    Raises:
        ExportError: an encoder is missing or does not fit, or the graph does not answer as torch.
    """
    folder = context.folder
    encoders = {stage: context.run / stage / "encoder" for stage in (AUDIO, TEXT)}
    for stage, encoder in encoders.items():
        if not (encoder / RECORD_FILE).is_file():
            raise ExportError(
                f"fusion needs both encoders, and {encoder} is none yet; train [{stage}] first, or "
                "put an encoder folder there"
            )
    fingerprint = _fingerprint(settings, encoders, context)
    if context.resume and _finished(folder, fingerprint):
        return
    folder.mkdir(parents=True, exist_ok=True)
    sides, sentences = _sides(settings, context, encoders)
    temperature = _temperature(sides)
    intensity, told = _intensity(context, encoders[AUDIO], sides[TEST])
    document: dict[str, Any] = {
        "fingerprint": fingerprint,
        "strategy": settings.strategy,
        "settings": asdict(settings),
        "clips": {name: len(side.pairing.label) for name, side in sides.items()},
        "sentences": _counts(sentences),
        "corpora": list(sentences.corpora),
        "figures": {},
    }
    for strategy in dict.fromkeys((settings.strategy, *settings.compared)):
        fusion = train_head(
            strategy,
            sides[FIT],
            sides[CHOOSE],
            settings,
            list(centroids(LABELS).values()),
            temperature=temperature,
            seed=context.seed,
            report=lambda step, loss: context.progress.step(step, settings.steps, loss=loss),
        )
        if intensity is not None:
            weights = np.append(intensity.weights, intensity.constant).astype(np.float32)
            fusion.intensity.copy_(torch.from_numpy(weights))
        found = {name: measure(fusion, sides[name], context.seed) for name in (CHOOSE, TEST)}
        document["figures"][strategy] = found
        context.progress.record(
            strategy=strategy,
            **{f"{kind}_gain": each["fused"] - each["audio"] for kind, each in found[TEST].items()},
        )
        if strategy == settings.strategy:
            save_head(fusion, strategy, settings, folder / HEAD_FILE)
            _export(fusion, sides[TEST], folder / GRAPH_FILE)
            document["affect"] = {**told, **_arousal_figures(fusion, sides[TEST], context)}
            document["calibration"] = {
                name: float(getattr(fusion, f"{name}_temperature"))
                for name in ("audio", "text", "fused", "alone")
            }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / FIGURES_FILE).write_text(text, encoding="utf-8")


def save_head(fusion: Fusion, strategy: str, settings: FusionSettings, path: Path) -> None:
    """Write all that `load_head` needs; no pickled code."""
    save_atomically(
        {
            "strategy": strategy,
            "hidden": settings.hidden,
            "arousal_strength": settings.arousal_strength,
            "text_affect": settings.text_affect,
            "audio": list(asdict(fusion.audio).values()),
            "text": list(asdict(fusion.text).values()),
            "weights": fusion.state_dict(),
        },
        path,
    )


def load_head(path: Path) -> Fusion:
    """The head that `save_head` wrote.

    Raises:
        ExportError: there is none.
    """
    if not path.is_file():
        raise ExportError(f"{path.parent} holds no {path.name}; train [fusion] first")
    kept = torch.load(path, weights_only=True)
    audio, text = Layout(*kept["audio"]), Layout(*kept["text"])
    fusion = Fusion(
        build(kept["strategy"], audio, text, hidden=kept["hidden"]),
        audio,
        text,
        kept["weights"]["centroids"].tolist(),
        arousal_strength=kept["arousal_strength"],
        text_affect=kept["text_affect"],
    )
    fusion.load_state_dict(kept["weights"])
    return fusion.eval()


def _fingerprint(
    settings: FusionSettings, encoders: Mapping[str, Path], context: StageContext
) -> str:
    digest = hashlib.sha256(json.dumps([asdict(settings), context.seed]).encode())
    for encoder in encoders.values():
        digest.update((encoder / GRAPH_FILE).read_bytes())
    for indices in (context.split.train, context.split.dev, context.split.test):
        digest.update(indices.tobytes())
    return digest.hexdigest()


def _finished(folder: Path, fingerprint: str) -> bool:
    try:
        document = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(document.get("fingerprint") == fingerprint)


def _sides(
    settings: FusionSettings, context: StageContext, encoders: Mapping[str, Path]
) -> tuple[dict[str, Side], Sentences]:
    clips = context.clips
    corpora = settings.corpora or tuple(SHARED)
    rows = read_rows(context.data / "text", corpora)
    sentences = gather(clips, rows, LABELS, settings.sentences)
    words = read(
        encoders[TEXT],
        sentences.texts,
        LABELS,
        context.cache,
        threads=context.threads,
        progress=lambda done, total: context.progress.step(done, total, reading=1),
    )
    dev = {FIT: [], CHOOSE: []}
    for i in context.split.dev:
        dev[side_of(clips[i])].append(i)
    places = {name: np.array(found, np.int64) for name, found in dev.items()}
    places[TEST] = context.split.test
    for name, found in places.items():
        if len(found) == 0:
            raise ExportError(f"there are no clips on the side {name} of fusion; give dev more")
    material = open_material(context.data, context.cache, clips)
    sides = {}
    for name, found in places.items():
        of_side = [clips[i] for i in found]
        pairing = Pairing(of_side, sentences, name, LABELS.index("neutral"))
        heard = hear_clips(material, found, encoders[AUDIO], context)
        sides[name] = Side(pairing, heard, words)
    return sides, sentences


def _temperature(sides: Mapping[str, Side]) -> float:
    """That calibrates the voice alone, on all of dev: the one that a bundle without text has."""
    dev = [sides[name] for name in (FIT, CHOOSE)]
    logits = np.concatenate([side.heard.logits for side in dev])
    return fit(logits, np.concatenate([side.pairing.label for side in dev])).temperature


def hear_clips(material: Material, rows: Indices, encoder: Path, context: StageContext) -> Answers:
    """What the speech encoder answers to some clips, cut as the product cuts them."""
    return hear(
        encoder,
        lambda places: material.waves(rows[places]),
        np.array([np.diff(material.audio.speech[i])[0] for i in rows], np.int64),
        [material.clips[i].file for i in rows],
        LABELS,
        context.cache,
        threads=context.threads,
        progress=lambda done, total: context.progress.step(done, total, hearing=1),
    )


def _intensity(
    context: StageContext, encoder: Path, test: Side
) -> tuple[arousal.Intensity | None, dict[str, Any]]:
    """The regression on the train clips whose intensity is known, chosen on dev, with its figures.

    Train, unlike for the head: the encoder was taught their emotions, not their intensities.
    """
    clips = context.clips
    told = [
        np.array([i for i in rows if not np.isnan(arousal.degrees([clips[i]])[0])], np.int64)
        for rows in (context.split.train, context.split.dev)
    ]
    if not all(len(rows) for rows in told):
        return None, {}
    material = open_material(context.data, context.cache, clips)
    (wide, of), (dev_wide, dev_of) = (
        (hear_clips(material, rows, encoder, context).wide(), [clips[i] for i in rows])
        for rows in told
    )
    intensity = arousal.fit(wide, of, dev_wide, dev_of)
    if intensity is None:
        return None, {}
    of_test = [clips[i] for i in context.split.test]
    return intensity, {
        "intensity_rank_correlation": {
            "dev": arousal.within_groups(intensity(dev_wide), dev_of),
            "test": arousal.within_groups(intensity(test.heard.wide()), of_test),
        },
        "clips_with_intensity": [len(rows) for rows in told],
    }


def _arousal_figures(fusion: Fusion, test: Side, context: StageContext) -> dict[str, Any]:
    """How the arousal that is served orders the intensities of the test clips, voice alone."""
    clips = [context.clips[i] for i in context.split.test]
    pairs = pairs_of(test, MISSING, np.arange(len(clips)), np.random.default_rng(0))
    with torch.no_grad():
        _, affect = fusion(pairs.audio, pairs.text, pairs.present)
        strength, fusion.arousal_strength = fusion.arousal_strength, 0.0
        _, derived = fusion(pairs.audio, pairs.text, pairs.present)
        fusion.arousal_strength = strength
    return {
        "arousal_rank_correlation": {
            "served": arousal.within_groups(affect[:, 1].numpy(), clips),
            "centroids alone": arousal.within_groups(derived[:, 1].numpy(), clips),
        }
    }


def _export(fusion: Fusion, side: Side, path: Path) -> None:
    """Write the graph, and hold its probabilities and affect against torch on pairs of test."""
    import onnxruntime

    export_head(fusion, fusion.audio.width, fusion.text.width, path, OUTPUTS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    for kind in (MISSING, MATCHED):
        clips = np.flatnonzero(side.pairing.can(kind))
        if len(clips) == 0:
            continue
        pairs = pairs_of(side, kind, clips, np.random.default_rng(0))
        feeds = {
            "audio_embedding": pairs.audio.numpy(),
            "text_embedding": pairs.text.numpy(),
            "text_present": pairs.present.numpy(),
        }
        logits, affect = session.run(list(OUTPUTS), feeds)
        with torch.no_grad():
            expected, point = fusion(pairs.audio, pairs.text, pairs.present)
        scale = fusion.temperature
        got = (torch.from_numpy(logits) / scale).softmax(1)
        worst = max(
            float((got - (expected / scale).softmax(1)).abs().max()),
            float((torch.from_numpy(affect) - point).abs().max()),
        )
        if not worst <= PARITY_TOLERANCE:
            raise ExportError(
                f"the fusion graph differs from the head it was made from by {worst:.2g} (allowed "
                f"{PARITY_TOLERANCE:g}); do not ship it"
            )


def _counts(sentences: Sentences) -> dict[str, int]:
    counted = {
        name: int(np.sum((sentences.side == name) & (sentences.label >= 0)))
        for name in (FIT, CHOOSE, TEST)
    }
    return {
        **counted,
        "transcripts learnt": int(np.sum((sentences.label < 0) & (sentences.side == FIT))),
    }
