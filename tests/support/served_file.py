"""What `realtime-ser file` says of the short sample, and exactly what it heard and read there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from realtime_ser.cli import main
from realtime_ser.samples import sample_path


@dataclass(frozen=True, slots=True)
class ServedFile:
    """The one utterance of the sample.

    Attributes:
        wave: float32 [samples] in -1..1, as the encoders got it.
        text: its transcript; empty without one.
        probabilities: by label, rounded to six digits.
        modalities: that took part.
    """

    wave: NDArray[np.float32]
    text: str
    probabilities: dict[str, float]
    modalities: list[str]


def serve_sample(bundle: Path, asr: str, capsys: pytest.CaptureFixture[str]) -> ServedFile:
    """Run `realtime-ser file` on the short sample with a bundle and a transcription model."""
    sample = sample_path("short")
    capsys.readouterr()
    chosen = ["--bundle", str(bundle), "--asr", asr, "--language", "en", "--no-partials"]
    assert main(["file", str(sample), *chosen, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (final,) = [event for event in events if event["type"] == "emotion.final"]
    texts = [event["transcript"]["text"] for event in events if event["type"] == "transcript.final"]
    samples, rate_hz = soundfile.read(sample, dtype="int16")
    first, last = (round(final[key] * rate_hz / 1000) for key in ("audio_start_ms", "audio_end_ms"))
    return ServedFile(
        samples[first:last].astype(np.float32) / 32768,
        texts[0] if texts else "",
        final["emotion"]["probabilities"],
        final["modalities"],
    )
