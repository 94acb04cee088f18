"""Microphones, through PortAudio (sounddevice).

Audio is handed on as the device gives it: at its own sample rate, first channel, int16. The core
resamples. Not a downmix, because two microphones a hand apart comb-filter each other; a sound
server (PulseAudio, PipeWire) that is asked for one channel mixes by its own rules.

PortAudio calls back on a thread of its own. That thread copies the block, stamps it and puts it
into a bounded queue; when the reader falls behind, new blocks are dropped and counted, so that
memory stays bounded and the time line stays true.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from realtime_ser.errors import AudioDeviceError
from realtime_ser.io.level import FLOOR_DBFS, level_dbfs
from realtime_ser.runtime.ports import AudioBlock

_BLOCK_S = 0.02
_DEVICE_BUFFER_S = 0.1
"""How long our callback may be held up before the device itself loses audio. It costs one block
of delay: with 0.04 s blocks come every 20 ms, with 0.1 s two of them every 40 ms."""

_FIRST_AUDIO_WITHIN_S = 5.0
"""Bluetooth headsets and an idle PulseAudio null sink need up to about two seconds."""
_AUDIO_WITHIN_S = 2.0
_WATCH_INTERVAL_S = 0.25
_CLOSE_WITHIN_S = 1.0

_SEE_LIST = "see `realtime-ser listen --list-devices`"


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that can record.

    Attributes:
        index: PortAudio's number; it changes when devices come and go, the name does not.
        host_api: the sound system through which it is reached, e.g. "ALSA".
        channels: how many it has.
        sample_rate_hz: its native rate.
        is_default: True for the one that is used when none is named.
    """

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate_hz: int
    is_default: bool


def list_devices() -> list[InputDevice]:
    """Every device that can record, as PortAudio saw them when it was first used.

    Raises:
        AudioDeviceError: there is no PortAudio.
    """
    sounddevice = _sounddevice()
    apis = sounddevice.query_hostapis()
    default = sounddevice.default.device[0]
    return [
        InputDevice(
            index=index,
            name=device["name"],
            host_api=apis[device["hostapi"]]["name"],
            channels=device["max_input_channels"],
            sample_rate_hz=round(device["default_samplerate"]),
            is_default=index == default,
        )
        for index, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]


def find_device(wanted: str | int | None, devices: Sequence[InputDevice]) -> InputDevice:
    """The one of `devices` that `wanted` means.

    Args:
        wanted: None for the default; an index, also as text; a name, or a part of one, in any
            case. A whole name wins over parts of others.

    Raises:
        AudioDeviceError: none or several match; the message lists them.
    """
    if not devices:
        raise AudioDeviceError(
            "no microphone found; connect one, and check that PulseAudio or PipeWire runs"
        )
    if isinstance(wanted, str) and wanted.strip().isdecimal():
        wanted = int(wanted)
    if wanted is None:
        matches = [device for device in devices if device.is_default]
        missing = f"no default microphone; choose one with --device, {_SEE_LIST}"
    elif isinstance(wanted, int):
        matches = [device for device in devices if device.index == wanted]
        missing = f"no input device has index {wanted}; there are {_names(devices)}"
    else:
        folded = wanted.casefold()
        matches = [device for device in devices if device.name.casefold() == folded] or [
            device for device in devices if folded in device.name.casefold()
        ]
        missing = f"no input device is called {wanted!r}; there are {_names(devices)}"
    if not matches:
        raise AudioDeviceError(missing)
    if len(matches) > 1:
        raise AudioDeviceError(
            f"{len(matches)} input devices match {wanted!r}: {_names(matches)}; "
            "give more of the name, or the index"
        )
    return matches[0]


class LossEstimator:
    """Estimates how much a device lost when it reports an overrun.

    PortAudio says only *that* input was lost. The wall clock and the samples delivered drift
    apart by that much: the shortfall of samples, over its least value of the last seconds (a late
    callback makes it larger for a moment, never smaller), is what is missing, to about a block.
    PortAudio's own capture times are no help: over PulseAudio they were seen 0.46 s off for a
    whole stream.
    """

    _MEMORY_S = 5.0

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._delivered = 0
        self._shortfalls: deque[tuple[float, float]] = deque()

    def arrived(self, at_s: float, samples: int, *, overrun: bool) -> int:
        """Note a block; return how many samples were lost right before it.

        Args:
            at_s: when it arrived, on a monotonic clock.
            samples: its length.
            overrun: the device says that input was lost before it.
        """
        self._delivered += samples
        shortfall = at_s * self._sample_rate_hz - self._delivered
        lost = 0
        if overrun and self._shortfalls:
            lost = max(0, round(shortfall - min(value for _, value in self._shortfalls)))
            self._delivered += lost
            shortfall -= lost
        self._shortfalls.append((at_s, shortfall))
        while self._shortfalls[0][0] < at_s - self._MEMORY_S:
            self._shortfalls.popleft()
        return lost


