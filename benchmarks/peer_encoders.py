"""The encoders of `benchmarks.peers`: one run of the same HuBERT base on 3 s, candidates in turns.

All have the same weights and the same CPU threads and are held to the same answer; audonnx runs the
graph that we export, with inputs of one utterance. Only 8 bits answer differently, and are ours.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer_systems import OURS, version
from realtime_ser.models.ort import thread_count
from realtime_ser.types import SAMPLE_RATE_HZ

MODEL = "HuBERT base, random weights, 3 s"
FLOAT32, INT8 = "float32", "int8-dynamic"
_SECONDS = 3
_ERROR = 1e-3
"""By how much an answer may be off ours; vectors of this model have values of about 1."""

Answer = NDArray[np.float32]
Run = Callable[[], Answer]


def measure_encoders(hubert: Path, runs: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows, and what could not be run.

    Args:
        hubert: the folder `hubert` that `python -m benchmarks.encoders --prepare` makes.
    """
    threads = thread_count(0)
    random = np.random.default_rng(0)
    waveform = random.normal(0, 0.1, _SECONDS * SAMPLE_RATE_HZ).astype(np.float32)
    candidates = {
        f"{OURS}, {FLOAT32}": _ours(hubert / FLOAT32, waveform, threads),
        f"{OURS}, {INT8}": _ours(hubert / INT8, waveform, threads),
    }
    wanted = candidates[f"{OURS}, {FLOAT32}"]()
    absent = []
    others = {"torch + transformers": ("transformers", _torch), "audonnx": ("audonnx", _audonnx)}
    for name, (package, make) in others.items():
        try:
            run = make(hubert, waveform, threads)
            error = float(np.abs(run() - wanted).max())
            if error > _ERROR:
                raise ValueError(f"its answer is {error:.3g} off ours")
            candidates[name + version(package)] = run
        except Exception as error:  # whatever a foreign library raises
            absent.append({"system": name, "why": f"{type(error).__name__}: {error}"[:200]})
    for run in candidates.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(runs):
        for name, run in candidates.items():
            started_s = time.perf_counter()
            run()
            times[name].append(round((time.perf_counter() - started_s) * 1000, 1))
    return [{"system": name, "model": MODEL, "ms": ms} for name, ms in times.items()], absent


def _ours(folder: Path, waveform: Answer, threads: int) -> Run:
    from realtime_ser_export.graphs.served import serve_folder

    expert = serve_folder(folder, threads=threads).expert
    return lambda: expert.run([waveform])["embedding"]


def _torch(hubert: Path, waveform: Answer, threads: int) -> Run:
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    torch.set_num_threads(threads)
    extractor = AutoFeatureExtractor.from_pretrained(hubert / "source")
    model = AutoModel.from_pretrained(hubert / "source").eval()

    def run() -> Answer:
        features = extractor(waveform, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            mean: Answer = model(**features).last_hidden_state.mean(1).numpy()
        return mean

    return run


def _audonnx(hubert: Path, waveform: Answer, threads: int) -> Run:
    """A folder with model.yaml, as audonnx's models come, and the inputs in a dictionary."""
    import audonnx
    import onnx

    model = onnx.load(str(hubert / FLOAT32 / "model.onnx"))
    # it reshapes inputs to the graph's shapes, of which one axis at most may be free
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with tempfile.TemporaryDirectory() as work:
        onnx.save(model, f"{work}/model.onnx")
        audonnx.Model(f"{work}/model.onnx").to_yaml(f"{work}/model.yaml")
        peer = audonnx.load(work, num_workers=threads)
    inputs = {"waveform": waveform, "lengths": np.array([len(waveform)], np.int64)}

    def run() -> Answer:
        embedding: Answer = peer(inputs)
        return embedding

    return run
