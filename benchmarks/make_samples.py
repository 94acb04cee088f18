"""Make the sample recordings of `realtime_ser/samples`: speech that nobody has rights in.

    python benchmarks/make_samples.py [FOLDER]

Needs `espeak-ng` (Debian package of that name) and the packages that realtime-ser itself needs.
The same eSpeak NG and FFmpeg versions give the same bytes; `samples.json` names the eSpeak NG.

Each utterance is one sentence without commas, so that eSpeak makes no pause that a hangover could
take for its end, and `samples.json` can state where speech is. Start and end are those
of the audible part: the first and last 10 ms that come within 40 dB of the utterance's loudest
10 ms. Room noise lies under everything, because digital silence between utterances would flatter
a speech detector; the bursts (a knock, a hiss, a fan) must not become utterances.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr
from numpy.typing import NDArray

RATE_HZ = 16_000
ROOM_DBFS = -60.0
SEED = 20_240

Signal = NDArray[np.float64]
"""Mono at 16 kHz, shape [samples], full scale 1."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance, and the silence before it.

    Attributes:
        voice: eSpeak NG language and variant.
        pitch: 0..99, eSpeak's own scale; 50 is its default.
        words_per_minute: eSpeak's default is 175.
        level_dbfs: RMS of the audible part.
        pause_s: silence before it.
    """

    text: str
    voice: str
    pitch: int
    words_per_minute: int
    level_dbfs: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class Noise:
    """A sound that is no speech, and the silence before it."""

    kind: str
    duration_s: float
    level_dbfs: float
    pause_s: float


DEMO: tuple[Spoken | Noise, ...] = (
    Spoken("Good morning and welcome to the show", "en-us+m3", 45, 165, -24, 1.0),
    Spoken("I can't believe that we actually won the game!", "en-us+f3", 80, 200, -19, 1.3),
    Noise("knock", 0.18, -14, 0.9),
    Spoken("I miss her so much and nothing feels right", "en-gb+f2", 25, 120, -31, 0.9),
    Spoken("Stop shouting at me right now!", "en-us+m7", 65, 215, -18, 2.4),
    Spoken("What is that strange noise behind the door?", "en-gb-scotland+m2", 70, 190, -27, 0.8),
    Noise("hiss", 1.1, -30, 1.2),
    Spoken("This old milk smells absolutely disgusting!", "en-us+m1", 30, 150, -25, 1.0),
    Spoken("Oh wow I did not expect that at all!", "en-us+f4", 90, 185, -19, 1.6),
    Spoken("Goodbye and see you tomorrow", "en-gb+m3", 50, 160, -24, 3.0),
)
DEMO_TAIL_S = 1.5

SHORT: tuple[Spoken | Noise, ...] = (
    Spoken("The kitchen light is on again", "en-us+f3", 50, 165, -22, 0.5),
)
SHORT_TAIL_S = 0.8

NOISE: tuple[Spoken | Noise, ...] = (
    Noise("fan", 1.6, -26, 0.3),
    Noise("knock", 0.18, -14, 0.4),
    Noise("knock", 0.18, -16, 0.3),
    Noise("hiss", 0.8, -24, 0.5),
)
NOISE_TAIL_S = 0.5

SILENCE_S = 3.0


def decibels(value: float) -> float:
    """dB to a factor on amplitude."""
    return float(10 ** (value / 20))


def root_mean_square(signal: Signal) -> float:
    """RMS of `signal`."""
    return float(np.sqrt(np.mean(np.square(signal))))


def speak(spoken: Spoken) -> Signal:
    """What eSpeak NG says, cut to its audible part, at its level."""
    command = [
        "espeak-ng", "--stdout",
        "-v", spoken.voice,
        "-p", str(spoken.pitch),
        "-s", str(spoken.words_per_minute),
        spoken.text,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True)
    with wave.open(io.BytesIO(done.stdout)) as reader:
        rate_hz = reader.getframerate()
        # --stdout cannot seek back to write the length: take what is there, not what it says.
        pcm = np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
    signal = soxr.resample(pcm / 32_768, rate_hz, RATE_HZ)
    step = RATE_HZ // 100
    blocks = np.array([root_mean_square(signal[i : i + step]) for i in range(0, len(signal), step)])
    audible = np.flatnonzero(blocks > blocks.max() * decibels(-40))
    signal = signal[audible[0] * step : (audible[-1] + 1) * step]
    return signal * (decibels(spoken.level_dbfs) / root_mean_square(signal))


def coloured(generator: np.random.Generator, samples: int, tilt: float) -> Signal:
    """Gaussian noise whose amplitude spectrum falls as frequency ** -tilt, RMS 1."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    frequency_hz = np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 40.0)
    signal = np.fft.irfft(spectrum * frequency_hz**-tilt, samples)
    return signal / root_mean_square(signal)


