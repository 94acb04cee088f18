"""Others beside us: the same audio, the same model, the same machine, in one run.

    python -m benchmarks.peers --json benchmarks/results/peers.json
    python -m benchmarks.peers --json benchmarks/results/peers_encoders.json --hubert FOLDER

End of speech -> final text, played at the pace of a microphone: realtime-ser, its own offline
driver without speculation, RealtimeSTT and WhisperLive, each in a process of its own, in turns,
with one and the same CTranslate2 model: `mini`, which knows the sentences that are played, and a
Whisper tiny of real size with random weights that says one sentence of 3.3 tokens a second of
speech whatever it hears (it costs what the real one costs). All decode with a beam of 1 where they
let us choose and, where they have such a setting, end an utterance after 0.5 s of silence. The wait
counts from where the recording's speech ends, so that it holds what each system's endpointing
takes.

WhisperLive has no end of utterance: it transcribes what it has over and over, and calls a segment
completed after its text came `same_output_threshold` times (10 by default). `completed` is that;
`shown` is when the text that turns out to be final was first sent, which nobody can know then. With
the one sentence of the random model `shown` means nothing and is left out.

With --hubert (the folder `hubert` that `python -m benchmarks.encoders --prepare` makes): one run of
the same HuBERT base on 3 s of speech, by torch and transformers, by audonnx, and by us.

Needs an environment with faster-whisper, whisper-live, RealtimeSTT, fastapi, uvicorn, torch,
transformers and audonnx, whose pins contradict each other: install them with --no-deps. What cannot
be imported is named in the result.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from realtime_ser.bench.latency import RANDOM, resolve_asr
from realtime_ser.bench.material import Material, single_sentences
from realtime_ser.bench.report import markdown
from realtime_ser.bench.results import new_result, write_results
from realtime_ser.bench.statistics import ratio
from realtime_ser.config import Settings
from realtime_ser.core.events import TranscriptFinal
from realtime_ser.io.file import paced
from realtime_ser.models.hub import find_model
from realtime_ser.recognizer import Recognizer
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.live import run_live
from realtime_ser.types import SAMPLE_RATE_HZ

OURS, OFFLINE = "realtime-ser", "realtime-ser, offline driver, no speculation"
SILENCE_S = 2.0
PATIENCE_S = 7.0
"""Silence for WhisperLive, which takes seconds of it to call a segment completed."""
HANGOVER_S = 0.5
CHUNK_S = 0.02
ROUNDS = 1
_SENTENCE_S = 2.3
"""Mean length of the sentences: what the random model's tokens are counted for."""

_TAIL = SAMPLE_RATE_HZ
"""Where our segmenter ends an utterance may lie before where the recording does, by frames."""

Waits = dict[str, list[float]]


def ours(material: Material, folder: str) -> Waits:
    """From the end of speech to `transcript.final`, live."""
    waits: list[float] = []

    async def run(recognizer: Recognizer) -> None:
        clock = ArrivalClock()
        stream = recognizer.new_stream("peers", recognizer.settings, clock)
        started_s = time.perf_counter()
        events = run_live(
            paced(material.blocks()),
            stream,
            clock,
            recognizer.worker,
            recognizer.intake,
            asyncio.Event(),
        )
        async for event in events:
            if isinstance(event, TranscriptFinal):
                now_s = time.perf_counter() - started_s
                end = _end_before(material, event.audio_end + _TAIL)
                waits.append((now_s - end / SAMPLE_RATE_HZ) * 1000)

    with Recognizer(asr=folder, hangover_ms=round(HANGOVER_S * 1000)) as recognizer:
        asyncio.run(run(recognizer))
    return {"end of speech → text": waits}


def offline(material: Material, folder: str) -> Waits:
    """The same by the offline driver: one job after the other, when the utterance has ended."""
    waits = []
    settings = Settings(asr=folder, hangover_ms=round(HANGOVER_S * 1000), speculation=False)
    with Recognizer(settings) as recognizer:
        for event in recognizer.events(material.blocks()):
            if isinstance(event, TranscriptFinal):
                end = _end_before(material, event.audio_end + _TAIL)
                assert event.lag_ms is not None  # drivers stamp
                waits.append((event.audio_end - end) * 1000 / SAMPLE_RATE_HZ + event.lag_ms)
    return {"end of speech → text": waits}


def realtime_stt(material: Material, folder: str) -> Waits:
    """RealtimeSTT's recorder, fed as its documentation feeds it without a microphone."""
    from RealtimeSTT import AudioToTextRecorder

    recorder = AudioToTextRecorder(
        model=folder,
        device="cpu",
        compute_type="int8",
        language="en",
        beam_size=1,
        use_microphone=False,
        spinner=False,
        post_speech_silence_duration=HANGOVER_S,
        no_log_file=True,
    )
    heard: list[tuple[float, str]] = []
    # told from another thread, as a program would
    listening = threading.Thread(
        target=lambda: [
            heard.append((recorder.text(), time.perf_counter())[::-1]) for _ in material.speech
        ],  # type: ignore[func-returns-value]
        daemon=True,
    )
    listening.start()
    time.sleep(1.0)
    started_s = _feed(material, lambda piece: recorder.feed_audio(piece.tobytes()))
    listening.join(5.0)
    waits = [
        (at_s - started_s - end / SAMPLE_RATE_HZ) * 1000
        for (at_s, text) in heard
        if text and (end := _end_before(material, round((at_s - started_s) * SAMPLE_RATE_HZ)))
    ]
    threading.Thread(target=recorder.shutdown, daemon=True).start()
    return {"end of speech → text": waits}


