"""Settings: flat tables, read from defaults, a TOML file, the environment and flags.

A setting has one name in three spellings: `hangover_ms = 500` in TOML, `REALTIME_SER_HANGOVER_MS`
in the environment, `--hangover-ms` on the command line; later ones win in that order. An unknown
key is an error in each of them: a misspelt setting that is silently ignored costs an afternoon.

There are two tables, `Settings` of the recognizer and `ServerSettings`; no name is in both, so one
file and one environment serve all commands.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, auto
from pathlib import Path
from typing import Any, get_type_hints

from realtime_ser.errors import ConfigError

ENVIRONMENT_PREFIX = "REALTIME_SER_"


class Scope(Enum):
    """Who may set it where many are served by one process."""

    PROCESS = auto()
    """The operator: it belongs to the models, or to the server."""
    SESSION = auto()
    """Each client, for its own session."""
    SESSION_AT_MOST = auto()
    """Each client, up to the operator's value: more costs everybody."""
    SESSION_AT_LEAST = auto()
    """Each client, down to the operator's value: less costs everybody."""


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
    scope: Scope = Scope.SESSION,
) -> Any:
    """A field of a table of settings."""
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "scope": scope}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the recognizer, with its default.

    The defaults of segmentation come from `benchmarks/segmentation.py`.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    # models
    bundle: str = setting(
        "default", "model bundle: a name, or the path of a folder", scope=Scope.PROCESS
    )
    asr: str = setting(
        "tiny",
        "transcription: off, a faster-whisper model (tiny, base, small, ...), or a folder",
        scope=Scope.PROCESS,
    )
    asr_required: bool = setting(
        False, "fail when the transcription model cannot be had", scope=Scope.PROCESS
    )
    asr_window_s: float = setting(
        30.0,
        "shortest window that Whisper hears; 10 costs a third, off its beaten track",
        low=1,
        high=30,
        scope=Scope.PROCESS,
    )
    language: str = setting(
        "auto", "spoken language as an ISO 639-1 code, or auto to detect it", scope=Scope.PROCESS
    )
    device: str = setting(
        "auto", "where models run", choices=("auto", "cpu", "cuda"), scope=Scope.PROCESS
    )
    threads: int = setting(
        0, "CPU threads for the models; 0 means all cores", low=0, high=256, scope=Scope.PROCESS
    )

    # speech detection
    speech_detector: str = setting("both", "speech detector", choices=("both", "webrtc", "silero"))
    webrtc_mode: int = setting(3, "webrtcvad aggressiveness", choices=(0, 1, 2, 3))
    silero_enter: float = setting(
        0.5, "Silero probability at which speech begins", low=0.0, high=1.0
    )
    silero_stay: float = setting(
        0.25, "Silero probability at which speech goes on", low=0.0, high=1.0
    )
    silero_sure: float = setting(
        0.8, "Silero probability that counts towards min_speech_ms", low=0.0, high=1.0
    )

    # segmentation
    start_voiced_ms: int = setting(90, "speech needed to start an utterance", low=30, high=3000)
    start_window_ms: int = setting(150, "... within this window", low=30, high=1500)
    pre_roll_ms: int = setting(300, "audio kept from before the start", low=0, high=5000)
    hangover_ms: int = setting(500, "silence that ends an utterance", low=60, high=10_000)
    min_speech_ms: int = setting(
        330, "an utterance with less sure speech is dropped", low=30, high=5000
    )
    talk_memory_s: float = setting(
        3.0, "this long after an utterance, speech need not be sure", low=0, high=3600
    )
    max_utterance_s: float = setting(
        15.0, "an utterance is cut at this length", low=2, high=30, scope=Scope.SESSION_AT_MOST
    )
    soft_split_s: float = setting(12.0, "... at the quietest frame from here on", low=1, high=30)
    speculate_after_ms: int = setting(
        150,
        "silence after which the final is computed ahead, and kept at its end",
        low=30,
        high=5000,
    )
    speculation: bool = setting(True, "compute finals ahead, during the hangover")

    # estimates during and across utterances
    partials: bool = setting(True, "estimates while the person is still talking")
    partial_interval_ms: int = setting(
        500, "time between partial estimates", low=30, high=60_000, scope=Scope.SESSION_AT_LEAST
    )
    partial_first_ms: int = setting(510, "speech heard before the first one", low=30, high=60_000)
    partial_window_s: float = setting(
        4.0, "audio that a partial looks back on", low=0.25, high=30, scope=Scope.SESSION_AT_MOST
    )
    partial_transcripts: bool = setting(
        False, "the words so far, too: in pauses, and where transcribing them delays no final"
    )
    rolling_half_life_s: float = setting(
        10.0, "seconds of speech after which an utterance counts half", low=0.1, high=36_000
    )
    lag_warning_ms: float = setting(
        3000.0, "a live stream warns when finals come this much late", low=1, high=10**9
    )

    def __post_init__(self) -> None:
        check_table(self, SPECS)
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


