"""Another melody and rhythm: what changes in a spectrogram, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

import torch
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser_export.transcriber.acting import (
    HIGHEST_HZ,
    LOWEST_HZ,
    Acting,
    hurried,
    ripples_of_pitches,
    smoothing,
    sung,
    voicing,
)
from realtime_ser_export.transcriber.log_mel import BANDS, feature_extractor, log_mel

RATE_HZ = 16_000


def voice(pitch_hz: float) -> torch.Tensor:
    """[frames, bands] of silence, a second of a tone with a formant at 700 Hz, and silence."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    harmonics = np.arange(1, int(4000 / pitch_hz))
    strengths = np.exp(-(((harmonics * pitch_hz - 700) / 600) ** 2))
    tone = (strengths[:, None] * np.cos(2 * np.pi * np.outer(harmonics * pitch_hz, time_s))).sum(0)
    sound = np.concatenate([np.zeros(RATE_HZ // 2), 0.1 * tone, np.zeros(RATE_HZ // 2)])
    sound += np.random.default_rng(1).normal(0, 1e-4, len(sound))
    return torch.from_numpy(log_mel(feature_extractor(), sound.astype(np.float32)))


@pytest.fixture(scope="module")
def ripples() -> torch.Tensor:
    extractor = feature_extractor()
    return ripples_of_pitches(lambda tone: torch.from_numpy(log_mel(extractor, tone)).mean(0))


def place(pitch_hz: float, count: int) -> int:
    return int(np.abs(np.geomspace(LOWEST_HZ, HIGHEST_HZ, count) - pitch_hz).argmin())


def test_the_harmonics_move_and_the_vowel_stays(ripples: torch.Tensor) -> None:
    features = voice(130.0)[None]
    lengths = torch.tensor([features.shape[1]])
    rules = Acting(1.0, (330.0, 331.0), 0.0, 0.0)
    moved = sung(features, lengths, ripples, rules, np.random.default_rng(0))
    middle = slice(40, 60)
    before, after = features[0, middle].mean(0), moved[0, middle].mean(0)
    slow = smoothing(BANDS)

    def likeness(frame: torch.Tensor, pitch_hz: float) -> float:
        low = slice(3, 30)  # where harmonics stand apart
        row = ripples[place(pitch_hz, len(ripples)), low]
        return float(torch.corrcoef(torch.stack([(frame - frame @ slow)[low], row]))[0, 1])

    assert likeness(before, 130) > 0.5 > likeness(before, 330)
    assert likeness(after, 330) > 0.8 > likeness(after, 130)
    assert torch.corrcoef(torch.stack([before @ slow, after @ slow]))[0, 1] > 0.98
    assert torch.allclose(moved[0, :20], features[0, :20], atol=0.05)  # nobody speaks there


def test_whispered_harmonics_are_gone(ripples: torch.Tensor) -> None:
    features = voice(200.0)[None]
    lengths = torch.tensor([features.shape[1]])
    rules = Acting(1.0, (330.0, 331.0), 0.0, 1.0)
    spoken = features[0, 50]
    whisper = sung(features, lengths, ripples, rules, np.random.default_rng(0))[0, 50]
    slow = smoothing(BANDS)
    assert (whisper - whisper @ slow).std() < 0.5 * (spoken - spoken @ slow).std()


def test_only_voices_are_given_a_melody(ripples: torch.Tensor) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE_HZ).astype(np.float32)
    features = torch.from_numpy(log_mel(feature_extractor(), noise))[None]
    lengths = torch.tensor([features.shape[1]])
    assert voicing(features, lengths).max() < 0.1
    spoken = voicing(voice(200.0)[None], lengths)[0, :, 0]
    assert spoken[30:70].min() > 0.9 > 0.1 > spoken[:20].max()
    never = Acting(melody_probability=0.0)
    assert torch.equal(sung(features, lengths, ripples, never, np.random.default_rng(0)), features)


def test_what_is_behind_the_end_of_a_clip_changes_nothing() -> None:
    features = voice(200.0)
    longer = torch.nn.functional.pad(features, (0, 0, 0, 200), value=-1.5)
    lengths = torch.tensor([len(features)])
    alone, padded = voicing(features[None], lengths), voicing(longer[None], lengths)
    assert torch.allclose(alone, padded[:, : len(features)])


@given(st.integers(0, 10_000), st.integers(8, 300))
def test_a_rhythm_keeps_the_order_the_length_and_the_place_of_the_speech(
    seed: int, count: int
) -> None:
    frames = np.repeat(np.arange(count, dtype=np.float32)[:, None], 3, axis=1)
    speech = (count // 4, count - count // 8)
    rules = Acting(rhythm_probability=1.0)
    out, (first, last) = hurried(frames, speech, rules, np.random.default_rng(seed))
    assert out.shape == frames.shape
    assert out.dtype == np.float32
    assert np.all(np.diff(out[:, 0]) >= 0)
    assert 0 <= first < last <= count
    # rounding to whole frames, of which one may last as long as several
    assert abs(float(np.interp(first, np.arange(count), out[:, 0])) - speech[0]) < 3
    assert abs(float(np.interp(last, np.arange(count), out[:, 0])) - speech[1]) < 3


def test_a_still_reader_is_left_alone() -> None:
    frames = np.zeros((20, BANDS), np.float32)
    still = Acting().eased(0.0)
    out, speech = hurried(frames, (3, 9), still, np.random.default_rng(0))
    assert out is frames
    assert speech == (3, 9)