def whisper_live(material: Material, folder: str) -> Waits:
    """WhisperLive's server, and a client that notes when a segment is completed."""
    from websockets.sync.client import connect
    from whisper_live.server import TranscriptionServer

    port = 9713
    server = TranscriptionServer()
    threading.Thread(
        target=lambda: server.run(
            "127.0.0.1",
            port=port,
            backend="faster_whisper",
            faster_whisper_custom_model_path=folder,
        ),
        daemon=True,
    ).start()
    messages: list[tuple[float, list[dict[str, Any]]]] = []
    with _connected(lambda: connect(f"ws://127.0.0.1:{port}", max_size=None)) as websocket:
        options = {"uid": "peer", "language": "en", "task": "transcribe", "model": folder}
        websocket.send(json.dumps(options | {"use_vad": True}))
        while json.loads(websocket.recv()).get("message") != "SERVER_READY":
            pass

        def read() -> None:
            for text in websocket:
                message = json.loads(text)
                if "segments" in message:
                    messages.append((time.perf_counter(), message["segments"]))

        threading.Thread(target=read, daemon=True).start()

        def send(piece: np.ndarray[Any, Any]) -> None:
            websocket.send((piece / np.float32(32768)).astype("<f4").tobytes())

        started_s = _feed(material, send)
        time.sleep(2.0)
    return _whisper_live_waits(material, messages, started_s)


def _whisper_live_waits(
    material: Material, messages: list[tuple[float, list[dict[str, Any]]]], started_s: float
) -> Waits:
    completed: list[float] = []
    shown: list[float] = []
    seen: set[tuple[str, str]] = set()
    for at_s, segments in messages:
        for segment in segments:
            key = (segment["start"], segment["text"])
            if not segment["completed"] or key in seen:
                continue
            seen.add(key)
            end = _end_before(material, round((at_s - started_s) * SAMPLE_RATE_HZ))
            if not end:
                continue
            ended_s = started_s + end / SAMPLE_RATE_HZ
            completed.append((at_s - ended_s) * 1000)
            first = [
                t for t, said in messages
                if t >= ended_s and any(s["text"] == segment["text"] for s in said)
            ]  # fmt: skip
            shown.append((min(first) - ended_s) * 1000)
    return {"end of speech → completed": completed, "end of speech → shown": shown}


def _connected(connect: Callable[[], Any]) -> Any:
    for _ in range(300):
        try:
            return connect()
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("its server does not listen")


def _feed(material: Material, send: Callable[[np.ndarray[Any, Any]], object]) -> float:
    """Send the material at its pace; returns when it began."""
    size = round(CHUNK_S * SAMPLE_RATE_HZ)
    started_s = time.perf_counter()
    for start in range(0, len(material.samples), size):
        piece = material.samples[start : start + size]
        due_s = started_s + (start + len(piece)) / SAMPLE_RATE_HZ
        time.sleep(max(0.0, due_s - time.perf_counter()))
        send(piece)
    return started_s


def _end_before(material: Material, sample: int) -> int:
    """The last end of speech before `sample`; 0 if there is none."""
    return max((end for _, end in material.speech if end <= sample), default=0)


SYSTEMS: dict[str, tuple[str, Callable[[Material, str], Waits]]] = {
    OURS: ("realtime-ser", ours),
    OFFLINE: ("realtime-ser", offline),
    "RealtimeSTT": ("RealtimeSTT", realtime_stt),
    "WhisperLive": ("whisper-live", whisper_live),
}


