from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from media import CODECS, write_media, write_wav

from realtime_ser.core.intake import AudioIntake
from realtime_ser.errors import AudioUnsupportedError
from realtime_ser.io.file import AudioFile, paced
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.samples import sample_path


def tone(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = 0.4 * np.sin(2 * np.pi * 440 * time).astype(np.float32)
    return np.stack([wave] * channels, axis=1)


def at_16_khz(path: Path) -> np.ndarray:
    blocks = list(AudioFile(path))
    intake = AudioIntake(blocks[0].sample_rate_hz)
    chunks = [chunk for block in blocks for chunk in intake.push(block.samples)]
    return np.concatenate([chunk.samples for chunk in [*chunks, *intake.flush()]]) / 32768


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize(("rate_hz", "channels"), [(48000, 1), (48000, 2)])
def test_every_common_format_sounds_the_same(
    tmp_path: Path, suffix: str, rate_hz: int, channels: int
) -> None:
    sound = tone(1.5, rate_hz, channels)
    path = write_media(tmp_path / f"a{suffix}", sound, rate_hz, video=suffix in (".mp4", ".mkv"))
    heard = at_16_khz(path)
    assert len(heard) == pytest.approx(24000, abs=1600)  # encoders pad
    middle = heard[6000:18000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 16000 / len(middle) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.1)


def test_six_channels_at_96_khz(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.flac", tone(0.5, 96000, 6), 96000)
    assert len(at_16_khz(path)) == pytest.approx(8000, abs=2)


def test_wav_samples_come_unchanged(tmp_path: Path) -> None:
    samples = np.arange(-3000, 3000, dtype=np.int16)
    blocks = list(AudioFile(write_wav(tmp_path / "a.wav", samples)))
    np.testing.assert_array_equal(np.concatenate([b.samples for b in blocks])[:, 0], samples)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.wav", b"this is no audio at all, only words" * 20, "not audio that can be decoded"),
        ("empty.wav", b"", "not audio that can be decoded"),
        ("noise.mp3", bytes(range(256)) * 8, "not audio|holds no"),
    ],
)
def test_what_is_not_audio_is_said_to_be_none(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioUnsupportedError, match=message) as caught:
        list(AudioFile(path))
    assert str(path) in str(caught.value)


def test_missing_files_folders_and_mute_videos(tmp_path: Path) -> None:
    with pytest.raises(AudioUnsupportedError, match=r"no file .*nowhere.wav; check the path"):
        AudioFile(tmp_path / "nowhere.wav")
    with pytest.raises(AudioUnsupportedError, match="is a folder"):
        AudioFile(tmp_path)
    from av import VideoFrame
    from av import open as open_media

    with open_media(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        picture = VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with pytest.raises(AudioUnsupportedError, match="holds no sound"):
        AudioFile(tmp_path / "mute.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros(100, np.int16))
    path.chmod(0)
    with pytest.raises(AudioUnsupportedError, match="no permission"):
        AudioFile(path)


def test_a_wav_without_samples(tmp_path: Path) -> None:
    with pytest.raises(AudioUnsupportedError, match="holds no samples"):
        list(AudioFile(write_wav(tmp_path / "a.wav", np.zeros(0, np.int16))))


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_file_cut_short_gives_what_it_has_and_says_so(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (160_000, 1)).astype(np.float32)
    whole = write_media(tmp_path / f"whole{suffix}", noise, 16000)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2 + 1])
    heard = 0
    with pytest.raises(AudioUnsupportedError, match=r"cut short|damaged"):
        for block in AudioFile(cut):
            heard += len(block.samples)
    assert heard == pytest.approx(80_000, abs=5000)


def test_a_wav_saved_from_a_stream_has_no_length_and_is_not_cut_short(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.ones(16000, np.int16))
    header = bytearray(path.read_bytes())
    header[4:8] = header[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(header))
    assert sum(len(block.samples) for block in AudioFile(path)) == 16000


def test_the_declared_length_is_known_before_decoding() -> None:
    assert AudioFile(sample_path("demo")).declared_s == pytest.approx(34.25, abs=1)


def test_paced_blocks_are_the_same_audio_in_small_pieces_with_their_times() -> None:
    samples = np.arange(1000, dtype=np.int16)[:, np.newaxis]

    async def collect() -> list[AudioBlock]:
        return [block async for block in paced([AudioBlock(samples, 16000)])]

    pieces = asyncio.run(collect())
    assert [len(piece.samples) for piece in pieces] == [320, 320, 320, 40]
    np.testing.assert_array_equal(np.concatenate([p.samples for p in pieces]), samples)
    times = [piece.captured_at_s for piece in pieces]
    np.testing.assert_allclose(np.diff(times), [0.02, 0.02, 0.0025])  # type: ignore[arg-type]
