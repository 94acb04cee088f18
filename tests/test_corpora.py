"""Real recordings through the whole pipeline, with the default bundle."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from realtime_ser import Recognizer, event_to_json
from realtime_ser.core.wire import json_schema
from realtime_ser.io.file import AudioFile

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(asr="off")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


def check(recognizer: Recognizer, validator: Any, path: Path) -> list[dict[str, Any]]:
    """The events of a file, each valid, in the order that `core.events` promises."""
    stream = recognizer.events(AudioFile(path), path.name)
    parsed = [json.loads(event_to_json(event)) for event in stream]
    for event in parsed:
        validator.validate(event)
    assert [event["seq"] for event in parsed] == list(range(len(parsed)))
    assert parsed[0]["type"] == "session.created"
    assert parsed[-1]["type"] == "session.closed"
    told: dict[int, list[str]] = {}
    for event in parsed:
        if event.get("utterance_id") is not None:
            told.setdefault(event["utterance_id"], []).append(event["type"])
        if event["type"] == "emotion.final":
            assert sum(event["emotion"]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            assert all(0 <= value <= 1 for value in event["affect"].values())
            timings = event["timings"]
            assert sum(timings["critical"].values()) == pytest.approx(
                timings["end_of_speech_to_emit"], abs=1e-3
            )
    assert parsed[-1]["utterances"] == len(told)
    for names in told.values():
        assert [n for n in names if n != "emotion.partial"] == [
            "utterance.start",
            "emotion.final",
            "utterance.end",
        ]
    return parsed


def test_every_recording_of_misc(recognizer: Recognizer, validator: Any, corpora: Path) -> None:
    paths = sorted((corpora / "sound" / "misc").iterdir())
    assert len(paths) >= 9
    for path in paths:
        parsed = check(recognizer, validator, path)
        assert parsed[-1]["utterances"] >= 1, f"nobody is heard in {path.name}"


def test_fifty_clips_of_the_corpora(recognizer: Recognizer, validator: Any, corpora: Path) -> None:
    with (corpora / "speech.csv").open() as file:
        files = [row["file"] for row in csv.DictReader(file)]
    clips = random.Random(20261120).sample(files, 50)
    heard = sum(
        check(recognizer, validator, corpora / "speech" / clip)[-1]["utterances"] > 0
        for clip in clips
    )
    # some clips hold a second of soft speech; most must be heard
    assert heard >= 47
