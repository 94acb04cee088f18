"""How fast exported encoders of full size run on this CPU, in each precision.

    python -m benchmarks.encoders --work FOLDER --json benchmarks/results/encoders.json

HuBERT-base and DistilBERT with random weights: the time of a run does not depend on what the
weights are, the errors of 8 bits do (`realtime-ser-export quantize` measures them for yours).
All candidates take turns run by run, so that other programs slow them alike; ratios are of the
CPU time of this process, which waiting for a core does not add to. FOLDER keeps the
exported graphs, 1 GB, from one run to the next.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from realtime_ser.bench.machine import describe_machine
from realtime_ser.types import SAMPLE_RATE_HZ
from realtime_ser_export.encoder_folder import GRAPH_FILE, RECORD_FILE, read_record
from realtime_ser_export.graphs.parity import EVERYTHING, Tolerance
from realtime_ser_export.graphs.parity_cases import speech
from realtime_ser_export.graphs.served import serve, serve_folder
from realtime_ser_export.graphs.speed import alternate

EAGER, EXPORTED, FLOAT32 = "transformers, eager", "float32, not fused", "float32"
CONVOLUTIONS = "int8-static, convolutions too"
PRECISIONS = ("int8-dynamic", "int8-static", CONVOLUTIONS)
SECONDS = (1.0, 3.0, 10.0)
TOKENS = (16, 64)
BATCHES = (4,)
BATCH_SECONDS = 3.0
RUNS = {1.0: 9, 3.0: 7, 10.0: 3}
# Errors of random weights are for the table, not for a decision.
_ANY = Tolerance(error=1e9, cosine=-2.0, labels=0.0)

Run = Callable[[], Any]


def prepare(family: str, work: Path) -> Path:
    """Export a model of full size, and quantise it, unless that is done; returns its folder."""
    from realtime_ser_export.graphs.quantize import quantize
    from realtime_ser_export.huggingface.random_models import FAMILIES, random_model

    folder = work / family
    source, float32 = folder / "source", folder / FLOAT32
    if not (source / "config.json").exists():
        random_model(family, source, size="base")
    if not (float32 / RECORD_FILE).exists():
        if FAMILIES[family].modality == "audio":
            from realtime_ser_export.huggingface.audio_export import export_audio

            export_audio(str(source), float32)
        else:
            from realtime_ser_export.huggingface.text_export import export_text

            export_text(str(source), float32)
    for name in _precisions(family):
        if not (folder / name / RECORD_FILE).exists():
            precision, *more = name.split(", ")
            quantize(float32, folder / name, precision, convolutions=bool(more), tolerance=_ANY)
    if FAMILIES[family].modality == "audio" and not (folder / "exported.onnx").exists():
        from realtime_ser_export.huggingface.audio import load_audio
        from realtime_ser_export.huggingface.audio_export import write_graph

        write_graph(load_audio(source), folder / "exported.onnx")
    return folder


def _precisions(family: str) -> tuple[str, ...]:
    return PRECISIONS if family == "hubert" else PRECISIONS[:-1]


def measure(candidates: Mapping[str, Run], runs: int, audio_s: float | None) -> dict[str, Any]:
    """A row: of each candidate its median, and how many times as fast as float32 it is."""
    times = alternate(candidates, runs)
    base = times[FLOAT32].cpu_ms
    row: dict[str, Any] = {"runs": runs, "load_average": round(os.getloadavg()[0], 2)}
    for name, each in times.items():
        row[name] = {
            "median_ms": round(each.wall_ms, 1),
            "cpu_ms": round(each.cpu_ms, 1),
            "times_as_fast": round(base / each.cpu_ms, 2),
        }
        if audio_s is not None:
            row[name]["real_time_factor"] = round(each.wall_ms / 1000 / audio_s, 4)
    return row


def audio_rows(folder: Path, threads: int) -> list[dict[str, Any]]:
    """Batch 1 at each length; several rows of `BATCH_SECONDS`."""
    import torch

    from realtime_ser_export.huggingface.audio import load_audio

    torch.set_num_threads(threads)
    eager = load_audio(folder / "source").reference
    part = read_record(folder / FLOAT32).part
    experts = {
        EXPORTED: serve(folder / "exported.onnx", part, threads=threads).expert,
        **{
            name: serve_folder(folder / name, threads=threads).expert
            for name in (FLOAT32, *PRECISIONS)
        },
    }
    rows = []
    for seconds in SECONDS:
        waveform = speech(round(seconds * SAMPLE_RATE_HZ), 1)
        candidates: dict[str, Run] = {EAGER: lambda w=waveform: eager(w)}
        for name, expert in experts.items():
            candidates[name] = lambda expert=expert, w=waveform: expert.run([w])
        row = measure(candidates, RUNS[seconds], seconds)
        rows.append({"audio_s": seconds, "batch": 1, "threads": threads, **row})
        print(json.dumps(rows[-1]), flush=True)
    for size in BATCHES if threads > 1 else ():
        batch = [speech(round(BATCH_SECONDS * SAMPLE_RATE_HZ), seed) for seed in range(size)]
        candidates = {
            name: lambda expert=experts[name], b=batch: expert.run(b)
            for name in (FLOAT32, *PRECISIONS)
        }
        row = measure(candidates, 2, BATCH_SECONDS * size)
        rows.append({"audio_s": BATCH_SECONDS, "batch": size, "threads": threads, **row})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def text_rows(folder: Path, threads: int) -> list[dict[str, Any]]:
    """Batch 1 at each number of tokens."""
    import torch

    from realtime_ser_export.huggingface.text import load_text

    torch.set_num_threads(threads)
    eager = load_text(folder / "source").reference
    served = {
        name: serve_folder(folder / name, threads=threads)
        for name in (FLOAT32, *_precisions(folder.name))
    }
    rows = []
    for wanted in TOKENS:
        text = ""
        while len(served[FLOAT32].tokens(text)) < wanted:
            text += "a "
        candidates: dict[str, Run] = {EAGER: lambda t=text: eager(t)}
        for name, each in served.items():
            candidates[name] = lambda expert=each.expert, t=text: expert.run([t])
        tokens = len(served[FLOAT32].tokens(text))
        row = measure(candidates, 9, None)
        rows.append({"tokens": tokens, "batch": 1, "threads": threads, **row})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def describe(folder: Path) -> dict[str, Any]:
    """Sizes, nodes and errors of the graphs of one model."""
    graphs = {}
    for name in (FLOAT32, *_precisions(folder.name)):
        record = read_record(folder / name)
        everything = [row for row in record.parity if row["case"] == EVERYTHING]
        graphs[name] = {
            "megabytes": round((folder / name / GRAPH_FILE).stat().st_size / 1e6, 1),
            "nodes": record.nodes,
            "parity": everything,
        }
    return {"parameters": read_record(folder / FLOAT32).part["parameters"], "graphs": graphs}


def markdown(result: Mapping[str, Any]) -> str:
    """The figures for people."""
    machine = result["machine"]
    lines = [
        "# Encoders",
        "",
        "Made by `python -m benchmarks.encoders`; how it measures stands at its head.",
        "",
        f"Revision {machine['revision']}, {machine['measured_at']}, {machine['processor']}, "
        f"{machine['cores']} cores, onnxruntime {machine['packages']['onnxruntime']}, load average "
        f"{machine['load_average']} at the start; that of each row beside it. Other programs were "
        "at work: the ratios, of candidates that took turns, hold better than the milliseconds. "
        "GPU: not measured.",
    ]
    for family, model in result["models"].items():
        lines += ["", f"## {family}, {model['parameters'] / 1e6:.0f} million random weights", ""]
        lines += [*_size_table(model["graphs"]), "", *_time_table(model["rows"])]
    return "\n".join(lines) + "\n"


def _size_table(graphs: Mapping[str, Any]) -> list[str]:
    lines = [
        "| graph | MB | nodes | largest error | least cosine | error beside spread |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, graph in graphs.items():
        row = next(each for each in graph["parity"] if each["output"] == "embedding")
        cells = (
            name,
            f"{graph['megabytes']:.0f}",
            " -> ".join(map(str, graph["nodes"].values())),
            f"{row['max_abs_error']:.1e}",
            f"{row['cosine']:.5f}",
            f"{row['error_to_spread']:.1%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _time_table(rows: list[dict[str, Any]]) -> list[str]:
    names = [name for name in (EAGER, EXPORTED, FLOAT32, *PRECISIONS) if name in rows[0]]
    lines = [
        "Median ms on the clock / of CPU time (times as fast as float32, by CPU time; real-time "
        "factor on the clock):",
        "",
        f"| input | batch | threads | {' | '.join(names)} | load |",
        "| --- " * (len(names) + 4) + "|",
    ]
    for row in rows:
        size = f"{row['audio_s']:g} s" if "audio_s" in row else f"{row['tokens']} tokens"
        cells = []
        for name in names:
            each = row.get(name)
            if each is None:
                cells.append("")
                continue
            factor = each.get("real_time_factor")
            tail = "" if factor is None else f"; {factor:.3f}"
            times = f"{each['median_ms']:.0f} / {each['cpu_ms']:.0f}"
            cells.append(f"{times} ({each['times_as_fast']:.2f}{tail})")
        lines.append(
            f"| {size} | {row['batch']} | {row['threads']} | {' | '.join(cells)} | "
            f"{row['load_average']} |"
        )
    return lines


def main() -> None:
    """Prepare, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the exported graphs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="and FILE with .md for people")
    parser.add_argument("--prepare", action="store_true", help="export only")
    arguments = parser.parse_args()
    folders = {family: prepare(family, arguments.work) for family in ("hubert", "distilbert")}
    if arguments.prepare:
        return
    result: dict[str, Any] = {"machine": describe_machine(), "models": {}}
    for family, rows_of in (("hubert", audio_rows), ("distilbert", text_rows)):
        rows = [row for threads in (1, 2) for row in rows_of(folders[family], threads)]
        result["models"][family] = {**describe(folders[family]), "rows": rows}
    print(markdown(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
