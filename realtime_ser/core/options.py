"""What a client may set for its own session: how its audio comes, and how it is judged."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from realtime_ser.config import SPECS, Scope, Settings, SettingSpec, setting, specs_of
from realtime_ser.core.pcm import (
    ENCODINGS,
    MAXIMUM_CHANNELS,
    MAXIMUM_RATE_HZ,
    MINIMUM_RATE_HZ,
)
from realtime_ser.errors import ConfigError, RemoteProtocolError
from realtime_ser.types import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How the audio of a served stream comes, and when it ends."""

    encoding: str = setting("s16le", "encoding of a sample", choices=ENCODINGS)
    sample_rate_hz: int = setting(
        SAMPLE_RATE_HZ, "samples a second", low=MINIMUM_RATE_HZ, high=MAXIMUM_RATE_HZ
    )
    channels: int = setting(
        1, "interleaved channels; their mean is heard", low=1, high=MAXIMUM_CHANNELS
    )
    end_after_s: float = setting(
        0.0,
        "once audio came, end the session after this long without a message; 0 never does",
        low=0,
        high=3600,
    )


OPTION_SPECS = specs_of(StreamOptions)
SESSION_SPECS: dict[str, SettingSpec] = OPTION_SPECS | {
    name: spec for name, spec in SPECS.items() if spec.scope is not Scope.PROCESS
}
"""Everything that a client may set, by name."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What is in force in one session."""

    options: StreamOptions
    settings: Settings

    def changed(self, changes: Mapping[str, Any], operator: Settings) -> SessionConfig:
        """This configuration with some values replaced.

        Args:
            changes: values by name, of the types that JSON gives.
            operator: the server's own settings, which bound what costs everybody.

        Raises:
            RemoteProtocolError: an unknown name, or a value that is not allowed.
        """
        accepted: dict[str, Any] = {}
        for name, value in changes.items():
            spec = _known(name)
            accepted[name] = _checked(spec.accept, value, name)
            _require_affordable(spec, accepted[name], getattr(operator, name, None))
        options = {name: v for name, v in accepted.items() if name in OPTION_SPECS}
        settings = {name: v for name, v in accepted.items() if name in SPECS}
        try:
            return SessionConfig(
                replace(self.options, **options), replace(self.settings, **settings)
            )
        except ConfigError as error:
            raise RemoteProtocolError("invalid_setting", str(error)) from None

    def as_dict(self) -> dict[str, Any]:
        """All values by name."""
        return asdict(self.options) | asdict(self.settings)


def parse_options(texts: Mapping[str, str]) -> dict[str, Any]:
    """Values from the texts of a query.

    Raises:
        RemoteProtocolError: an unknown name, or a value of the wrong type.
    """
    return {name: _checked(_known(name).parse, text, name) for name, text in texts.items()}


def _checked(check: Any, value: Any, name: str) -> Any:
    try:
        return check(value, name)
    except ConfigError as error:
        raise RemoteProtocolError("invalid_setting", str(error)) from None


def _known(name: str) -> SettingSpec:
    spec = SESSION_SPECS.get(name)
    if spec is None:
        raise RemoteProtocolError("invalid_setting", _unknown(name))
    return spec


def _unknown(name: str) -> str:
    if name in SPECS:
        return f"{name} is for the whole server, not for a session; leave it out"
    close = difflib.get_close_matches(name, SESSION_SPECS, n=1)
    hint = f"did you mean {close[0]}?" if close else "see clients/PROTOCOL.md for those there are"
    return f"unknown setting {name[:64]!r}; {hint}"


def _require_affordable(spec: SettingSpec, value: Any, bound: Any) -> None:
    if (spec.scope is Scope.SESSION_AT_MOST and value > bound) or (
        spec.scope is Scope.SESSION_AT_LEAST and value < bound
    ):
        relation = "at most" if spec.scope is Scope.SESSION_AT_MOST else "at least"
        raise RemoteProtocolError(
            "invalid_setting", f"{spec.name} must be {relation} {bound:g} on this server"
        )
