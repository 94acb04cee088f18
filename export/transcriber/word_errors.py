"""Word error rates of a written transcriber: the folder, loaded and asked as the product does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from realtime_ser.models.text_gates import Decoding, drop_reason
from realtime_ser.models.transcriber import Transcriber, load_transcriber
from realtime_ser.models.transcriber_profile import PROFILE_FILE, read_profile

from ..speech.audio_cache import AudioCache
from ..speech.noises import NoiseBank, mix_at
from ..training.corpora import SAMPLE_RATE_HZ
from .small_whisper import write_profile
from .transcripts import Recording, plain_words

NOISE_RATIO_DB = 10.0
_NOISE_SEED = 99  # other sounds than those of training, whose seed is the configuration's
_SECONDS_OF_PIECE = 2.5
_DEV_RECORDINGS = 600

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said, and what was heard of it: the raw decoding, and whether the gates pass it."""

    text: str
    decoding: Decoding
    passed: bool


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Of some recordings.

    Attributes:
        rate: word error rate of all that was decoded.
        gated_rate: the same after the gates; a dropped text counts as silence.
        dropped: share of the recordings whose text was dropped.
    """

    recordings: int
    rate: float
    gated_rate: float
    dropped: float


def hear(
    transcriber: Transcriber, folder: Path, sounds: Iterable[tuple[str, Sound]]
) -> list[Heard]:
    """Transcribe each of (text, float32 [samples] of full scale 1)."""
    gates = read_profile(folder).gates
    heard = []
    for text, sound in sounds:
        samples = (np.clip(sound, -1, 32767 / 32768) * 32768).astype(np.int16)
        _, decoding = transcriber.decode(samples)
        heard.append(Heard(text, decoding, drop_reason(decoding, gates) is None))
    return heard


def word_errors(heard: Sequence[Heard]) -> WordErrors:
    """The rates over all words of all recordings."""
    said = [plain_words(each.text) for each in heard]
    raw = [plain_words(each.decoding.text) for each in heard]
    gated = [words if each.passed else "" for each, words in zip(heard, raw, strict=True)]
    return WordErrors(
        recordings=len(heard),
        rate=float(jiwer.wer(said, raw)),
        gated_rate=float(jiwer.wer(said, gated)),
        dropped=1 - sum(each.passed for each in heard) / len(heard),
    )


def sounds_of(
    recordings: Sequence[Recording], audio: AudioCache, indices: Iterable[int], noisy: bool = False
) -> Iterable[tuple[str, Sound]]:
    """Text and sound of recordings, cut as the product cuts them; with 10 dB noise if `noisy`."""
    bank = NoiseBank(_NOISE_SEED, 40) if noisy else None
    for index in indices:
        sound = audio.utterance(int(index))
        if bank is not None:
            rng = np.random.default_rng((_NOISE_SEED, int(index)))
            noise = bank.draw(min(len(sound), 4 * SAMPLE_RATE_HZ), rng)
            sound = mix_at(sound, noise, NOISE_RATIO_DB)
        yield recordings[int(index)].text, sound


def read_sound(path: Path) -> Sound:
    """Any file of libsndfile as float32 [samples] at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    sound: Sound = soxr.resample(samples[:, 0], rate, SAMPLE_RATE_HZ)
    return sound


