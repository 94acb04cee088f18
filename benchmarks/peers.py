"""Others beside us: the same audio, the same model, the same machine, in one run.

    python -m benchmarks.peers --hubert FOLDER --json benchmarks/results/peers.json

End of speech -> final text, played at the pace of a microphone: realtime-ser, its own offline
driver without speculation (as fast as it goes; its clock is the audio's), RealtimeSTT and
WhisperLive, each in a process of its own, one after the other, on the same number of CPU threads,
with one and the same CTranslate2 model: `mini`, which knows the sentences that are played, and a
Whisper tiny of real size with random weights that says one sentence of 3.3 tokens a second of
speech whatever it hears (it costs what the real one costs). The wait counts from where the
recording's speech ends, so that it holds what each system's endpointing takes: RealtimeSTT's row
`it stops recording` is that alone. It can be told to transcribe before the silence is over, as our
speculation does; that is off as it comes, and has rows of its own. What they are set to stands in
`benchmarks/peer_systems.py`.

With `partial_transcripts` we tell the words of the final that is computed ahead while the silence
lasts: `shown in the pause` is when those that turn out to be the final ones are told.

WhisperLive has no end of utterance: it transcribes what it has over and over, and calls a segment
completed after its text came `same_output_threshold` times (10 by default). `completed` is that;
`shown` is when the text that turns out to be final was first sent, which nobody can know then. With
the one sentence of the random model `shown` means nothing and is left out.

With --hubert (the folder `hubert` that `python -m benchmarks.encoders --prepare` makes): one run of
the same HuBERT base on 3 s of speech, by torch and transformers, by audonnx, and by us.

Needs an environment with faster-whisper, whisper-live, RealtimeSTT, fastapi, uvicorn, torch,
transformers and audonnx, whose pins contradict each other: install them with --no-deps. What cannot
be run is named in the result.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peer_encoders import measure_encoders
from benchmarks.peer_systems import (
    COMPLETED,
    IN_PAUSE,
    OURS,
    SHOWN,
    SYSTEMS,
    TEXT,
    Waits,
    version,
)
from realtime_ser.bench.latency import RANDOM, resolve_asr
from realtime_ser.bench.report import markdown
from realtime_ser.bench.results import new_result, write_results
from realtime_ser.bench.statistics import ratio
from realtime_ser.config import Settings
from realtime_ser.models.hub import find_model
from realtime_ser.models.ort import thread_count

MINI, RANDOM_TINY = "mini", "tiny (random weights)"
_SENTENCE_S = 2.3
"""Mean length of the sentences: what the random model's tokens are counted for."""
_STARTING_S = 60.0
_FINAL = (TEXT, COMPLETED, SHOWN, IN_PAUSE)
"""What is set beside our final text; where somebody's recording stops is only part of a wait."""


def run_system(system: str, folder: str, sentences: int) -> None:
    """In a process of its own: measure one system and print JSON as the last line."""
    logging.disable(logging.WARNING)
    chosen = SYSTEMS[system]
    waits = chosen.run(chosen.material(sentences), folder)
    print("\n" + json.dumps(waits), flush=True)
    os._exit(0)  # some of them keep threads and processes that do not end by themselves


def measure_text(
    sentences: int, models: dict[str, str], systems: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows, and what could not be run."""
    rows: list[dict[str, Any]] = []
    absent = []
    for model, folder in models.items():
        for system in systems:
            try:
                waits = _in_a_process(system, folder, sentences)
            except RuntimeError as error:
                absent.append({"system": f"{system}, {model}", "why": str(error)})
                continue
            name = system + version(SYSTEMS[system].package)
            for event, values in waits.items():
                if event == SHOWN and model == RANDOM_TINY:
                    continue
                ms = [round(value, 1) for value in values]
                rows.append({"system": name, "model": model, "event": event, "ms": ms})
                print(f"{name}, {model}, {event}: {ms}", file=sys.stderr, flush=True)
            if not any(waits.values()):
                why = f"no answer to any of {sentences} sentences"
                absent.append({"system": f"{system}, {model}", "why": why})
    return rows, absent


def _in_a_process(system: str, folder: str, sentences: int) -> Waits:
    """What a system's process says of its waits.

    Raises:
        RuntimeError: it says nothing, or not in time.
    """
    command = [sys.executable, "-m", "benchmarks.peers", "--system", system]
    command += ["--model", folder, "--sentences", str(sentences)]
    # those that have no setting for it take their threads from here
    environment = {**os.environ, "OMP_NUM_THREADS": str(thread_count(0))}
    limit_s = _STARTING_S + 2 * SYSTEMS[system].material(sentences).seconds
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done after {limit_s:.0f} s") from None
    try:
        waits: Waits = json.loads(done.stdout.strip().splitlines()[-1])
    except (json.JSONDecodeError, IndexError):
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeError(said[0][:200]) from None
    return waits


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with how many times our median it is, of the same model."""
    return [{**row, "times_ours": _times(_ours(rows, row), row)} for row in rows]


def _ours(rows: list[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any] | None:
    """Our row of the model that `row` is of: the first of ours."""
    same = (each for each in rows if each["model"] == row["model"])
    return next((each for each in same if each["system"].startswith(OURS)), None)


def _times(mine: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, float] | None:
    if mine is None or mine is row or row.get("event", TEXT) not in _FINAL:
        return None
    found = ratio(mine["ms"], row["ms"])
    return {"value": found.value, "low": found.low, "high": found.high} if found else None


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="and FILE with .md for people")
    parser.add_argument("--sentences", type=int, default=8, metavar="N", help="for each (8)")
    parser.add_argument("--hubert", type=Path, metavar="DIR", help="encoders as well")
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="of encoders (15)")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.system:
        run_system(arguments.system, arguments.model, arguments.sentences)
    found = []
    if arguments.hubert:
        found.append(measure_encoders(arguments.hubert, arguments.runs))
    if arguments.systems:
        with tempfile.TemporaryDirectory() as work:
            tiny = resolve_asr(RANDOM + "tiny", _SENTENCE_S, Path(work))
            models = {MINI: str(find_model(MINI)), RANDOM_TINY: tiny}
            found.append(measure_text(arguments.sentences, models, arguments.systems))
    results = [
        new_result(
            "peers", Settings(), threads=thread_count(0), rows=with_ratios(rows), not_run=absent
        )
        for rows, absent in found
    ]
    print(markdown(results))
    if arguments.json:
        write_results(arguments.json, results)
        arguments.json.with_suffix(".md").write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
