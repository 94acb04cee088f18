"""The miniature transcriber: real words out of the whole recognizer, with no network at all."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from realtime_ser import (
    AudioBlock,
    EmotionFinal,
    Event,
    Recognizer,
    TranscriptFinal,
    TranscriptPartial,
    event_to_wire,
)
from realtime_ser.io.file import AudioFile
from realtime_ser.models.describe import describe_transcriber
from realtime_ser.models.hub import find_model
from realtime_ser.models.transcriber import Transcriber, load_transcriber
from realtime_ser.samples import sample_path
from realtime_ser.types import SAMPLE_RATE_HZ, Samples

SAMPLES = json.loads((sample_path("demo").parent / "samples.json").read_text())["files"]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def recognizer(small_bundle: Path) -> Recognizer:
    return Recognizer(bundle=str(small_bundle), asr="mini", asr_required=True, threads=1)


@pytest.fixture(scope="module")
def mini() -> Transcriber:
    return load_transcriber("mini", threads=1)


def words(text: str) -> str:
    """Without case and punctuation."""
    return " ".join(re.findall(r"[\w']+", text.casefold()))


def samples_of(path: Path) -> Samples:
    """int16 [samples] of the first channel of a file, at 16 kHz."""
    blocks = list(AudioFile(path))
    sound = np.concatenate([block.samples for block in blocks])[:, 0]
    return soxr.resample(sound, blocks[0].sample_rate_hz, SAMPLE_RATE_HZ)


def clips(corpora: Path, corpus: str, count: int) -> Iterator[tuple[Path, str]]:
    """Every so many recordings of the speakers that nobody trained on, and their words."""
    with (corpora / "speech.csv").open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["corpus"] == corpus and r["split"] == "test"]
    for row in itertools.islice(rows, 0, None, len(rows) // count):
        yield corpora / "speech" / row["file"], row["text"]


def test_it_is_small_and_says_what_it_is() -> None:
    folder = find_model("mini")
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4 * MEGABYTE
    assert (folder / "MODEL_CARD.md").is_file()
    description = describe_transcriber("mini", folder)
    assert "nothing else" in description
    assert "CC-BY-NC-SA-4.0" in description
    assert "held-out speakers" in description


@pytest.mark.parametrize("name", ["demo", "short"])
def test_the_samples_are_heard_word_for_word(recognizer: Recognizer, name: str) -> None:
    events = list(recognizer.events(AudioFile(sample_path(name)), name))
    heard = [words(e.transcript.text) for e in events if isinstance(e, TranscriptFinal)]
    assert heard == [words(said["text"]) for said in SAMPLES[f"{name}.flac"]["utterances"]]
    finals = [event for event in events if isinstance(event, EmotionFinal)]
    assert {event.modalities for event in finals} == {("audio", "text")}


def test_the_default_bundle_reads_what_it_hears() -> None:
    """What `make demo` shows: every final of the shipped bundle is made of voice and words."""
    recognizer = Recognizer(asr="mini", asr_required=True, threads=1)
    events = recognizer.events(AudioFile(sample_path("short")), "short")
    finals = [event for event in events if isinstance(event, EmotionFinal)]
    assert len(finals) == len(SAMPLES["short.flac"]["utterances"])
    assert {event.modalities for event in finals} == {("audio", "text")}


@pytest.mark.parametrize("seconds", [0.3, 1, 2, 5, 8])
@pytest.mark.parametrize("name", ["silence", "noise"])
def test_silence_and_noise_give_no_text(mini: Transcriber, name: str, seconds: float) -> None:
    samples = np.resize(samples_of(sample_path(name)), round(seconds * SAMPLE_RATE_HZ))
    assert mini.transcribe(samples) is None


@pytest.mark.parametrize("level", [0, 1, 30, 1_000, 10_000])
def test_white_noise_of_any_level_gives_no_text(mini: Transcriber, level: int) -> None:
    noise = np.random.default_rng(level).normal(0.0, level, 3 * SAMPLE_RATE_HZ)
    assert mini.transcribe(np.clip(noise, -32768, 32767).astype(np.int16)) is None


def test_a_window_without_words_does_not_spoil_the_next(mini: Transcriber) -> None:
    """It hears 8 s at a time: silence first, to which it answers with the end token alone."""
    speech = samples_of(sample_path("short"))
    _, decoding = mini.decode(np.concatenate([np.zeros(8 * SAMPLE_RATE_HZ, np.int16), speech]))
    _, alone = mini.decode(speech)
    assert decoding.text == alone.text
    assert decoding.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-6)
    assert decoding.least_logprob is not None
    assert alone.least_logprob is not None
    assert decoding.least_logprob <= alone.least_logprob


def test_faster_whisper_alone_reads_it_too() -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(find_model("mini")), device="cpu", compute_type="int8", cpu_threads=1)
    samples = samples_of(sample_path("short"))
    segments, info = model.transcribe(
        samples.astype(np.float32) / 32768, condition_on_previous_text=False
    )
    [segment] = segments
    assert words(segment.text) == words(SAMPLES["short.flac"]["utterances"][0]["text"])
    assert 0 <= segment.start < segment.end <= len(samples) / SAMPLE_RATE_HZ + 0.5
    assert info.language == "en"


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("corpus", "language"), [("cremad", "en"), ("ravdess", "en"), ("nemo", "pl"), ("emodb", "de")]
)
def test_people_who_were_not_heard_before_are_understood(
    corpora: Path, recognizer: Recognizer, corpus: str, language: str
) -> None:
    """A stream of recordings a second and a half apart, through everything up to the events."""
    said, sounds = [], [np.zeros(SAMPLE_RATE_HZ, np.int16)]
    for path, text in clips(corpora, corpus, 12):
        said.append(words(text))
        sounds += [samples_of(path), np.zeros(3 * SAMPLE_RATE_HZ // 2, np.int16)]
    blocks = (AudioBlock(sound[:, np.newaxis], SAMPLE_RATE_HZ) for sound in sounds)
    events = recognizer.events(blocks, corpus)
    heard = [event.transcript for event in events if isinstance(event, TranscriptFinal)]
    right = [transcript for transcript in heard if words(transcript.text) in said]
    assert len(right) >= 0.75 * len(said)
    assert len(heard) - len(right) <= 0.15 * len(said)
    assert {transcript.language for transcript in right} == {language}


@pytest.mark.corpus
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_sentences_that_it_does_not_know_are_dropped(
    corpora: Path, mini: Transcriber, every: int
) -> None:
    paths = sorted((corpora / "sound" / "read_speech").iterdir())[::every]
    assert len(paths) >= 200 // every
    kept = [path.name for path in paths if mini.transcribe(samples_of(path)) is not None]
    assert len(kept) <= 0.2 * len(paths), kept


def test_the_words_so_far_change_nothing_in_what_is_told_at_the_end(
    recognizer: Recognizer,
) -> None:
    blocks = list(AudioFile(sample_path("short")))

    def lasting(events: list[Event]) -> list[dict[str, Any]]:
        clocks = ("seq", "lag_ms", "timings")
        told = map(event_to_wire, events)
        return [
            {name: value for name, value in event.items() if name not in clocks}
            for event in told
            if not event["type"].endswith((".partial", ".created"))
        ]

    # with all the time that there can be until the final, for a busy machine
    settings = replace(recognizer.settings, hangover_ms=10_000, partial_interval_ms=150)
    talking = list(Recognizer(replace(settings, partial_transcripts=True)).events(blocks))
    assert lasting(talking) == lasting(list(Recognizer(settings).events(blocks)))
    so_far = [event.transcript.text for event in talking if isinstance(event, TranscriptPartial)]
    (final,) = [event.transcript.text for event in talking if isinstance(event, TranscriptFinal)]
    # it knows whole sentences only, and says nothing until it has heard nearly all of one
    assert final in so_far
