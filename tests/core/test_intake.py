from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_ser.core.intake import AudioIntake
from realtime_ser.core.pcm import ENCODINGS, PcmDecoder, to_int16, to_mono
from realtime_ser.errors import AudioUnsupportedError
from realtime_ser.types import AudioChunk


def tone(rate_hz: int, seconds: float, hertz: float = 440) -> np.ndarray:
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def joined(chunks: list[AudioChunk]) -> np.ndarray:
    for before, after in itertools.pairwise(chunks):
        assert after.start == before.end
    return np.concatenate([chunk.samples for chunk in chunks])


@settings(max_examples=20)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 44100, 48000, 96000]),
    cuts=st.lists(st.integers(0, 9000), max_size=20),
)
def test_resampling_does_not_depend_on_chunking(rate: int, cuts: list[int]) -> None:
    sound = tone(rate, 0.3)
    whole = AudioIntake(rate)
    expected = joined([*whole.push(sound), *whole.flush()])
    pieces = AudioIntake(rate)
    chunks: list[AudioChunk] = []
    for piece in np.split(sound, sorted(min(cut, len(sound)) for cut in cuts)):
        chunks.extend(pieces.push(piece))
    np.testing.assert_array_equal(joined([*chunks, *pieces.flush()]), expected)
    assert abs(len(expected) - 0.3 * 16000) <= 1


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_a_tone_keeps_its_pitch_place_and_level(rate: int) -> None:
    intake = AudioIntake(rate)
    heard = joined([*intake.push(tone(rate, 1.0)), *intake.flush()]) / 32768
    middle = slice(2000, 14000)
    np.testing.assert_allclose(heard[middle], tone(16000, 1.0)[middle], atol=2e-3)


def test_sixteen_bit_audio_at_16_khz_passes_unchanged() -> None:
    samples = np.arange(-32768, 32768, dtype=np.int16)
    for shaped in (samples, samples[:, None], samples / np.float32(32768)):
        np.testing.assert_array_equal(joined(list(AudioIntake(16000).push(shaped))), samples)


def test_six_channels_at_96_khz_are_mixed_down() -> None:
    sound = np.stack([tone(96000, 0.2)] * 3 + [-tone(96000, 0.2)] * 3, axis=1)
    intake = AudioIntake(96000)
    assert np.abs(joined([*intake.push(sound), *intake.flush()])).max() <= 1


def test_lost_samples_move_the_time_line() -> None:
    intake = AudioIntake(48000)
    first = [*intake.push(tone(48000, 0.1)), *intake.push_lost(4800)]
    second = [*intake.push(tone(48000, 0.1)), *intake.flush()]
    assert first[-1].end == 1600
    assert second[0].start == 3200
    assert list(intake.push_lost(0)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused(bad: float) -> None:
    sound = tone(16000, 0.1)
    sound[77] = bad
    with pytest.raises(AudioUnsupportedError, match="NaN or infinite; repair"):
        list(AudioIntake(16000).push(sound))


@pytest.mark.parametrize("rate", [0, -1, 7999, 192_001])
def test_an_impossible_rate_is_refused(rate: int) -> None:
    with pytest.raises(AudioUnsupportedError, match="use 8000 to 192000"):
        AudioIntake(rate)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([0, 128, 255], np.uint8), [-1, 0, 127 / 128]),
        (np.array([-32768, 16384], np.int16), [-1, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([[1.0, 0.0], [0.5, -0.5]]), [0.5, 0.0]),
    ],
)
def test_every_sample_type_has_its_scale(array: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(to_mono(array), expected)


def test_other_types_and_shapes_are_refused() -> None:
    with pytest.raises(AudioUnsupportedError, match="int64"):
        to_mono(np.zeros(3, np.int64))
    with pytest.raises(AudioUnsupportedError, match="shape"):
        to_mono(np.zeros((2, 2, 2), np.float32))


@given(st.lists(st.floats(-2, 2, width=32)))
def test_int16_clips_and_rounds(values: list[float]) -> None:
    array = np.array(values, np.float32)
    expected = [max(-32768, min(32767, round(float(value) * 32768))) for value in array]
    assert to_int16(array).tolist() == expected


@given(
    encoding=st.sampled_from(ENCODINGS),
    channels=st.integers(1, 6),
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_bytes_may_be_cut_anywhere(
    encoding: str, channels: int, data: bytes, cuts: list[int]
) -> None:
    whole = PcmDecoder(encoding, channels)
    expected = whole.decode(data)
    decoder = PcmDecoder(encoding, channels)
    edges = [0, *sorted(cuts), len(data)]
    parts = [decoder.decode(data[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert expected.shape[1] == channels
    assert decoder.held_bytes == whole.held_bytes


def test_companded_codes_follow_g711() -> None:
    # ITU-T G.711: the extremes, the codes nearest to zero, and one step in the middle
    mulaw = PcmDecoder("mulaw", 1).decode(bytes([0x00, 0x80, 0xFF, 0x7F, 0xE0]))
    assert mulaw[:, 0].tolist() == [-32124, 32124, 0, 0, 372]
    alaw = PcmDecoder("alaw", 1).decode(bytes([0x2A, 0xAA, 0xD5, 0x55]))
    assert alaw[:, 0].tolist() == [-32256, 32256, 8, -8]


def test_an_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(AudioUnsupportedError, match="s16le, f32le, mulaw, alaw"):
        PcmDecoder("mp3", 1)