def _material(system: str, sentences: int) -> Material:
    if system == "WhisperLive":
        return single_sentences(PATIENCE_S, max(2, sentences // 2))
    return single_sentences(SILENCE_S, sentences)


def run_system(system: str, folder: str, sentences: int) -> None:
    """In a process of its own: measure one system and print JSON as the last line."""
    logging.disable(logging.WARNING)
    waits = SYSTEMS[system][1](_material(system, sentences), folder)
    print("\n" + json.dumps(waits), flush=True)
    os._exit(0)  # some of them keep threads and processes that do not end by themselves


def measure_text(sentences: int, models: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """Rows, and what could not be run."""
    rows: dict[tuple[str, str], list[float]] = {}
    absent: dict[str, str] = {}
    for _ in range(ROUNDS):
        for model, folder in models.items():
            for system in SYSTEMS:
                command = [sys.executable, "-m", "benchmarks.peers", "--system", system]
                command += ["--model", folder, "--sentences", str(sentences)]
                limit_s = 60 + 2 * _material(system, sentences).seconds
                try:
                    done = subprocess.run(
                        command, capture_output=True, text=True, timeout=limit_s, check=False
                    )
                    waits: Waits = json.loads(done.stdout.strip().splitlines()[-1])
                except (subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
                    said = getattr(error, "stderr", None) or ""
                    if not isinstance(error, subprocess.TimeoutExpired):
                        said = done.stderr.strip().splitlines()[-1:] or [type(error).__name__]
                    absent[system] = f"{said}"[:200]
                    continue
                for what, values in waits.items():
                    if "shown" in what and model != "mini":
                        continue
                    key = (f"{system}{_version(SYSTEMS[system][0])}", f"{what}, {model}")
                    rows.setdefault(key, []).extend(values)
                    print(key, [round(value) for value in values], file=sys.stderr, flush=True)
    return (
        [{"system": s, "what": w, "ms": [round(v, 1) for v in ms]} for (s, w), ms in rows.items()],
        [{"system": name, "why": why} for name, why in absent.items()],
    )


def measure_encoder(hubert: Path, runs: int = 7) -> tuple[list[Any], list[Any]]:
    """One run of the same weights on 3 s, candidates in turns."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    from realtime_ser.models.ort import thread_count
    from realtime_ser_export.encoder_folder import read_record
    from realtime_ser_export.graphs.served import serve_folder

    torch.set_num_threads(thread_count(0))
    waveform = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE_HZ).astype(np.float32)
    extractor = AutoFeatureExtractor.from_pretrained(hubert / "source")
    model = AutoModel.from_pretrained(hubert / "source").eval()

    def eager() -> None:
        features = extractor(waveform, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            model(**features).last_hidden_state.mean(1).numpy()

    served = {
        name: serve_folder(hubert / name, threads=thread_count(0)).expert
        for name in ("float32", "int8-dynamic")
    }
    candidates: dict[str, Callable[[], Any]] = {
        f"{OURS}, float32": lambda: served["float32"].run([waveform]),
        f"{OURS}, int8-dynamic": lambda: served["int8-dynamic"].run([waveform]),
        f"torch + transformers{_version('transformers')}": eager,
    }
    absent = []
    try:
        import audonnx

        record = read_record(hubert / "float32")
        names = [each["name"] for each in record.part["inputs"]]
        length = np.array([len(waveform)], np.int64)
        given = {"waveform": lambda signal, _: signal, "lengths": lambda signal, _: length}
        with tempfile.TemporaryDirectory() as work:
            single = _of_batch_one(hubert / "float32" / "model.onnx", Path(work))
            peer = audonnx.Model(str(single), transform={name: given[name] for name in names})
        candidates[f"audonnx{_version('audonnx')}"] = lambda: peer(waveform, SAMPLE_RATE_HZ)
        candidates[f"audonnx{_version('audonnx')}"]()
    except Exception as error:  # whatever a foreign library raises
        candidates.pop(f"audonnx{_version('audonnx')}", None)
        absent.append({"system": "audonnx", "why": f"{type(error).__name__}: {error}"[:200]})
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    for _ in range(runs):
        for name, run in candidates.items():
            started_s = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started_s) * 1000)
    what = "HuBERT base, random weights, 3 s"
    return [
        {"system": n, "what": what, "ms": [round(v, 1) for v in t]} for n, t in times.items()
    ], absent


def _of_batch_one(graph: Path, folder: Path) -> Path:
    """A copy for batches of one: audonnx takes inputs with one free axis at most."""
    import onnx

    model = onnx.load(str(graph))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


def with_ratios(rows: list[Any]) -> list[Any]:
    """Each row with how many times our median it is, of the same model."""
    found = []
    for row in rows:
        model = row["what"].split(", ")[-1]
        mine = [
            r for r in rows if r["what"].split(", ")[-1] == model and r["system"].startswith(OURS)
        ]
        times = ratio(mine[0]["ms"], row["ms"]) if mine and mine[0] is not row else None
        said = {"value": times.value, "low": times.low, "high": times.high} if times else None
        found.append({**row, "times_ours": said})
    return found


def _version(package: str) -> str:
    try:
        return f" {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="and FILE with .md for people")
    parser.add_argument("--sentences", type=int, default=8, metavar="N", help="each round (8)")
    parser.add_argument("--hubert", type=Path, metavar="DIR", help="encoders instead of text")
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.system:
        run_system(arguments.system, arguments.model, arguments.sentences)
    if arguments.hubert:
        rows, absent = measure_encoder(arguments.hubert)
    else:
        with tempfile.TemporaryDirectory() as work:
            tiny = resolve_asr(RANDOM + "tiny", _SENTENCE_S, Path(work))
            models = {"mini": str(find_model("mini")), "tiny (random weights)": tiny}
            rows, absent = measure_text(arguments.sentences, models)
    result = new_result("peers", Settings(), rows=with_ratios(rows), not_run=absent)
    print(markdown([result]))
    if arguments.json:
        write_results(arguments.json, [result])
        arguments.json.with_suffix(".md").write_text(markdown([result]), encoding="utf-8")


if __name__ == "__main__":
    main()
