"""HuBERT base and DistilBERT at full size, with a head, on a real recording; minutes long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum.exporters.onnx", reason="optimum-onnx is not installed")

import soundfile

from realtime_ser.cli import main as realtime_ser
from realtime_ser_export.cli import main

RandomFolder = Callable[..., Path]


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory, random_folder: RandomFolder) -> Path:
    """The bundle of the recipe english-hubert-bert, with DistilBERT in BERT's place."""
    folder = tmp_path_factory.mktemp("full-size")
    voice = random_folder("hubert", size="base")
    words = random_folder("distilbert", size="base")
    assert main(["audio", str(voice), "--out", str(folder / "heard")]) == 0
    assert main(["text", str(words), "--out", str(folder / "read")]) == 0
    encoders = [f"--encoder=audio={folder / 'heard'}", f"--encoder=text={folder / 'read'}"]
    arguments = ["bundle", "english-hubert-bert", "--out", str(folder / "bundle"), *encoders]
    assert main([*arguments, "--untrained-fusion"]) == 0
    return folder / "bundle"


@pytest.mark.slow
@pytest.mark.corpus
def test_a_full_size_bundle_hears_a_recording(
    full_size: Path, corpora: Path, whisper_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert realtime_ser(["models", "verify", str(full_size)]) == 0
    recording = sorted((corpora / "sound" / "read_speech").glob("*.opus"))[0]
    seconds = soundfile.info(recording).duration
    capsys.readouterr()
    arguments = ["--bundle", str(full_size), "--asr", str(whisper_folder), "--json"]
    started, busy = time.perf_counter(), time.process_time()
    assert realtime_ser(["file", str(recording), *arguments]) == 0
    took, busy = time.perf_counter() - started, time.process_time() - busy
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    finals = [event for event in events if event["type"] == "emotion.final"]
    assert finals
    assert {tuple(event["modalities"]) for event in finals} == {("audio", "text")}
    # A figure, not a verdict: the machine may be busy.
    with capsys.disabled():
        print(
            f"\n{seconds:.1f} s of speech in {took:.1f} s: {seconds / took:.2f} x real time; "
            f"{busy:.1f} s of CPU time"
        )
