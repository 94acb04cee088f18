"""Recording through PortAudio, ALSA and PulseAudio from a microphone that plays our samples."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import soxr
from virtual_microphone import VirtualMicrophone

from realtime_ser.samples import sample_path

RECORD = """
import asyncio, json, sys
import numpy as np
from realtime_ser.errors import AudioDeviceError
from realtime_ser.io.microphone import MicrophoneSource

async def record(path):
    blocks = []
    with MicrophoneSource() as source:
        asyncio.get_running_loop().add_reader(sys.stdin, source.stop)
        async for block in source:
            if not blocks:
                print("recording", flush=True)
            blocks.append(block)
    np.save(path, np.concatenate([block.samples for block in blocks]))
    times = [block.captured_at_s for block in blocks]
    print(json.dumps({
        "rate_hz": source.device.sample_rate_hz,
        "lost": source.lost_samples, "overflows": source.overflows,
        "in_order": times == sorted(times), "seconds": times[-1] - times[0],
        "dtypes": sorted({str(block.samples.dtype) for block in blocks}),
    }))

try:
    asyncio.run(record(sys.argv[1]))
except AudioDeviceError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def decode(path: Path) -> np.ndarray:
    """Float samples at 16 kHz of a sample recording, shape [samples]."""
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)]) / 32_768


def best_match(heard: np.ndarray, played: np.ndarray) -> float:
    """Correlation of `played` with the stretch of `heard` that it fits best; 1 is identical."""
    size = len(heard) + len(played)
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size)), size)[
        : len(heard) - len(played) + 1
    ]
    energy = np.concatenate([[0.0], np.cumsum(np.square(heard))])
    windows = energy[len(played) :] - energy[: -len(played)]
    return float(np.max(products / np.sqrt(windows * np.sum(np.square(played)) + 1e-9)))


def test_what_is_played_is_what_is_recorded(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    recorder = virtual_microphone.python("-c", RECORD, str(tmp_path / "heard.npy"))
    assert recorder.stdout is not None
    assert recorder.stdout.readline() == "recording\n"
    virtual_microphone.play(sample_path("short"))
    said, errors = recorder.communicate("stop\n", timeout=60)
    assert recorder.returncode == 0, errors
    report = json.loads(said)
    assert report["dtypes"] == ["int16"]
    assert report["in_order"]
    assert (report["lost"], report["overflows"]) == (0, 0)
    heard = np.load(tmp_path / "heard.npy") / 32_768
    # Compared at the device's rate, where the grid of lags is fine enough for a sharp match. paplay
    # returns when the sink has the last of it, so the tail may be missing: 2.5 s of the 2.9.
    played = soxr.resample(decode(sample_path("short"))[:40_000], 16_000, report["rate_hz"])
    assert best_match(heard, played) > 0.99


def test_a_device_that_goes_away_is_an_error(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    recorder = virtual_microphone.python("-c", RECORD, str(tmp_path / "heard.npy"))
    assert recorder.stdout is not None
    assert recorder.stdout.readline() == "recording\n"
    virtual_microphone.unplug()
    assert recorder.wait(timeout=60) == 5
    # PortAudio over PulseAudio mostly says so at once, and sometimes hangs (one time in twenty
    # here): then it is the silence that tells
    said = recorder.stdout.read()
    assert said.startswith(("'default' stopped giving audio", "no audio from 'default' for 2 s"))


FALL_BEHIND = """
import asyncio, json
from realtime_ser.io.microphone import MicrophoneSource, list_devices

async def main():
    assert "default" in [device.name for device in list_devices()]
    with MicrophoneSource("DEFAULT", queue_seconds=0.1) as source:
        reader = aiter(source)
        blocks = [await anext(reader)]
        while source.lost_samples < source.device.sample_rate_hz // 2:
            await asyncio.sleep(0.05)
        blocks += [await anext(reader) for _ in range(10)]
        source.stop()
        blocks += [block async for block in reader]
    losses = [block.lost_samples for block in blocks if block.lost_samples]
    print(json.dumps([source.overflows, source.lost_samples, losses]))

asyncio.run(main())
"""


def test_a_reader_that_falls_behind_is_told_exactly_what_it_missed(
    virtual_microphone: VirtualMicrophone,
) -> None:
    recorder = virtual_microphone.python("-c", FALL_BEHIND)
    said, errors = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, errors
    overflows, lost, losses = json.loads(said)
    assert overflows == len(losses) >= 1
    assert lost == sum(losses) > 20_000
