"""An encoder folder in float32 to one in half precision, or in 8 bits.

The result is held against the graph in float32, as it is served, and timed beside it. What each
precision may change is `parity.TOLERANCES`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
from numpy.typing import NDArray

from realtime_ser.models.bundle_description import PRECISIONS, AudioPart
from realtime_ser.models.ort import find_cuda_problem
from realtime_ser.types import SAMPLE_RATE_HZ

from ..encoder_folder import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    EncoderRecord,
    read_record,
    replacing,
    write_record,
)
from ..errors import ExportError
from ..progress import say
from .half_precision import to_half
from .int8 import Feeds, quantize_dynamic, quantize_static
from .optimise_graph import save
from .parity import TOLERANCES, Tolerance, check, graph_reference
from .parity_cases import TEXTS, speech
from .served import ServedEncoder, serve_folder
from .speed import speed_rows

QUANTIZED = PRECISIONS[1:]
_CALIBRATED_S = 4.0
_MOST_FILES = 32


def quantize(
    folder: Path,
    out: Path,
    precision: str,
    calibration: Path | None = None,
    *,
    convolutions: bool = False,
    tolerance: Tolerance | float | None = None,
    threads: int = 1,
) -> EncoderRecord:
    """Write the encoder folder `out`, of the one in float32.

    Args:
        folder: what `audio` or `text` wrote.
        out: folder to write or replace.
        precision: float16, int8-dynamic or int8-static.
        calibration: of int8-static: for speech a folder of recordings (16 kHz, at most 32 are
            heard), for text a file with a text a line; None for the packaged recording and texts.
        convolutions: of int8-static: in 8 bits too; faster by half again, at a loss (`int8`).
        tolerance: of what may change; None for that of the precision.
        threads: of the CPU, for timing.

    Raises:
        ExportError: the folder is no encoder in float32, the calibration cannot be used, or the
            result does not answer as the original does.
    """
    if precision not in QUANTIZED:
        raise ExportError(f"there is no precision {precision!r}; use {', '.join(QUANTIZED)}")
    if calibration is not None and precision != "int8-static":
        raise ExportError(f"{precision} needs no calibration; only int8-static looks at it")
    if convolutions and precision != "int8-static":
        raise ExportError(f"{precision} leaves convolutions alone; only int8-static can do them")
    record = read_record(folder)
    if record.precision != "float32":
        raise ExportError(
            f"{folder} is in {record.precision} already; give the folder in float32 that it was "
            "made from"
        )
    if folder.resolve() == out.resolve():
        raise ExportError("--out would replace the folder in float32; name another one")
    original = serve_folder(folder, threads=threads)
    with replacing(out) as draft:
        nodes = _convert(folder, draft, record, precision, original, calibration, convolutions)
        if (folder / TOKENIZER_FILE).exists():
            shutil.copy(folder / TOKENIZER_FILE, draft)
        allowed = TOLERANCES[precision] if tolerance is None else tolerance
        truth = graph_reference(folder, threads)
        say("comparing with float32")
        report = check(draft, record.part, truth, "fast", allowed, threads=threads)
        report.require(f"the graph in {precision}")
        result = replace(
            record,
            precision=precision,
            nodes={**record.nodes, precision: nodes},
            versions={**record.versions, "onnxruntime": version("onnxruntime")},
            parity=report.as_json(),
        )
        write_record(result, draft)
        say("timing it beside float32")
        result = replace(result, speed=_speed(folder, draft, original, threads))
        write_record(result, draft)
    return result


def _convert(
    folder: Path,
    draft: Path,
    record: EncoderRecord,
    precision: str,
    original: ServedEncoder,
    calibration: Path | None,
    convolutions: bool,
) -> int:
    """Write the graph into `draft`; returns its number of nodes."""
    source, target = folder / record.part["file"], draft / GRAPH_FILE
    say(f"converting to {precision}")
    if precision == "float16":
        model = onnx.load(str(source))
        to_half(model, record.float32_scopes)
        save(model, target)
    elif precision == "int8-dynamic":
        quantize_dynamic(source, target, record.float32_scopes)
    else:
        seen = _calibration_feeds(original, calibration)
        quantize_static(source, target, record.float32_scopes, seen, convolutions=convolutions)
    return len(onnx.load(str(target), load_external_data=False).graph.node)


def _calibration_feeds(served: ServedEncoder, source: Path | None) -> Iterator[Feeds]:
    if served.tokenizer is not None:
        texts = TEXTS["full"] if source is None else _read_texts(source)
        for text in texts:
            ids = np.array([served.tokens(text)], np.int64)
            yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return
    assert isinstance(served.part, AudioPart)
    names = {spec.name for spec in served.part.inputs}
    for waveform in _packaged() if source is None else _read_sounds(source):
        recent = waveform[-served.part.maximum_samples :]
        fitted = np.pad(recent, (0, max(0, served.part.minimum_samples - len(recent))))
        feeds = {"waveform": fitted[None], "lengths": np.array([len(fitted)], np.int64)}
        yield {name: value for name, value in feeds.items() if name in names}


def _packaged() -> Iterator[NDArray[np.float32]]:
    """Speech of several lengths and places, loud noise, silence: what is rare needs a scale too."""
    for seed, seconds in enumerate((0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 2.5, 1.2)):
        yield speech(round(seconds * SAMPLE_RATE_HZ), 100 + seed)
    yield np.random.default_rng(2).uniform(-1, 1, SAMPLE_RATE_HZ).astype(np.float32)
    yield np.zeros(SAMPLE_RATE_HZ, np.float32)


def _read_sounds(folder: Path) -> Iterator[NDArray[np.float32]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".flac"))
    if not files:
        raise ExportError(f"{folder} holds no .wav or .flac; give a folder of recordings")
    # Evenly over the folder: neighbours are often one speaker.
    for path in files[:: max(1, len(files) // _MOST_FILES)][:_MOST_FILES]:
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ExportError(f"{path} cannot be read ({error}); take it out") from error
        if rate != SAMPLE_RATE_HZ:
            raise ExportError(
                f"{path} is sampled at {rate} Hz; convert recordings for calibration to "
                f"{SAMPLE_RATE_HZ} Hz"
            )
        yield samples.mean(axis=1)[: round(_CALIBRATED_S * SAMPLE_RATE_HZ)]


def _read_texts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read as text ({error}); give a text a line") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise ExportError(f"{path} holds no text; give a text a line")
    return texts


def _speed(
    folder: Path, draft: Path, original: ServedEncoder, threads: int
) -> tuple[Mapping[str, Any], ...]:
    rows = speed_rows(original, serve_folder(draft, threads=threads), threads=threads)
    problem = find_cuda_problem()
    if problem is not None:
        return (*rows, {"device": "cuda", "measured": False, "why": problem.why})
    on_gpu = [serve_folder(each, device="cuda", threads=threads) for each in (folder, draft)]
    return (*rows, *speed_rows(*on_gpu, threads=threads, device="cuda"))
