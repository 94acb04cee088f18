"""Where a transcription model comes from: this package, a folder, the local cache, or the hub.

Whether the hub can be reached is found out first and within seconds, for a network that swallows
packets would otherwise hold up a live microphone for minutes.
"""

from __future__ import annotations

import difflib
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_ser.errors import ModelUnavailableError

HUB_DEADLINE_S = 7.0
"""How long the hub may take to hand out the first byte of the model."""

# The table of faster-whisper, faster_whisper/utils.py, which it keeps private; a test compares.
REPOSITORIES = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""Model names and the repositories that they stand for; the first name of one is its own."""

_PACKAGE = Path(__file__).parent

# Without tokenizer.json faster-whisper would fetch one from the hub, without a word.
_REQUIRED: tuple[tuple[str, ...], ...] = (
    ("model.bin",),
    ("config.json",),
    ("tokenizer.json",),
    ("vocabulary.json", "vocabulary.txt"),
)
_OPTIONAL = ("preprocessor_config.json",)
_DOWNLOADED = [*(name for names in _REQUIRED for name in names), *_OPTIONAL]


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A transcription model in the local cache.

    Attributes:
        names: the names that `asr` may give it.
        size_bytes: what its files take on disk.
    """

    names: tuple[str, ...]
    folder: Path
    size_bytes: int


def find_model(asr: str) -> Path:
    """Return the folder of the model `asr`, downloading it when it is not in the local cache.

    Args:
        asr: a name of `packaged_models` or `REPOSITORIES`, or the path of a folder, known by a
            path separator or by its existence. A folder that is called like a model needs the
            separator: `./tiny`.

    Raises:
        ModelUnavailableError: there is no such name, the folder lacks files, or the model is not
            in the cache and the hub does not give it. Without a connection this takes no longer
            than `HUB_DEADLINE_S` and the import of huggingface_hub.
    """
    packaged = packaged_models().get(asr)
    if packaged is not None:
        return packaged
    if _is_folder(asr):
        return _checked(Path(asr).expanduser())
    repository = _repository(asr)
    return _cached(repository) or _download(asr, repository)


def packaged_models() -> dict[str, Path]:
    """Names and folders of the transcription models that came with this package."""
    return {file.parent.name: file.parent for file in sorted(_PACKAGE.glob("*/model.bin"))}


def pull(asr: str) -> Path:
    """Download the model named `asr` into the local cache and return its folder.

    A model that is already there is not downloaded again, and needs no connection.

    Raises:
        ModelUnavailableError: there is no such name, or the hub does not give it.
    """
    if _is_folder(asr):
        raise ModelUnavailableError(f"{asr} is a folder; models pull takes a name: {_names()}")
    return find_model(asr)


def cached_models() -> list[CachedModel]:
    """Return the transcription models that are complete in the local cache."""
    found = []
    for repository in dict.fromkeys(REPOSITORIES.values()):
        folder = _cached(repository)
        if folder is not None:
            names = tuple(name for name, place in REPOSITORIES.items() if place == repository)
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            found.append(CachedModel(names, folder, size))
    return found


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelUnavailableError(
            f"there is no folder {folder}; --asr takes a model name ({_names()}), the folder of a "
            f"CTranslate2 Whisper model, or off"
        )
    missing = missing_files(folder)
    if missing:
        raise ModelUnavailableError(
            f"{folder} is no CTranslate2 Whisper model, it lacks {', '.join(missing)}; copy the "
            f"whole folder that `realtime-ser models pull tiny` prints (with cp -rL, for its "
            f"files are links), or use --asr off"
        )
    return folder


def missing_files(folder: Path) -> list[str]:
    """Return the names of the files that `folder` lacks to be a CTranslate2 Whisper model."""
    return [
        " or ".join(names)
        for names in _REQUIRED
        if not any((folder / name).is_file() for name in names)
    ]


def _is_folder(asr: str) -> bool:
    if asr in REPOSITORIES:
        return False
    return any(separator in asr for separator in (os.sep, os.altsep or os.sep)) or (
        asr != "" and Path(asr).is_dir()
    )


def _repository(name: str) -> str:
    if name not in REPOSITORIES:
        close = difflib.get_close_matches(name, [*packaged_models(), *REPOSITORIES], n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ModelUnavailableError(
            f"there is no transcription model {name!r}{hint}; use a name of {_names()}, "
            f"the path of a folder, or off"
        )
    return REPOSITORIES[name]


def _names() -> str:
    return ", ".join([*packaged_models(), *REPOSITORIES])


def _cached(repository: str) -> Path | None:
    """The folder of `repository` in the local cache, None unless all of it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(
            repository,
            cache_dir=hub_cache_folder(),
            local_files_only=True,
            allow_patterns=_DOWNLOADED,
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(path)
    # An interrupted download leaves a folder with files missing, or links that lead nowhere.
    return None if missing_files(folder) else folder


def _download(name: str, repository: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise _unavailable(name, "HF_HUB_OFFLINE forbids to ask the hub")
    _ask_hub(name, repository)
    try:
        path = snapshot_download(
            repository,
            cache_dir=hub_cache_folder(),
            endpoint=hub_endpoint(),
            allow_patterns=_DOWNLOADED,
            tqdm_class=_progress_class(),
        )
    # Broad: the HTTP library behind huggingface_hub, and with it the errors, changed three times.
    except Exception as error:
        raise _unavailable(name, f"the download failed: {first_line(error)}") from error
    missing = missing_files(Path(path))
    if missing:
        raise _unavailable(name, f"{repository} lacks {', '.join(missing)}")
    return Path(path)


def _ask_hub(name: str, repository: str) -> None:
    """Return when the hub hands out a byte of the model within the deadline; raise otherwise."""
    from huggingface_hub import HfFileSystem

    failures: list[Exception] = []

    def ask() -> None:
        # The client that downloads also asks, so proxies, certificates and tokens are the same.
        # It asks for the large file, which another host serves than the rest.
        try:
            hub = HfFileSystem(endpoint=hub_endpoint(), skip_instance_cache=True)
            hub.cat_file(f"{repository}/model.bin", start=0, end=1, cache_type="none")
        except Exception as error:
            failures.append(error)

    # In a thread: time-outs of a socket bound neither the look-up of a host name nor the sum over
    # its addresses, retries and redirections. A thread that is stuck dies with the process.
    thread = threading.Thread(target=ask, name="ask-hub", daemon=True)
    thread.start()
    thread.join(HUB_DEADLINE_S)
    if thread.is_alive():
        raise _unavailable(name, f"{hub_endpoint()} does not give it within {HUB_DEADLINE_S:g} s")
    if failures:
        raise _unavailable(
            name, f"{hub_endpoint()} does not give it: {first_line(failures[0])}"
        ) from failures[0]


def hub_endpoint() -> str:
    """The address of the hub; huggingface_hub itself reads the environment at import only."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def hub_cache_folder() -> Path:
    """Where the hub's files are kept; the environment counts as of now, not as of the import."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE", constants.HF_HUB_CACHE)).expanduser()


def _progress_class() -> Any:
    """None for the bars of huggingface_hub, which it draws on anything, not terminals alone."""
    from faster_whisper.utils import disabled_tqdm

    return None if sys.stderr.isatty() else disabled_tqdm


def _unavailable(name: str, why: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"transcription model {name} is not on this machine, and {why}. On a machine with a "
        f"connection run `realtime-ser models pull {name}`, copy the folder that it prints "
        f"(with cp -rL, for its files are links) and use --asr DIR; or use --asr off, or "
        f"--asr mini, which needs no download but knows only a few hundred sentences"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its class where it has none."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