def pieces(sound: Sound) -> Sound:
    """The middle 2.5 s: unknown speech that is as long as a known sentence."""
    size = int(_SECONDS_OF_PIECE * SAMPLE_RATE_HZ)
    start = max(0, (len(sound) - size) // 2)
    return sound[start : start + size]


def dropped_share(heard: Sequence[Heard]) -> float:
    """Of how many the text was dropped."""
    return 1 - sum(each.passed for each in heard) / len(heard)


def choose_gates(
    folder: Path, recordings: Sequence[Recording], audio: AudioCache, keep: float = 0.98
) -> dict[str, float]:
    """The log probabilities, of the mean and of each token, under which to drop texts.

    Of what was heard right on dev, clean and noisy, they keep `keep`. They share what may be lost
    such that the most of the unknown speech on dev is dropped.
    """
    # So low that the token probabilities are fetched and nothing is dropped.
    profile = json.loads((folder / PROFILE_FILE).read_text(encoding="utf-8"))
    write_profile(folder, profile | {"gates": {"min_token_logprob": -1e9}})
    transcriber = load_transcriber(str(folder), threads=1)
    write_profile(folder, profile)

    def heard(known: bool) -> Iterator[tuple[Heard, tuple[float, float]]]:
        dev = [i for i, r in enumerate(recordings) if r.split == "dev" and bool(r.text) == known]
        dev = dev[:: max(1, len(dev) // _DEV_RECORDINGS)]
        for noisy in (False, True):
            for each in hear(transcriber, folder, sounds_of(recordings, audio, dev, noisy)):
                decoding = each.decoding
                if decoding.least_logprob is not None and plain_words(decoding.text):
                    yield each, (decoding.avg_logprob, decoding.least_logprob)

    right = np.array(
        [
            logprobs
            for each, logprobs in heard(known=True)
            if plain_words(each.text) == plain_words(each.decoding.text)
        ]
    )
    if not len(right):
        return {}
    wrong = np.array([logprobs for _, logprobs in heard(known=False)]).reshape(-1, 2)
    pairs = [gates_that_keep(right, keep, share) for share in np.linspace(0, 1, 6)]
    mean, token = max(pairs, key=lambda pair: int((wrong < pair).any(axis=1).sum()))
    return {"min_avg_logprob": mean, "min_token_logprob": token}


def gates_that_keep(right: NDArray[np.float64], keep: float, share: float) -> tuple[float, float]:
    """Lower bounds of the columns of [n, 2]; the first may cost `share` of what may be lost."""
    mean = float(np.quantile(right[:, 0], share * (1 - keep)))
    left = right[right[:, 0] >= mean, 1]
    token = float(np.quantile(left, max(0.0, 1 - keep * len(right) / len(left))))
    # Rounded down, so that rounding keeps.
    return math.floor(mean * 100) / 100, math.floor(token * 100) / 100


def measure(
    folder: Path, recordings: Sequence[Recording], audio: AudioCache, split: str, sound: Path | None
) -> dict[str, object]:
    """Word errors of each corpus, clean and noisy, and what becomes of unknown sounds.

    `sound` is a folder with read_speech/ and noise/, whose recordings nobody trained on.
    """
    transcriber = load_transcriber(str(folder), threads=1)
    figures: dict[str, object] = {}
    corpora = dict.fromkeys(each.corpus for each in recordings if each.text)
    for corpus in corpora:
        chosen = [
            i
            for i, each in enumerate(recordings)
            if each.corpus == corpus and each.split == split and each.text
        ]
        for noisy in (False, True) if chosen else ():
            errors = word_errors(
                hear(transcriber, folder, sounds_of(recordings, audio, chosen, noisy))
            )
            figures[f"{corpus}{' 10 dB noise' if noisy else ''}"] = errors
    if sound is not None:
        speech = [read_sound(path) for path in sorted((sound / "read_speech").iterdir())]
        noises = [read_sound(path) for path in sorted((sound / "noise").iterdir())]
        for name, sounds in (
            ("unknown sentences", speech),
            ("unknown pieces of 2.5 s", [pieces(each) for each in speech]),
            ("noise", noises),
            ("noise of 2.5 s", [pieces(each) for each in noises]),
        ):
            figures[name] = dropped_share(
                hear(transcriber, folder, (("", each) for each in sounds))
            )
    return figures


def table(figures: dict[str, object]) -> Iterator[str]:
    """The figures in columns."""
    yield f"{'':<28}{'clips':>6}{'WER':>8}{'gated':>8}{'dropped':>9}"
    for name, value in figures.items():
        if isinstance(value, WordErrors):
            yield (
                f"{name:<28}{value.recordings:>6}{value.rate:>8.1%}{value.gated_rate:>8.1%}"
                f"{value.dropped:>9.1%}"
            )
        else:
            yield f"{name:<28}{'':>6}{'':>8}{'':>8}{value:>9.1%}"


def in_words(figures: dict[str, object]) -> Iterator[str]:
    """The figures as lines for `realtime_ser.json`."""
    for name, value in figures.items():
        if isinstance(value, WordErrors):
            yield (
                f"{name}: word error rate {value.rate:.1%} on {value.recordings} recordings of "
                f"held-out speakers, {value.gated_rate:.1%} with dropped ones as errors"
            )
        else:
            yield f"{name}: text dropped for {value:.1%}"


def write_figures(figures: dict[str, object], path: Path) -> None:
    """As JSON, four digits."""
    plain = {
        name: {key: round(getattr(value, key), 4) for key in value.__slots__}
        if isinstance(value, WordErrors)
        else round(float(value), 4)  # type: ignore[arg-type]
        for name, value in figures.items()
    }
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
