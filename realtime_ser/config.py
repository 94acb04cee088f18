"""Settings: one flat table, read from defaults, a TOML file, the environment and flags.

A setting has one name in three spellings: `hangover_ms = 500` in TOML, `REALTIME_SER_HANGOVER_MS`
in the environment, `--hangover-ms` on the command line; later ones win in that order. An unknown
key is an error in each of them: a misspelt setting that is silently ignored costs an afternoon.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from realtime_ser.errors import ConfigError

ENVIRONMENT_PREFIX = "REALTIME_SER_"


def _setting(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
) -> Any:
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the recognizer, with its default.

    The defaults of segmentation come from `benchmarks/segmentation.py`.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    # models
    bundle: str = _setting("default", "model bundle: a name, or the path of a folder")
    asr: str = _setting(
        "tiny", "transcription: off, a faster-whisper model (tiny, base, small, ...), or a folder"
    )
    asr_required: bool = _setting(False, "fail when the transcription model cannot be had")
    asr_window_s: float = _setting(
        30.0,
        "shortest window that Whisper hears; 10 costs a third, off its beaten track",
        low=1,
        high=30,
    )
    language: str = _setting("auto", "spoken language as an ISO 639-1 code, or auto to detect it")
    device: str = _setting("auto", "where models run", choices=("auto", "cpu", "cuda"))
    threads: int = _setting(0, "CPU threads for the models; 0 means all cores", low=0, high=256)

    # speech detection
    speech_detector: str = _setting("both", "speech detector", choices=("both", "webrtc", "silero"))
    webrtc_mode: int = _setting(3, "webrtcvad aggressiveness", choices=(0, 1, 2, 3))
    silero_enter: float = _setting(
        0.5, "Silero probability at which speech begins", low=0.0, high=1.0
    )
    silero_stay: float = _setting(
        0.25, "Silero probability at which speech goes on", low=0.0, high=1.0
    )
    silero_sure: float = _setting(
        0.8, "Silero probability that counts towards min_speech_ms", low=0.0, high=1.0
    )

    # segmentation
    start_voiced_ms: int = _setting(90, "speech needed to start an utterance", low=30, high=3000)
    start_window_ms: int = _setting(150, "... within this window", low=30, high=1500)
    pre_roll_ms: int = _setting(300, "audio kept from before the start", low=0, high=5000)
    hangover_ms: int = _setting(500, "silence that ends an utterance", low=60, high=10_000)
    min_speech_ms: int = _setting(
        330, "an utterance with less sure speech is dropped", low=30, high=5000
    )
    talk_memory_s: float = _setting(
        3.0, "this long after an utterance, speech need not be sure", low=0, high=3600
    )
    max_utterance_s: float = _setting(15.0, "an utterance is cut at this length", low=2, high=30)
    soft_split_s: float = _setting(12.0, "... at the quietest frame from here on", low=1, high=30)
    speculate_after_ms: int = _setting(
        150,
        "silence after which the final is computed ahead, and kept at its end",
        low=30,
        high=5000,
    )
    speculation: bool = _setting(True, "compute finals ahead, during the hangover")

    # estimates during and across utterances
    partials: bool = _setting(True, "estimates while the person is still talking")
    partial_interval_ms: int = _setting(500, "time between partial estimates", low=30, high=60_000)
    partial_first_ms: int = _setting(600, "speech heard before the first one", low=30, high=60_000)
    partial_window_s: float = _setting(4.0, "audio that a partial looks back on", low=0.25, high=30)
    rolling_half_life_s: float = _setting(
        10.0, "seconds of speech after which an utterance counts half", low=0.1, high=36_000
    )

    def __post_init__(self) -> None:
        for name, spec in SPECS.items():
            spec.check(getattr(self, name), f"{name}")
        for small, large in (
            ("start_voiced_ms", "start_window_ms"),
            ("soft_split_s", "max_utterance_s"),
            ("silero_stay", "silero_enter"),
            ("speculate_after_ms", "hangover_ms"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise ConfigError(
                    f"{small} ({getattr(self, small)}) must not exceed "
                    f"{large} ({getattr(self, large)}); change one of them"
                )


@dataclass(frozen=True, slots=True)
class SettingSpec:
    """What is known of one setting: enough for flags, checks and documentation."""

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[Any, ...]
    low: float
    high: float

    @property
    def flag(self) -> str:
        """Its spelling on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        """Its spelling in the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    def check(self, value: Any, where: str) -> None:
        """Raise ConfigError unless `value` has the type and lies in the range."""
        allowed: tuple[type, ...] = (int, float) if self.type is float else (self.type,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.type is not bool):
            raise ConfigError(f"{where} must be {_TYPE_NAMES[self.type]}, not {value!r}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{where} must be one of {self._choices()}, not {value!r}")
        if isinstance(value, int | float) and not self.low <= value <= self.high:
            raise ConfigError(f"{where} must lie in {self.low:g} to {self.high:g}, not {value!r}")

    def parse(self, text: str, where: str) -> Any:
        """Read the value from a flag or an environment variable."""
        value: Any = text
        try:
            if self.type is bool:
                value = _BOOLEANS[text.strip().lower()]
            elif self.type is not str:
                value = self.type(text)
        except (KeyError, ValueError):
            raise ConfigError(f"{where} must be {_TYPE_NAMES[self.type]}, not {text!r}") from None
        self.check(value, where)
        return value

    def _choices(self) -> str:
        return ", ".join(str(choice) for choice in self.choices)


_TYPE_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_BOOLEANS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


def _specs() -> dict[str, SettingSpec]:
    hints = get_type_hints(Settings)
    return {
        f.name: SettingSpec(f.name, hints[f.name], f.default, **f.metadata)
        for f in fields(Settings)
    }


SPECS: dict[str, SettingSpec] = _specs()
"""Every setting by name, in the order of declaration."""


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """Settings with, for each, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> EffectiveSettings:
    """Merge defaults, `file`, `environment` and `flags`, in that rising order.

    Args:
        file: a TOML file of `name = value` lines.
        environment: usually `os.environ`; only names with the prefix are read.
        flags: parsed values by setting name.

    Raises:
        ConfigError: an unknown key, a wrong type or a value out of range; the message names
            the place.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SPECS, "default")

    def take(name: str, value: Any, origin: str) -> None:
        values[name] = float(value) if SPECS[name].type is float else value
        origins[name] = origin

    for name, value in _read_toml(file).items() if file else ():
        SPECS[name].check(value, f"{name} in {file}")
        take(name, value, f"file {file}")
    for variable, text in sorted((environment or {}).items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            require_known(name, f"environment variable {variable}", ENVIRONMENT_PREFIX, str.upper)
            take(name, SPECS[name].parse(text, variable), f"environment {variable}")
    for name, value in (flags or {}).items():
        require_known(name, f"setting {name}")
        SPECS[name].check(value, SPECS[name].flag)
        take(name, value, f"flag {SPECS[name].flag}")
    return EffectiveSettings(replace(Settings(), **values), origins)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no settings file at {file}; check --config") from None
    except OSError as error:
        raise ConfigError(f"cannot read settings file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    for name in table:
        require_known(name, f"setting {name} in {file}")
    return table


def require_known(name: str, where: str, prefix: str = "", spell: Any = str) -> None:
    """Raise ConfigError, with the closest known name, unless `name` is a setting."""
    if name in SPECS:
        return
    close = difflib.get_close_matches(name, SPECS, n=1)
    hint = f"did you mean {prefix}{spell(close[0])}?" if close else "see `realtime-ser config`"
    raise ConfigError(f"unknown {where}; {hint}")