class MicrophoneSource:
    """Records from one device; iterate over it asynchronously.

        with MicrophoneSource("USB") as source:
            async for block in source:
                ...

    Nothing is opened before `start`, which `with` calls. A source is used once.

    Attributes:
        overflows: how often audio was lost, by the device or because the reader was too slow.
        lost_samples: how much in all, at `device.sample_rate_hz`.
        level_dbfs: RMS level of the latest block.
    """

    def __init__(self, device: str | int | None = None, *, queue_seconds: float = 2.0) -> None:
        """Choose `device` (see `find_device`); keep at most `queue_seconds` unread."""
        self._wanted = device
        self._queue_blocks = max(1, round(queue_seconds / _BLOCK_S))
        self._queue: deque[AudioBlock] = deque()
        self._stream: Any = None
        self._stopping = False
        self._ended = False
        self._heard = False
        self._pending_loss = 0
        self.overflows = 0
        self.lost_samples = 0
        self.level_dbfs = FLOOR_DBFS

    @property
    def device(self) -> InputDevice:
        """The device in use, once started."""
        return self._device

    def start(self) -> None:
        """Open the device. To be called where an event loop runs.

        Raises:
            AudioDeviceError: no PortAudio, no such device, or it cannot be opened.
        """
        sounddevice = _sounddevice()
        self._device = find_device(self._wanted, list_devices())
        self._loss = LossEstimator(self._device.sample_rate_hz)
        self._loop = asyncio.get_running_loop()
        self._arrival = asyncio.Event()
        try:
            self._stream = sounddevice.InputStream(
                device=self._device.index,
                samplerate=self._device.sample_rate_hz,
                channels=1,
                dtype="int16",
                blocksize=round(self._device.sample_rate_hz * _BLOCK_S),
                latency=_DEVICE_BUFFER_S,
                callback=self._receive,
                finished_callback=self._finish,
            )
            self._stream.start()
        except sounddevice.PortAudioError as error:
            self.stop()
            raise AudioDeviceError(
                f"cannot record from {self._device.name!r}: {error}; "
                f"does another program hold it? {_SEE_LIST}"
            ) from error

    def stop(self) -> None:
        """Close the device. What was captured can still be read, then iteration ends."""
        self._stopping = True
        if self._stream is not None:
            stream, self._stream = self._stream, None
            _close(stream)
            self._arrival.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    async def __aiter__(self) -> AsyncIterator[AudioBlock]:
        """The blocks in order: int16 [samples], mono.

        `lost_samples` is exact where our queue was full and estimated where the device overran.
        `captured_at_s` is when the block came from the sound system, right after its last sample
        was captured but for what the device itself delays.

        Raises:
            AudioDeviceError: the device was unplugged, or gives no audio any more.
        """
        patience_s = _FIRST_AUDIO_WITHIN_S
        quiet_s = 0.0
        while True:
            self._arrival.clear()
            while self._queue:
                quiet_s, patience_s = 0.0, _AUDIO_WITHIN_S
                yield self._queue.popleft()
            if self._stopping:
                return
            if self._ended:
                self.stop()
                raise AudioDeviceError(
                    f"{self._device.name!r} stopped giving audio: was it unplugged, or did the "
                    f"sound server end? {_SEE_LIST}"
                )
            # Quiet time is counted in waits, not read from the clock: a loop that was itself held
            # up for seconds must not take that for the device's silence.
            try:
                await asyncio.wait_for(self._arrival.wait(), _WATCH_INTERVAL_S)
            except TimeoutError:
                quiet_s += _WATCH_INTERVAL_S
            if quiet_s >= patience_s:
                self.stop()
                raise AudioDeviceError(
                    f"no audio from {self._device.name!r} for {patience_s:g} s; "
                    f"check the device, or choose another: {_SEE_LIST}"
                )

    def _receive(self, pcm: NDArray[np.int16], samples: int, _times: Any, status: Any) -> None:
        """PortAudio's callback, on its thread: `pcm` is int16 [samples, 1] and only lent."""
        now_s = time.perf_counter()
        # Some devices report an overrun before their first block: the start, no loss of ours.
        overrun = self._heard and bool(status.input_overflow)
        self._heard = True
        lost = self._loss.arrived(now_s, samples, overrun=overrun)
        self.overflows += overrun
        self.lost_samples += lost
        lost += self._pending_loss
        if len(self._queue) >= self._queue_blocks:
            if self._pending_loss == 0:
                self.overflows += 1
            self.lost_samples += samples
            self._pending_loss = lost + samples
            return
        self._pending_loss = 0
        mono = pcm[:, 0].copy()
        self.level_dbfs = level_dbfs(mono)
        self._queue.append(AudioBlock(mono, self._device.sample_rate_hz, lost, captured_at_s=now_s))
        self._wake()

    def _finish(self) -> None:
        """PortAudio's word that the stream has ended, on its thread."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        # A loop that is already closed has no reader left to wake.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrival.set)


def _close(stream: Any) -> None:
    """Close a PortAudio stream, or give it up.

    PortAudio 19.6 over PulseAudio deadlocks in one of twenty closings of a device that has just
    gone (and always while the sound server is frozen): its thread waits for a lock that nobody
    gives back. So it is done aside, and what does not end in time is left to die with the process,
    where PortAudio's own clean-up, which would wait for it again, must then not run. `stop` takes
    up to 40 ms and is still better than `abort`, which cancels that thread wherever it stands.
    """

    def close() -> None:
        stream.stop()
        stream.close()

    closing = threading.Thread(target=close, name="close microphone", daemon=True)
    closing.start()
    closing.join(_CLOSE_WITHIN_S)
    if closing.is_alive():
        atexit.unregister(_sounddevice()._exit_handler)


def _names(devices: Sequence[InputDevice]) -> str:
    return ", ".join(f"{device.index} {device.name!r}" for device in devices)


def _sounddevice() -> Any:
    """The sounddevice module; importing it loads PortAudio and lists the devices."""
    try:
        import sounddevice
    except OSError as error:
        raise AudioDeviceError(
            f"recording needs PortAudio ({error}): apt-get install libportaudio2"
        ) from error
    return sounddevice
