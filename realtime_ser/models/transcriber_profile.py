"""What the folder of a transcription model says of itself, beyond what faster-whisper reads.

`preprocessor_config.json` names the window that the model was trained on (`chunk_length`, seconds).
`realtime_ser.json`, which is ours and optional, holds the thresholds under which its texts are
dropped and what `models show` tells people:

    {"description": "knows the commands of our kiosk, nothing else",
     "languages": ["en"], "license": "CC-BY-4.0",
     "measured": ["word error rate 2.1 % on 400 recordings of 10 other speakers"],
     "gates": {"min_token_logprob": -0.8}}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from realtime_ser.models.text_gates import WHISPER_GATES, Gates

PROFILE_FILE = "realtime_ser.json"


@dataclass(frozen=True, slots=True)
class TranscriberProfile:
    """What a model's folder says; the defaults are those of a model that says nothing.

    Attributes:
        gates: which of its texts to believe.
        description: one line on what it is for; empty when nobody wrote one.
        languages: ISO 639-1 codes; empty when nobody wrote them down.
        license: of its weights; empty when nobody wrote it down.
        measured: figures, each with what it was measured on.
    """

    gates: Gates = WHISPER_GATES
    description: str = ""
    languages: tuple[str, ...] = ()
    license: str = ""
    measured: tuple[str, ...] = ()


def read_profile(folder: Path) -> TranscriberProfile:
    """Read `realtime_ser.json` in `folder`; the defaults where there is none.

    Raises:
        ValueError: it is not what it should be; the message names the key.
    """
    path = folder / PROFILE_FILE
    if not path.is_file():
        return TranscriberProfile()
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{PROFILE_FILE} is no JSON object")
    unknown = set(content) - {field.name for field in fields(TranscriberProfile)}
    if unknown:
        raise ValueError(f"{PROFILE_FILE} has the unknown key {min(unknown)!r}")
    return TranscriberProfile(
        gates=_gates(content.get("gates", {})),
        description=_text(content, "description"),
        languages=_texts(content, "languages"),
        license=_text(content, "license"),
        measured=_texts(content, "measured"),
    )


def _gates(content: Any) -> Gates:
    if not isinstance(content, dict):
        raise ValueError(f"{PROFILE_FILE}: gates is no JSON object")
    names = [field.name for field in fields(Gates)]
    for name, value in content.items():
        if name not in names:
            raise ValueError(f"{PROFILE_FILE}: there is no gate {name!r}, only {', '.join(names)}")
        # bool is an int in Python
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{PROFILE_FILE}: the gate {name} is no number")
    return Gates(**{name: float(value) for name, value in content.items()})


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{PROFILE_FILE}: {key} is no text")
    return value


def _texts(content: dict[str, Any], key: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{PROFILE_FILE}: {key} is no list of texts")
    return tuple(value)
