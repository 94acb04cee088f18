"""Every error that this package raises on purpose.

A message names the thing and says what to do next. Each class also inherits the builtin that a
caller would catch without knowing us, and carries the exit code of the command line:
2 usage, 3 input, 4 model, 5 device.
"""

from __future__ import annotations

from typing import ClassVar


class RealtimeSERError(Exception):
    """Base of all errors of this package."""

    exit_code: ClassVar[int] = 1


class ConfigError(RealtimeSERError, ValueError):
    """A setting is unknown, has the wrong type or is out of range."""

    exit_code = 2


class BundleError(RealtimeSERError):
    """A model bundle cannot be used."""

    exit_code = 4


class BundleNotFoundError(BundleError, FileNotFoundError):
    """There is no bundle of that name or at that place."""


class BundleFormatError(BundleError, ValueError):
    """The bundle's description is malformed, or does not fit its graphs."""


class BundleIntegrityError(BundleError):
    """A file of the bundle is not the one that its description promises."""


class ModelUnavailableError(RealtimeSERError):
    """A transcription or speech detection model cannot be had (no hub, wrong folder)."""

    exit_code = 4


class InferenceError(RealtimeSERError):
    """A model failed while running, or a demanded execution provider does not work."""

    exit_code = 4


class AudioError(RealtimeSERError):
    """Audio cannot be read, decoded or captured."""

    exit_code = 3


class AudioUnsupportedError(AudioError, ValueError):
    """The input is missing, is not audio, or holds samples that are no sound (NaN, infinity)."""


class AudioDeviceError(AudioError, OSError):
    """A microphone or sound system is missing, busy or was unplugged."""

    exit_code = 5


class ProtocolError(RealtimeSERError):
    """A session was used against its rules."""


class LocalProtocolError(ProtocolError):
    """This side broke the rules: a call out of order, an answer to a job never asked."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the rules.

    Attributes:
        code: stable machine-readable name of the fault.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