def make_noise(noise: Noise, generator: np.random.Generator) -> Signal:
    """A knock (decaying low thump), a hiss (white) or a fan (steady, low)."""
    samples = round(noise.duration_s * RATE_HZ)
    time_s = np.arange(samples) / RATE_HZ
    if noise.kind == "knock":
        signal = coloured(generator, samples, 1.0) * np.exp(-time_s / 0.03)
        peak = decibels(noise.level_dbfs + 9)
        return signal * (peak / np.abs(signal).max())
    signal = coloured(generator, samples, {"hiss": 0.0, "fan": 0.8}[noise.kind])
    fade = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.05)
    return signal * fade * decibels(noise.level_dbfs)


def compose(
    score: tuple[Spoken | Noise, ...], tail_s: float, generator: np.random.Generator
) -> tuple[Signal, dict[str, object]]:
    """Lay `score` on a time line with room noise under it.

    Returns:
        The signal, and what is where in it.
    """
    parts: list[Signal] = []
    placed: list[tuple[Spoken | Noise, int, int]] = []
    position = 0
    for item in score:
        sound = speak(item) if isinstance(item, Spoken) else make_noise(item, generator)
        pause = np.zeros(round(item.pause_s * RATE_HZ))
        parts += [pause, sound]
        placed.append((item, position + len(pause), position + len(pause) + len(sound)))
        position += len(pause) + len(sound)
    parts.append(np.zeros(round(tail_s * RATE_HZ)))
    signal = np.concatenate(parts)
    signal = signal + coloured(generator, len(signal), 0.5) * decibels(ROOM_DBFS)

    def times(start: int, end: int) -> dict[str, float]:
        return {"start_s": round(start / RATE_HZ, 3), "end_s": round(end / RATE_HZ, 3)}

    return signal, {
        "duration_s": round(len(signal) / RATE_HZ, 3),
        "utterances": [
            times(start, end) | {"text": item.text}
            for item, start, end in placed
            if isinstance(item, Spoken)
        ],
        "noises": [
            times(start, end) | {"kind": item.kind}
            for item, start, end in placed
            if isinstance(item, Noise)
        ],
    }


def write_flac(path: Path, signal: Signal) -> None:
    """Write `signal` as 16-bit mono FLAC."""
    pcm = np.round(signal * 32_767).astype(np.int16)
    if np.abs(signal).max() >= 1:
        raise ValueError(f"{path.name} would clip; lower a level_dbfs")
    with av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def main() -> int:
    """Write the recordings and samples.json."""
    default = Path(__file__).resolve().parents[1] / "realtime_ser" / "samples"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder: Path = parser.parse_args().folder
    try:
        said = subprocess.run(
            ["espeak-ng", "--version"], check=True, capture_output=True, text=True
        ).stdout
    except FileNotFoundError:
        print("espeak-ng is missing: apt-get install espeak-ng", file=sys.stderr)
        return 2
    generator = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, object] = {}
    for name, score, tail_s in (
        ("demo.flac", DEMO, DEMO_TAIL_S),
        ("short.flac", SHORT, SHORT_TAIL_S),
        ("silence.flac", (), SILENCE_S),
        ("noise.flac", NOISE, NOISE_TAIL_S),
    ):
        signal, files[name] = compose(score, tail_s, generator)
        write_flac(folder / name, signal)
        size_kb = (folder / name).stat().st_size / 1000
        print(f"{name:13s} {len(signal) / RATE_HZ:6.2f} s  {size_kb:5.0f} kB")
    described = {
        "made_with": said.split("Data at")[0].strip(),
        "sample_rate_hz": RATE_HZ,
        "files": files,
    }
    (folder / "samples.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
