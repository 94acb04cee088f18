"""Choosing a device and estimating losses; recording is in test_virtual_microphone.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.errors import AudioDeviceError
from realtime_ser.io.microphone import InputDevice, LossEstimator, find_device

DEVICES = tuple(
    InputDevice(index, name, "ALSA", 2, 48_000, is_default=name == "default")
    for index, name in (
        (0, "HDA Intel PCH: ALC257 Analog (hw:0,0)"),
        (3, "USB PnP Audio: Headset (hw:1,0)"),
        (4, "USB PnP Audio: Table (hw:2,0)"),
        (7, "pulse"),
        (8, "pulse monitor"),
        (9, "default"),
    )
)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 9), (3, 3), ("3", 3), (" 4 ", 4), ("headset", 3), ("hda intel", 0), ("PULSE", 7)],
)
def test_a_device_is_found(wanted: str | int | None, index: int) -> None:
    assert find_device(wanted, DEVICES).index == index


def test_an_ambiguous_name_lists_what_it_matches() -> None:
    with pytest.raises(AudioDeviceError) as caught:
        find_device("usb", DEVICES)
    assert str(caught.value) == (
        "2 input devices match 'usb': 3 'USB PnP Audio: Headset (hw:1,0)', "
        "4 'USB PnP Audio: Table (hw:2,0)'; give more of the name, or the index"
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("kazoo", r"no input device is called 'kazoo'; there are 0 'HDA .*, 9 'default'$"),
        (5, r"no input device has index 5; there are 0 "),
        ("12", r"no input device has index 12"),
    ],
)
def test_an_unknown_device_lists_all(wanted: str | int, message: str) -> None:
    with pytest.raises(AudioDeviceError, match=message):
        find_device(wanted, DEVICES)


def test_without_a_default_the_user_is_asked_to_choose() -> None:
    with pytest.raises(AudioDeviceError, match="choose one with --device"):
        find_device(None, DEVICES[:3])


@pytest.mark.parametrize("wanted", [None, 0, "usb"])
def test_a_machine_without_microphones(wanted: str | int | None) -> None:
    with pytest.raises(AudioDeviceError, match="no microphone found"):
        find_device(wanted, ())


def test_without_portaudio_the_error_names_the_package() -> None:
    script = (
        "import ctypes.util\n"
        "ctypes.util.find_library = lambda name: None\n"
        "from realtime_ser.errors import AudioDeviceError\n"
        "from realtime_ser.io.microphone import list_devices\n"
        "try: list_devices()\n"
        "except AudioDeviceError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert "PortAudio library not found" in said
    assert "apt-get install libportaudio2" in said


RATE_HZ = 48_000
BLOCK = 960


@given(
    late_ms=st.lists(st.floats(0, 40), min_size=20, max_size=60),
    lost_s=st.floats(0, 3),
    at=st.integers(1, 19),
    drift=st.floats(-2e-4, 2e-4),
)
def test_a_loss_is_estimated_to_the_lateness_of_callbacks(
    late_ms: list[float], lost_s: float, at: int, drift: float
) -> None:
    estimator = LossEstimator(RATE_HZ)
    losses = []
    for number, late in enumerate(late_ms):
        captured_s = (number + 1) * BLOCK / RATE_HZ * (1 + drift) + (lost_s if number >= at else 0)
        losses.append(estimator.arrived(captured_s + late / 1000, BLOCK, overrun=number == at))
    assert losses[:at] == [0] * at
    assert losses[at + 1 :] == [0] * (len(late_ms) - at - 1)
    assert losses[at] == pytest.approx(lost_s * RATE_HZ, abs=0.041 * RATE_HZ)
    assert losses[at] >= 0


def test_late_blocks_are_no_loss_unless_the_device_says_so() -> None:
    estimator = LossEstimator(RATE_HZ)
    assert [estimator.arrived(s, BLOCK, overrun=False) for s in (0.0, 0.5, 3.0, 20.0)] == [0] * 4


def test_an_overrun_before_the_first_block_loses_nothing_of_the_stream() -> None:
    assert LossEstimator(RATE_HZ).arrived(5.0, BLOCK, overrun=True) == 0
