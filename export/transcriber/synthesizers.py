"""The programs that speak for training, behind one face: a voice, a manner, a text, samples.

espeak-ng makes all of its sound from rules. The others cut and shape recordings of people, so what
they say is nearer to speech: flite and RHVoice (mostly the speakers of CMU ARCTIC), SVOX Pico, and
espeak-ng with the diphones of MBROLA. Debian has them all.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import soundfile
import soxr

from realtime_ser.types import Samples

from ..errors import ExportError
from ..training.corpora import SAMPLE_RATE_HZ

OWN_WORDS_PER_MINUTE = 175  # what espeak-ng speaks at unless told


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of a program; `speaker` is who was recorded, whatever program borrows the voice."""

    program: str
    name: str
    speaker: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How to say it.

    Attributes:
        pitch: 0 to 99, 50 being the voice's own.
        words_per_minute: as espeak-ng counts them; 175 is a voice's own rate.
        size: factor for every frequency, as of a speaker who is so much smaller; the rate stays.
    """

    pitch: int
    words_per_minute: int
    size: float = 1.0

    @property
    def rate(self) -> float:
        """Factor for the voice's own rate, such that the change of size leaves it alone."""
        return self.words_per_minute / OWN_WORDS_PER_MINUTE / self.size

    @property
    def pitch_factor(self) -> float:
        """Factor for the voice's own pitch: three quarters to four thirds."""
        return float((4 / 3) ** ((self.pitch - 50) / 50))


class SynthesizerError(ExportError):
    """A program that is missing, or that has no such voice."""


def say(voice: Voice, manner: Manner, text: str) -> Samples:
    """`text` as int16 [samples] at 16 kHz.

    Raises SynthesizerError where the program is missing or fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        command, given = _COMMANDS[voice.program](voice.name, manner, text, file)
        if shutil.which(command[0]) is None:
            raise SynthesizerError(f"{command[0]} is not installed; {_PACKAGES[voice.program]}")
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode or not file.exists() or soundfile.info(file).frames == 0:
            raise SynthesizerError(
                f"{voice.program} did not speak as {voice.name}; {_PACKAGES[voice.program]}"
                f"\n{done.stderr.strip()}"
            )
        samples, rate = soundfile.read(file, dtype="int16")
    spoken: Samples = soxr.resample(samples, rate * manner.size, SAMPLE_RATE_HZ)
    return spoken


_Command = tuple[list[str], str | None]
"""What is run, and what it is given to read."""


def _espeak(name: str, manner: Manner, text: str, file: Path) -> _Command:
    rate = round(OWN_WORDS_PER_MINUTE * manner.rate)
    command = ["espeak-ng", "-w", str(file), "-v", name, "-p", str(manner.pitch)]
    return [*command, "-s", str(rate), "-b", "1", text], None


def _flite(name: str, manner: Manner, text: str, file: Path) -> _Command:
    # Diphones (kal16) and statistical voices take their pitch by different names.
    settings = {
        "duration_stretch": 1 / manner.rate,
        "f0_shift": manner.pitch_factor,
        "int_f0_target_mean": 105 * manner.pitch_factor,
    }
    given = [word for name, x in settings.items() for word in ("--setf", f"{name}={x:.3f}")]
    return ["flite", "-voice", name, *given, "-t", text, "-o", str(file)], None


def _rhvoice(name: str, manner: Manner, text: str, file: Path) -> _Command:
    rate, pitch = round(100 * manner.rate), round(100 * manner.pitch_factor)
    command = ["RHVoice-test", "-p", name, "-r", str(rate), "-t", str(pitch), "-o", str(file)]
    return command, text + "\n"


def _pico(name: str, manner: Manner, text: str, file: Path) -> _Command:
    rate, pitch = round(100 * manner.rate), round(100 * manner.pitch_factor)
    marked = f"<pitch level='{pitch}'><speed level='{rate}'>{escape(text)}</speed></pitch>"
    return ["pico2wave", "-l", name, "-w", str(file), marked], None


_COMMANDS: dict[str, Callable[[str, Manner, str, Path], _Command]] = {
    "espeak-ng": _espeak,
    "mbrola": _espeak,
    "flite": _flite,
    "rhvoice": _rhvoice,
    "pico": _pico,
}
_PACKAGES = {
    "espeak-ng": "Debian's package is espeak-ng",
    "mbrola": "Debian's packages are espeak-ng, mbrola and mbrola- with a voice's name (non-free)",
    "flite": "Debian's package is flite",
    "rhvoice": "Debian's packages are rhvoice and rhvoice-english (non-free)",
    "pico": "Debian's package is libttspico-utils (non-free)",
}
