"""Models from the Hugging Face hub and its local cache.

Whether the hub can be reached is found out first and within seconds, as the product does for
transcription models (`realtime_ser.models.hub`).
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realtime_ser.models.hub import first_line, hub_cache_folder, hub_endpoint

from ..errors import ExportError

LAYOUT = (
    "config.json, model.safetensors (or pytorch_model.bin), preprocessor_config.json (speech) or "
    "tokenizer.json (text)"
)
"""What a folder must hold, in words."""

# What a tokenizer or an extractor may be made of; weights are chosen apart, for many repositories
# hold them four times over.
_SMALL_FILES = re.compile(
    r"(README\.md|[\w.-]*\.json|[\w.-]*\.txt|[\w.-]*\.model|LICEN[CS]E[\w.-]*)", re.IGNORECASE
)


def find_cached(model: str, revision: str | None) -> Path | None:
    """The folder of `model` in the local cache, complete or not; None where there is none.

    Raises:
        ExportError: `model` cannot be the id of a model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = snapshot_download(
            model, revision=revision, cache_dir=hub_cache_folder(), local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise ExportError(f"{model} is no id of a model: {first_line(error)}") from error
    return Path(path)


def download(model: str, revision: str | None, deadline_s: float) -> Path:
    """Fetch what `wanted_files` names into the local cache; returns the folder.

    Args:
        revision: branch, tag or commit; None for main.
        deadline_s: how long the hub may take to hand out the first byte of the weights.

    Raises:
        ExportError: the hub does not give it, which is known after `deadline_s` and the import of
            huggingface_hub; or the download broke off.
    """
    from huggingface_hub import constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise _unavailable(model, "HF_HUB_OFFLINE forbids to ask the hub")
    files = _ask_hub(model, revision, deadline_s)
    try:
        path = snapshot_download(
            model,
            # Not the commit: the cache would then not know which one the branch stands for.
            revision=revision,
            cache_dir=hub_cache_folder(),
            endpoint=hub_endpoint(),
            allow_patterns=files,
            tqdm_class=_progress_class(),
        )
    # Broad: the HTTP library behind huggingface_hub, and with it the errors, changed three times.
    except Exception as error:
        raise _unavailable(model, f"the download failed: {_reason(error)}") from error
    return Path(path)


def _ask_hub(model: str, revision: str | None, deadline_s: float) -> list[str]:
    """The files to download, when the hub hands out a byte of the weights in time.

    In a thread, as in `realtime_ser.models.hub`: time-outs of a socket bound neither the look-up
    of a host name nor the sum over its addresses, retries and redirections.
    """
    from huggingface_hub import HfApi, HfFileSystem

    answers: list[list[str]] = []
    failures: list[Exception] = []

    def ask() -> None:
        try:
            info = HfApi(endpoint=hub_endpoint()).model_info(model, revision=revision)
            files = wanted_files([each.rfilename for each in info.siblings or ()])
            weights = [name for name in files if name.endswith((".safetensors", ".bin"))]
            if weights:  # Another host serves the large files than the list.
                hub = HfFileSystem(endpoint=hub_endpoint(), skip_instance_cache=True)
                place = f"{model}@{info.sha}/{weights[0]}"
                hub.cat_file(place, start=0, end=1, cache_type="none")
            answers.append(files)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask, name="ask-hub", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if failures:
        raise _unavailable(
            model, f"{hub_endpoint()} does not give it: {_reason(failures[0])}"
        ) from failures[0]
    if not answers:
        raise _unavailable(model, f"{hub_endpoint()} does not give it within {deadline_s:g} s")
    return answers[0]


def wanted_files(files: Sequence[str]) -> list[str]:
    """Of the files of a repository those to download: weights once, and what is small."""
    small = [name for name in files if _SMALL_FILES.fullmatch(name)]
    for stem, ending in (("model", "safetensors"), ("pytorch_model", "bin")):
        pattern = re.compile(rf"{stem}(-\d+-of-\d+)?\.{ending}")
        weights = [name for name in files if pattern.fullmatch(name)]
        if weights:
            return [*small, *weights]
    return small


def _progress_class() -> Any:
    """None for the bars of huggingface_hub, which it draws on anything, not terminals alone."""
    from tqdm.auto import tqdm

    class Silent(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)  # Of huggingface_hub's own bars.
            super().__init__(*args, **{**options, "disable": True})

    return None if sys.stderr.isatty() else Silent


def _reason(error: Exception) -> str:
    """What the system said first, such as an unknown host, or else what the hub says."""
    root: BaseException = error
    while (deeper := root.__cause__ or root.__context__) is not None:
        root = deeper
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return first_line(error)


def _unavailable(model: str, why: str) -> ExportError:
    return ExportError(
        f"{model} is not on this machine, and {why}. On a machine with a connection run "
        f"`hf download {model} --local-dir DIR`, copy the folder and give its path instead; "
        f"it must hold {LAYOUT}"
    )
