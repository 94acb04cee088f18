"""What the exports of speech and of text models have in common: the end, and reading them again."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_ser.models.ort import thread_count

from ..encoder_folder import EncoderRecord, Source, write_record
from ..huggingface import mfcc_encoder
from ..progress import say
from .export_graph import OPSET
from .optimise_graph import optimise_folder
from .parity import check

if TYPE_CHECKING:
    from ..huggingface.audio import AudioModel
    from ..huggingface.text import TextModel

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "optimum",
    "optimum-onnx",
    "onnx",
    "onnxruntime",
)


def finish_encoder(
    draft: Path,
    model: AudioModel | TextModel,
    part: Mapping[str, Any],
    *,
    modality: str,
    source: Source,
    options: Mapping[str, Any],
    tolerance: float,
) -> EncoderRecord:
    """Fuse nodes of the graph in `draft`, hold it against `model`, and write what is known of it.

    Args:
        part: that of the model, with what was found out about its graph.
        options: with which the model was read.

    Raises:
        ExportError: the graph does not answer as the model does.
    """
    say("fusing nodes")
    counts = optimise_folder(draft, part, model.config)
    say("comparing with the original model")
    threads = thread_count(0)  # Nothing is timed here.
    report = check(draft, part, model.reference, "fast", tolerance, threads=threads)
    report.require(source.model)
    record = EncoderRecord(
        modality=modality,
        source=source,
        precision="float32",
        opset=OPSET,
        nodes={"exported": counts.before, "optimised": counts.after},
        versions={name: version(name) for name in _PACKAGES},
        part=part,
        options={name: value for name, value in options.items() if value is not None},
        float32_scopes=model.fp32_scopes,
        parity=report.as_json(),
    )
    write_record(record, draft)
    return record


def read_again(record: EncoderRecord, model: str) -> AudioModel | TextModel:
    """The model behind an encoder folder, read from `model` with the options of its export.

    Args:
        model: hub id, a folder, or `mfcc_encoder.NAME`.

    Raises:
        ExportError: it is not there, or another one.
    """
    from ..huggingface.source import AUDIO_FILES, TEXT_FILES, resolve

    if model == mfcc_encoder.NAME:
        return mfcc_encoder.load_mfcc()
    needs = TEXT_FILES if record.modality == "text" else AUDIO_FILES
    folder = resolve(model, record.source.revision, needs=needs)
    # JSON has no tuples.
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.options.items()
    }
    if record.modality == "text":
        from ..huggingface.text import load_text

        return load_text(folder, **options)
    from ..huggingface.audio import load_audio

    return load_audio(folder, **options)
