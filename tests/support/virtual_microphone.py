"""A microphone without hardware: a private PulseAudio whose null sink is listened to.

What is played into the sink comes out of its monitor, which is the default source; ALSA's default
device is PulseAudio, and PortAudio finds it there. Nothing of the machine's own sound system is
used or changed. PortAudio reads ALSA's configuration when it is loaded, so whoever records has to
be a process of its own, started with `environment` (or through `python`).

Debian: apt-get install libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]
_INSTALL = "apt-get install libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils"
_START_WITHIN_S = 30.0
_SINK = "virtual"


class VirtualMicrophone:
    """A running sound server; see `running_virtual_microphone`."""

    def __init__(self, server: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
        self._server = server
        self._children: list[subprocess.Popen[str]] = []
        self.environment = environment

    def play(self, recording: Path) -> None:
        """Play `recording` into the microphone; returns when all of it was played."""
        subprocess.run(
            ["paplay", f"--device={_SINK}", str(recording)],
            env=self.environment,
            check=True,
            timeout=120,
        )

    def python(self, *arguments: str) -> subprocess.Popen[str]:
        """Start this Python with `arguments` where it hears the microphone; all pipes are text.

        What still runs when the test is over is killed.
        """
        child = subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._children.append(child)
        return child

    def unplug(self) -> None:
        """End the sound server, as if the device were pulled out."""
        self._server.kill()
        self._server.wait()

    def close(self) -> None:
        """End everything that was started."""
        for child in self._children:
            child.kill()
            with child:
                pass
        self.unplug()


@contextmanager
def running_virtual_microphone() -> Iterator[VirtualMicrophone]:
    """Start a virtual microphone; skip the test where the parts are missing (fail under CI)."""
    _require_parts()
    # Not tmp_path: a socket's path must stay below 108 characters.
    with tempfile.TemporaryDirectory(prefix="microphone-") as folder:
        environment = _environment(Path(folder))
        server = subprocess.Popen(
            [
                "pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1",
                "--realtime=no", "--high-priority=no", "--log-level=error",
                "-L", "module-native-protocol-unix",
                "-L", f"module-null-sink sink_name={_SINK} rate=48000 channels=1",
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        microphone = VirtualMicrophone(server, environment)
        try:
            _wait_until_it_answers(server, environment)
            yield microphone
        finally:
            microphone.close()


def _environment(home: Path) -> dict[str, str]:
    (home / "run").mkdir(mode=0o700)
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    foreign = ("PULSE_", "XDG_", "DBUS_", "DISPLAY", "ALSA_", "PIPEWIRE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH")]))
    return kept | {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "PYTHONPATH": path,
    }


def _wait_until_it_answers(server: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    ask = ["pactl", "set-default-source", f"{_SINK}.monitor"]
    deadline_s = time.monotonic() + _START_WITHIN_S
    while subprocess.run(ask, env=environment, capture_output=True, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline_s:
            pytest.fail(f"PulseAudio does not answer (exit status {server.poll()})")
        time.sleep(0.02)


def _require_parts() -> None:
    missing = [
        program for program in ("pulseaudio", "pactl", "paplay") if not shutil.which(program)
    ]
    if find_library("portaudio") is None:
        missing.append("libportaudio2")
    if not any(Path("/usr").glob("lib*/**/alsa-lib/libasound_module_pcm_pulse.so")):
        missing.append("ALSA's PulseAudio plugin")
    if not missing:
        return
    message = f"the virtual microphone needs {', '.join(missing)}: {_INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
