"""How well speech is told from noise, frame by frame and cut into utterances.

    python -m benchmarks.segmentation --data ../shared/data --json FILE

The same detector and segmenter as in the product, driven as its session drives them (`in_speech`
is "an utterance is open"). The rules of scoring:

- A frame of 30 ms is labelled speech when more than half of it lies in a labelled segment.
- Utterances do not end in pauses shorter than the hangover. So onsets and endpoints are held
  against the labelled segments merged over such pauses. An onset error is the first speech frame
  of the utterance (not its pre-roll) against the start of the first merged segment that it
  overlaps; an endpoint error the end of its last speech frame against the end of the last one.
  Merged segments that the recording cuts off are not scored at that side. 1.5 s of room noise
  follow each clip, so that the hangover can run out.
- The decision delay is how long after the labelled end the segmenter ended the utterance.
- False utterances: each noise file in a fresh stream; and, because these are only 292 s, in which
  one utterance is 12 an hour, at four levels after a second of room noise; and a second
  after speech, where `talk_memory_s` makes the segmenter trust doubtful speech.
- CPU time is the process's own. Programs on the other half of the same core make it dearer, so
  each 6 s of speech counts with the cheapest of several passes.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.segmentation_tables import markdown
from realtime_ser.bench.machine import describe_machine
from realtime_ser.config import Settings
from realtime_ser.core.intake import AudioIntake
from realtime_ser.core.segmenter import FRAME_MS, Segmenter, SpeechEnded, SpeechStarted
from realtime_ser.io.file import AudioFile
from realtime_ser.models import silero, speech
from realtime_ser.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, ClosedBy, Samples

NOISE_LEVELS_DB = (-12, -6, 0, 6)
CLIPS_PER_EMOTION = 25
COST_PASSES = 8
COST_BLOCK_FRAMES = 200
ROOM_DBFS = -60
TALK_CLIP = "testset-audio-14"
"""Speech to put before noise: it ends in silence."""

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording with its labelled speech; none in noise."""

    name: str
    samples: Samples
    segments: tuple[Span, ...] = ()

    @property
    def labels(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool [frames]."""
        spoken = np.zeros(len(self.samples), dtype=np.float32)
        for start, end in self.segments:
            spoken[round(start * SAMPLE_RATE_HZ) : round(end * SAMPLE_RATE_HZ)] = 1
        return in_frames(spoken).mean(axis=1) > 0.5


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance: first speech frame, end of the last one, and when it was known to have ended;
    in seconds. `decided` is None where the recording ended first."""

    onset: float
    end: float
    decided: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one recording."""

    decisions: np.ndarray[Any, np.dtype[np.bool_]]
    utterances: tuple[Heard, ...]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segmentation")
    parser.add_argument("--data", type=Path, required=True, help="the folder of corpora and sounds")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--quick", action="store_true", help="the detectors only, no neighbourhood")
    arguments = parser.parse_args()

    clips, noises = speech_clips(arguments.data), noise_clips(arguments.data)
    result: dict[str, Any] = {"machine": describe_machine(), "detectors": {}}
    for name, settings in detectors().items():
        result["detectors"][name] = measure(settings, clips, noises)
    result["cost_us_per_frame"] = {
        name: cost_us_per_frame(Settings(speech_detector=name), clips)
        for name in ("webrtc", "silero", "both")
    }
    if not arguments.quick:
        result["neighbourhood"] = {
            name: measure(settings, clips, noises) for name, settings in neighbourhood().items()
        }
        result["window_steps"] = window_steps(clips, noises)
        result["lead_in_and_hold"] = lead_in_and_hold(clips, noises)
        result["corpora"] = corpora(arguments.data)
        result["misc"] = misc(arguments.data)
    result["load_average_after"] = describe_machine()["load_average"]
    print(markdown(result))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


# what is compared


def detectors() -> dict[str, Settings]:
    """The three detectors; of webrtcvad its modes, of Silero plain thresholds and the defaults."""
    compared = {
        f"webrtc {mode}": Settings(speech_detector="webrtc", webrtc_mode=mode) for mode in (1, 2, 3)
    }
    for threshold in (0.3, 0.4, 0.5, 0.6):
        compared[f"silero {threshold}"] = Settings(
            speech_detector="silero",
            silero_enter=threshold,
            silero_stay=threshold,
            silero_sure=threshold,
        )
    compared["silero"] = Settings(speech_detector="silero")
    compared["both"] = Settings()
    return compared


def neighbourhood() -> dict[str, Settings]:
    """The default `both`, and one step to each side in each setting that was chosen here."""
    steps: dict[str, Iterable[Any]] = {
        "webrtc_mode": (1, 2),
        "silero_enter": (0.45, 0.55),
        "silero_stay": (0.15, 0.2, 0.3),
        "silero_sure": (0.0, 0.75, 0.85),
        "min_speech_ms": (250, 300, 360),
        "talk_memory_s": (0.0, 1.5, 6.0),
        "start_voiced_ms": (60, 120),
    }
    return {
        f"{name} {value}": replace(Settings(), **{name: value})
        for name, values in steps.items()
        for value in values
    }


def lead_in_and_hold(clips: list[Clip], noises: list[Clip]) -> dict[str, Any]:
    """The two constants of the confirmed detector, each varied with the other at its value."""
    chosen = speech.LEAD_IN_FRAMES, speech.HOLD_FRAMES
    pairs = [(lead_in, chosen[1]) for lead_in in (0, 2, 5, 10, 20, 30)]
    pairs += [(chosen[0], hold) for hold in (3, 5, 10, 30)]
    table = {}
    try:
        for speech.LEAD_IN_FRAMES, speech.HOLD_FRAMES in pairs:
            name = f"lead-in {speech.LEAD_IN_FRAMES}, hold {speech.HOLD_FRAMES}"
            table[name] = frame_scores(Settings(), clips, noises)
    finally:
        speech.LEAD_IN_FRAMES, speech.HOLD_FRAMES = chosen
    return table


def window_steps(clips: list[Clip], noises: list[Clip]) -> dict[str, dict[str, float]]:
    """Silero alone at thresholds of its own for each step between windows, in samples.

    480 is the product's: a window ends with each frame. 512 is the step of its training: a frame
    takes the newest complete window. 240 asks twice a frame.
    """
    labels = np.concatenate([clip.labels for clip in clips])
    scores = {}
    for step, thresholds in (
        (512, (0.3, 0.4, 0.5)),
        (480, (0.3, 0.4, 0.5)),
        (240, (0.1, 0.15, 0.2)),
    ):
        on_speech = np.concatenate([probabilities(clip.samples, step) for clip in clips])
        on_noise = np.concatenate([probabilities(clip.samples, step) for clip in noises])
        for threshold in thresholds:
            name = f"step {step}, threshold {threshold}"
            scores[name] = scored(on_speech >= threshold, labels, on_noise >= threshold)
    return scores


def probabilities(samples: Samples, step: int) -> np.ndarray[Any, Any]:
    """For each frame, the probability of the newest complete window, [frames]."""
    reach = silero.CONTEXT_SAMPLES + silero.WINDOW_SAMPLES
    audio = np.concatenate([np.zeros(reach - step), samples / 32768]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(audio, reach)[::step]
    state = np.zeros((1, 1, 128), dtype=np.float32)
    inputs = {"windows": np.ascontiguousarray(windows)[:, None], "hidden": state, "cell": state}
    answers = np.concatenate([[0.0], silero.silero_session().run(None, inputs)[0][:, 0]])
    frames = np.arange(1, len(samples) // FRAME_SAMPLES + 1)
    return answers[frames * FRAME_SAMPLES // step]


# running


def run(settings: Settings, samples: Samples) -> Run:
    """Detect and segment one recording in a fresh stream, as `Session` does."""
    detector, segmenter = speech.create_speech_detector(settings), Segmenter(settings)
    decisions = np.zeros(len(samples) // FRAME_SAMPLES, dtype=np.bool_)
    utterances: list[Heard] = []
    onset = 0
    frames = in_frames(samples)
    for index, (frame, judgement) in enumerate(
        zip(frames, detector.judge(list(frames)), strict=True)
    ):
        start, end = index * FRAME_SAMPLES, (index + 1) * FRAME_SAMPLES
        evidence = judgement.inside if segmenter.in_utterance else judgement.outside
        decisions[index] = evidence > 0
        loudness = frame.astype(np.float32)
        for action in segmenter.push(start, end, evidence, float(loudness @ loudness)):
            if isinstance(action, SpeechStarted):
                onset = action.onset
            elif isinstance(action, SpeechEnded):
                utterances.append(heard(onset, action.speech_end, end))
    for action in segmenter.close(ClosedBy.EOF, len(samples)):
        if isinstance(action, SpeechEnded):
            utterances.append(heard(onset, action.speech_end, None))  # noqa: PERF401 - as above
    return Run(decisions, tuple(utterances))


def heard(onset: int, end: int, decided: int | None) -> Heard:
    return Heard(
        onset / SAMPLE_RATE_HZ,
        end / SAMPLE_RATE_HZ,
        None if decided is None else decided / SAMPLE_RATE_HZ,
    )


def in_frames(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[frames, 480]; the unfinished frame at the end is left out."""
    return samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


def room_noise(seconds: float) -> Samples:
    """The quiet of a room; digital silence would flatter some detectors and upset others."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(round(seconds * SAMPLE_RATE_HZ)) * 32768
    return (noise * 10 ** (ROOM_DBFS / 20)).astype(np.int16)


# scoring


def measure(settings: Settings, clips: list[Clip], noises: list[Clip]) -> dict[str, Any]:
    """Every figure of one detector."""
    return {
        **frame_scores(settings, clips, noises),
        **utterance_scores(settings, clips),
        **false_utterances(settings, clips, noises),
    }


def frame_scores(settings: Settings, clips: list[Clip], noises: list[Clip]) -> dict[str, float]:
    """F1 and its two kinds of error over all frames of the clips, and noise called speech."""
    labels = np.concatenate([clip.labels for clip in clips])
    said = np.concatenate([run(settings, clip.samples).decisions for clip in clips])
    noise = np.concatenate([run(settings, clip.samples).decisions for clip in noises])
    return scored(said, labels, noise)


def scored(
    said: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], noise: np.ndarray[Any, Any]
) -> dict[str, float]:
    """The frame scores of decisions on speech, bool [frames], and on noise, bool [frames]."""
    return {
        "frame_f1": float(2 * (said & labels).sum() / (said.sum() + labels.sum())),
        "speech_missed": float((~said & labels).sum() / labels.sum()),
        "silence_called_speech": float((said & ~labels).sum() / (~labels).sum()),
        "noise_called_speech": float(noise.mean()),
    }


def utterance_scores(settings: Settings, clips: list[Clip]) -> dict[str, Any]:
    """Onsets, endpoints and delays, in ms; see the module for what is held against what."""
    hangover_s = np.ceil(settings.hangover_ms / FRAME_MS) * FRAME_MS / 1000
    onsets, ends, delays = [], [], []
    missed = references = found = 0
    for clip in clips:
        length_s = len(clip.samples) / SAMPLE_RATE_HZ
        merged = merge(clip.segments, hangover_s)
        utterances = run(settings, np.concatenate([clip.samples, room_noise(1.5)])).utterances
        references += len(merged)
        found += len(utterances)
        missed += sum(not any(overlaps(span, one) for one in utterances) for span in merged)
        for one in utterances:
            spans = [span for span in merged if overlaps(span, one)]
            if spans and spans[0][0] > 0:
                onsets.append(one.onset - spans[0][0])
            if spans and spans[-1][1] < length_s - FRAME_MS / 1000 and one.decided is not None:
                ends.append(one.end - spans[-1][1])
                delays.append(one.decided - spans[-1][1])
    return {
        "utterances": found,
        "merged_segments": references,
        "merged_segments_missed": missed,
        "onset_error_ms": spread(np.abs(onsets)),
        "onset_bias_ms": spread(np.array(onsets)),
        "endpoint_error_ms": spread(np.abs(ends)),
        "endpoint_bias_ms": spread(np.array(ends)),
        "decision_delay_ms": spread(np.array(delays)),
        "decided_in_time": float(np.mean(np.array(delays) <= settings.hangover_ms / 1000 + 0.06)),
    }


def false_utterances(settings: Settings, clips: list[Clip], noises: list[Clip]) -> dict[str, Any]:
    """Utterances an hour of noise: the files as they are, right after speech, at four levels."""
    names, varied_names, after_names = [], [], []
    seconds = varied_seconds = 0.0
    before = np.concatenate([next(c for c in clips if c.name == TALK_CLIP).samples, room_noise(1)])
    talk = len(run(settings, before).utterances)
    for clip in noises:
        names += [clip.name] * len(run(settings, clip.samples).utterances)
        after = run(settings, np.concatenate([before, clip.samples])).utterances
        after_names += [clip.name] * (len(after) - talk)
        seconds += len(clip.samples) / SAMPLE_RATE_HZ
        for level_db in NOISE_LEVELS_DB:
            louder = clip.samples * 10 ** (level_db / 20)
            samples = np.clip(louder, -32768, 32767).astype(np.int16)
            samples = np.concatenate([room_noise(1.0), samples])
            varied_names += [clip.name] * len(run(settings, samples).utterances)
            varied_seconds += len(clip.samples) / SAMPLE_RATE_HZ
    return {
        "false_utterances": dict(Counter(names)),
        "false_per_hour": len(names) * 3600 / seconds,
        "false_utterances_after_speech": dict(Counter(after_names)),
        "false_per_hour_after_speech": len(after_names) * 3600 / seconds,
        "false_utterances_at_four_levels": dict(Counter(varied_names)),
        "false_per_hour_at_four_levels": len(varied_names) * 3600 / varied_seconds,
    }


def cost_us_per_frame(settings: Settings, clips: list[Clip]) -> float:
    """CPU microseconds of the detector alone for a frame of these clips (three quarters speech)."""
    frames = in_frames(np.concatenate([clip.samples for clip in clips]))
    cheapest = np.full(len(frames) // COST_BLOCK_FRAMES, np.inf)
    for _ in range(COST_PASSES):
        detector = speech.create_speech_detector(settings)
        for block in range(len(cheapest)):
            started = time.process_time()
            # one by one, as one microphone gives them
            for frame in frames[block * COST_BLOCK_FRAMES :][:COST_BLOCK_FRAMES]:
                detector.judge([frame])
            cheapest[block] = min(cheapest[block], time.process_time() - started)
    return float(cheapest.mean() / COST_BLOCK_FRAMES * 1e6)


def merge(segments: tuple[Span, ...], pause_s: float) -> list[Span]:
    """Join segments over pauses shorter than `pause_s`."""
    merged: list[Span] = []
    for start, end in segments:
        if merged and start - merged[-1][1] < pause_s:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def overlaps(span: Span, utterance: Heard) -> bool:
    return utterance.onset < span[1] and span[0] < utterance.end


def spread(seconds: np.ndarray[Any, Any]) -> dict[str, float]:
    """Median and 90th percentile in ms, and how many values there are."""
    if not len(seconds):
        return {"median": float("nan"), "p90": float("nan"), "count": 0}
    return {
        "median": round(float(np.median(seconds)) * 1000, 1),
        "p90": round(float(np.percentile(seconds, 90)) * 1000, 1),
        "count": len(seconds),
    }


# data


def decode(path: Path) -> Samples:
    """A recording at 16 kHz, through the product's own decoder and resampler."""
    blocks = list(AudioFile(path))
    intake = AudioIntake(blocks[0].sample_rate_hz)
    chunks = [chunk for block in blocks for chunk in intake.push(block.samples)]
    return np.concatenate([chunk.samples for chunk in [*chunks, *intake.flush()]])


def speech_clips(data: Path) -> list[Clip]:
    """The labelled clips: beside each recording (name, start, end, flag)*, flag 1 for speech."""
    clips = []
    for path in sorted((data / "sound" / "speech_activity").glob("*.flac")):
        _, *fields = path.with_suffix(".scv").read_text(encoding="utf-8").strip().split(",")
        triples = zip(fields[0::3], fields[1::3], fields[2::3], strict=True)
        segments = tuple((float(a), float(b)) for a, b, flag in triples if flag == "1")
        clips.append(Clip(path.stem, decode(path), segments))
    return clips


def noise_clips(data: Path) -> list[Clip]:
    """The 100 noise recordings, without the short taps and rubs beside them."""
    paths = (data / "sound" / "noise").glob("n*.opus")
    return [Clip(path.stem, decode(path)) for path in sorted(paths)]


def corpora(data: Path) -> dict[str, Any]:
    """Clips of the train split in which no utterance is heard, by corpus and emotion."""
    with (data / "speech.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row["corpus"], row["emotion"]), []).append(row["file"])
    table: dict[str, Any] = {}
    for (corpus, emotion), files in sorted(groups.items()):
        chosen = random.Random(1).sample(files, min(CLIPS_PER_EMOTION, len(files)))
        lost = []
        lost_without_sure = 0
        for name in chosen:
            samples = decode(data / "speech" / name)
            if not run(Settings(), samples).utterances:
                lost.append(name)
                undemanding = replace(Settings(), silero_sure=0.0)
                lost_without_sure += not run(undemanding, samples).utterances
        table[f"{corpus} {emotion}"] = {
            "clips": len(chosen),
            "unheard": lost,
            "unheard_if_sure_is_0": lost_without_sure,
        }
    return table


def misc(data: Path) -> dict[str, list[Span]]:
    """Utterances in the recordings without labels, for a look by eye."""
    return {
        path.name: [
            (round(one.onset, 2), round(one.end, 2))
            for one in run(Settings(), decode(path)).utterances
        ]
        for path in sorted((data / "sound" / "misc").glob("*.flac"))
    }


if __name__ == "__main__":
    main()
