"""The shipped recordings are what `samples.json` says they are."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from realtime_ser.errors import AudioUnsupportedError
from realtime_ser.samples import sample_names, sample_path

DESCRIBED = json.loads((sample_path("demo").parent / "samples.json").read_text(encoding="utf-8"))


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples of full scale 1, shape [samples], and their rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.layout.nb_channels == 1
        frames = [frame.to_ndarray()[0] for frame in container.decode(stream)]
        return np.concatenate(frames) / 32_768, stream.rate


def level_dbfs(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples))))


def test_names_and_paths() -> None:
    assert sample_names() == ("demo", "noise", "short", "silence")
    assert sample_path("demo.flac") == sample_path("demo")
    assert {f"{name}.flac" for name in sample_names()} == set(DESCRIBED["files"])


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(AudioUnsupportedError, match=r"'demmo'; there are demo, noise, short, sil"):
        sample_path("demmo")
    with pytest.raises(AudioUnsupportedError):
        sample_path("../samples/demo")


@pytest.mark.parametrize("name", sample_names())
def test_a_recording_matches_its_description(name: str) -> None:
    samples, rate_hz = decode(sample_path(name))
    described = DESCRIBED["files"][f"{name}.flac"]
    assert rate_hz == DESCRIBED["sample_rate_hz"] == 16_000
    assert len(samples) == round(described["duration_s"] * rate_hz)
    sounding = np.zeros(len(samples), bool)
    for sound in described["utterances"] + described["noises"]:
        span = slice(round(sound["start_s"] * rate_hz), round(sound["end_s"] * rate_hz))
        assert level_dbfs(samples[span]) > -35
        assert not sounding[span].any()
        sounding[span] = True
    # Everything else is the room, so the times above are all the sound there is.
    assert -63 < level_dbfs(samples[~sounding]) < -57
    assert np.abs(samples[~sounding]).max() < 0.01


def test_all_are_small() -> None:
    assert sum(sample_path(name).stat().st_size for name in sample_names()) < 1_500_000
