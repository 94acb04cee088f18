"""Sample recordings that come with the package; `README.md` beside this file says how made."""

from __future__ import annotations

from pathlib import Path

from realtime_ser.errors import AudioUnsupportedError

_FOLDER = Path(__file__).resolve().parent


def sample_names() -> tuple[str, ...]:
    """The recordings there are, without their suffix, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.flac")))


def sample_path(name: str) -> Path:
    """Where the sample recording `name` is: "demo", or "demo.flac".

    Raises:
        AudioUnsupportedError: there is no such recording; the message lists those there are.
    """
    stem = name.removesuffix(".flac")
    if stem not in sample_names():
        raise AudioUnsupportedError(
            f"no sample recording {name!r}; there are {', '.join(sample_names())}"
        )
    return _FOLDER / f"{stem}.flac"