def _operator(default: Any, help: str, *, low: float = -math.inf, high: float = math.inf) -> Any:
    return setting(default, help, low=low, high=high, scope=Scope.PROCESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Every setting of `realtime-ser serve` beside those of the recognizer.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    # where, and for whom
    host: str = _operator("127.0.0.1", "address to listen on")
    port: int = _operator(8765, "port to listen on; 0 takes a free one", low=0, high=65535)
    token: str = _operator(
        "", "what clients must present; better in the environment than in a flag"
    )
    origins: str = _operator(
        "", "web pages that may connect besides our own: https://a.example,https://b.example or *"
    )
    certfile: str = _operator("", "TLS certificate chain, PEM")
    keyfile: str = _operator("", "its private key, PEM; empty if it is in the same file")
    insecure: bool = _operator(False, "allow a public address without token and TLS")

    # limits
    max_sessions: int = _operator(64, "sessions at once", low=1, high=100_000)
    max_message_bytes: int = _operator(
        262_144, "largest message, 8 s at 16 kHz s16le", low=1024, high=2**30
    )
    max_ahead_s: float = _operator(
        600.0, "audio that may come ahead of real time", low=0.1, high=10**9
    )
    max_session_s: float = _operator(14_400.0, "length of a session", low=0.1, high=10**9)
    idle_timeout_s: float = _operator(
        60.0, "a session is ended after this long without a message", low=0.01, high=10**9
    )
    handshake_timeout_s: float = _operator(
        10.0, "time to connect, and to answer when closing", low=0.01, high=3600
    )
    max_json_depth: int = _operator(8, "nesting of a JSON message", low=1, high=500)
    resume_grace_s: float = _operator(
        30.0, "a dropped client may come back within this time", low=0, high=3600
    )
    refuse_lag_ms: float = _operator(
        5000.0, "new sessions are refused while a final waits this long", low=1, high=10**9
    )
    drain_timeout_s: float = _operator(
        20.0, "time to finish what was said when the server is stopped", low=0.01, high=3600
    )

    def __post_init__(self) -> None:
        check_table(self, SERVER_SPECS)
        if self.keyfile and not self.certfile:
            raise ConfigError("keyfile is set without certfile; set both, or none")
        if self.token and not _TOKEN.fullmatch(self.token):
            raise ConfigError(
                "token must be 16 or more of the letters A-Z a-z 0-9 . _ ~ - so that headers and "
                "addresses can carry it; `openssl rand -hex 16` makes one"
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
    scope: Scope

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

    def accept(self, value: Any, where: str) -> Any:
        """The value as its type, once it has been checked: 14 is a number of seconds too."""
        self.check(value, where)
        return float(value) if self.type is float else value

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
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")


def specs_of(table: type[Any]) -> dict[str, SettingSpec]:
    """What is known of the settings of a table, by name, in the order of declaration."""
    hints = get_type_hints(table)
    return {
        f.name: SettingSpec(f.name, hints[f.name], f.default, **f.metadata) for f in fields(table)
    }


def check_table(table: Any, specs: Mapping[str, SettingSpec]) -> None:
    """Raise ConfigError unless every value of `table` has its type and lies in its range."""
    for name, spec in specs.items():
        spec.check(getattr(table, name), name)


SPECS = specs_of(Settings)
SERVER_SPECS = specs_of(ServerSettings)
ALL_SPECS = SPECS | SERVER_SPECS


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """Settings with, for each, where its value came from."""

    settings: Settings
    server: ServerSettings
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
    origins = dict.fromkeys(ALL_SPECS, "default")

    def take(name: str, value: Any, origin: str) -> None:
        values[name], origins[name] = value, origin

    for name, value in _read_toml(file).items() if file else ():
        take(name, ALL_SPECS[name].accept(value, f"{name} in {file}"), f"file {file}")
    for variable, text in sorted((environment or {}).items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            require_known(
                name, f"environment variable {variable}", prefix=ENVIRONMENT_PREFIX, spell=str.upper
            )
            take(name, ALL_SPECS[name].parse(text, variable), f"environment {variable}")
    for name, value in (flags or {}).items():
        require_known(name, f"setting {name}")
        flag = ALL_SPECS[name].flag
        take(name, ALL_SPECS[name].accept(value, flag), f"flag {flag}")
    return EffectiveSettings(
        Settings(**{name: value for name, value in values.items() if name in SPECS}),
        ServerSettings(**{name: value for name, value in values.items() if name in SERVER_SPECS}),
        origins,
    )


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


def require_known(
    name: str,
    where: str,
    *,
    known: Collection[str] = ALL_SPECS,
    prefix: str = "",
    spell: Callable[[str], str] = str,
) -> None:
    """Raise ConfigError, with the closest known name, unless `name` is a setting."""
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {prefix}{spell(close[0])}?" if close else "see `realtime-ser config`"
    raise ConfigError(f"unknown {where}; {hint}")
