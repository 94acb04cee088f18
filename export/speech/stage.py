"""The audio stage of a training run: from recordings to an encoder folder."""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..encoder_folder import GRAPH_FILE, EncoderRecord, Source, replacing, write_record
from ..graphs.half_storage import round_to_half, store_exact_halves
from ..training.context import StageContext
from ..training.corpora import LABELS, READING_CORPUS, SAMPLE_RATE_HZ, Clip, label_masks
from ..training.extra_sounds import reader_of
from ..training.metrics import mean_recall_over_corpora
from ..training.sound_files import read_float32
from ..training.subjects import predict
from .audio_cache import AudioCache, open_cache
from .audio_encoder import AudioEncoder, parameter_count
from .batches import BatchMaker, NoiseSpectra
from .onnx_audio import (
    MAXIMUM_SAMPLES,
    MINIMUM_SAMPLES,
    OPSET,
    check_parity,
    export_onnx,
)
from .settings import AudioSettings
from .spectra_cache import open_spectra
from .train_audio import Score, fit, load_best

_LONGEST_NOISE_SAMPLES = 20 * SAMPLE_RATE_HZ


def train(settings: AudioSettings, context: StageContext) -> None:
    """Train the audio encoder, and leave it as `context.encoder`.

    The clips of `context.split.train`, and the readers, are trained on; those of its `dev` choose
    among the checkpoints. Decoded audio and spectra go to `context.cache`, 5 GB for 11 hours.

    Raises:
        ExportError: settings that do not fit, audio that cannot be read.
        ParityError: the graph does not answer as the network does.
    """
    clips = [*context.clips, *reading_clips(context)]
    masks = label_masks(clips) | {READING_CORPUS: np.ones(len(LABELS), bool)}
    audio = open_cache(context.cache, context.data / "speech", [clip.file for clip in clips])
    readers = np.arange(len(context.clips), len(clips))
    maker = BatchMaker(
        clips,
        np.concatenate([context.split.train, readers]),
        open_spectra(context.cache, audio),
        NoiseSpectra(_noises(context), settings.computed_noises, context.seed),
        masks,
        settings,
        context.seed,
    )
    fit(
        maker,
        _score_on_dev(context, clips, audio, masks),
        settings,
        context.folder,
        seed=context.seed,
        threads=context.threads,
        resume=context.resume,
        progress=context.progress,
    )
    leave_encoder(context.folder, context.encoder)


def reading_clips(context: StageContext) -> list[Clip]:
    """The readers that may be trained on, as a corpus that only has *neutral*.

    Every label counts as possible there, so that calling a calm reader anything else costs.
    """
    return [
        Clip(
            file=str(Path("..") / path.relative_to(context.data)),
            corpus=READING_CORPUS,
            split="train",
            speaker=f"{READING_CORPUS}_{reader_of(path)}",
            label=LABELS.index("neutral"),
            votes=None,
        )
        for path in context.readers
    ]


def _noises(context: StageContext) -> list[NDArray[np.float32]]:
    return [read_float32(path)[:_LONGEST_NOISE_SAMPLES] for path in context.noises]


def _score_on_dev(
    context: StageContext,
    clips: list[Clip],
    audio: AudioCache,
    masks: dict[str, NDArray[np.bool_]],
) -> Score:
    """Mean over the corpora of the restricted unweighted recall on the dev speakers."""
    dev = context.split.dev
    of_dev = [clips[i] for i in dev]

    def score(model: AudioEncoder) -> tuple[float, dict[str, float]]:
        def run(waveform: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
            with torch.no_grad():
                logits, _ = model(torch.from_numpy(waveform), torch.from_numpy(lengths))
            out: NDArray[np.float32] = logits.numpy()
            return out

        logits = predict(run, [audio.utterance(int(i)) for i in dev])
        return mean_recall_over_corpora(logits, of_dev, masks)

    return score


def leave_encoder(folder: Path, encoder: Path) -> EncoderRecord:
    """Write the best network in `folder` so far as an encoder folder.

    Its weights are rounded to half before anything is compared, and stored so.
    """
    model, training = load_best(folder)
    round_to_half(model)
    with replacing(encoder) as draft:
        export_onnx(model, draft / GRAPH_FILE)
        store_exact_halves(draft / GRAPH_FILE)
        difference = check_parity(model, draft / GRAPH_FILE)
        record = EncoderRecord(
            modality="audio",
            source=Source(
                model="speech",
                revision=None,
                architecture=type(model).__name__,
                family="conformer",
                licence=None,
                weights_sha256=_digest(model),
            ),
            precision="float32",
            opset=OPSET,
            nodes={},
            versions={name: version(name) for name in ("torch", "onnx", "onnxruntime")},
            part=describe(model),
            options={"training": training},
            parity=({"against": "torch", "max_abs_error": difference},),
        )
        write_record(record, draft)
    return record


def describe(model: AudioEncoder) -> dict[str, Any]:
    """The part as `bundle.json` holds it, without its name."""
    return {
        "file": GRAPH_FILE,
        "parameters": parameter_count(model),
        "inputs": [
            {
                "name": "waveform",
                "dtype": "float32",
                "shape": ["batch", "samples"],
                "unit": "full scale, -1 to 1",
                "normalisation": "none, done in the graph",
            },
            {
                "name": "lengths",
                "dtype": "int64",
                "shape": ["batch"],
                "unit": "samples",
                "normalisation": "none",
            },
        ],
        "outputs": [
            {
                "name": "logits",
                "role": "logits",
                "dtype": "float32",
                "shape": ["batch", len(LABELS)],
                "unit": "nat",
                "labels": list(LABELS),
            },
            {
                "name": "embedding",
                "role": "embedding",
                "dtype": "float32",
                "shape": ["batch", model.settings.embedding],
                "unit": "none",
            },
        ],
        "batching": "masked",
        "minimum_samples": MINIMUM_SAMPLES,
        "maximum_samples": MAXIMUM_SAMPLES,
    }


def _digest(model: AudioEncoder) -> str:
    digest = sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()
