"""Is every file of a bundle the one that was exported?

This finds accidents: a broken download, a bad disk, an edited file. It is no signature: who can
write the folder can write new hashes too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from realtime_ser.errors import BundleFormatError, BundleIntegrityError, BundleNotFoundError
from realtime_ser.models.bundle_description import FileRecord

DESCRIPTION_FILE = "bundle.json"
HASH_FILE = "bundle.json.sha256"
_DESCRIPTION_LIMIT_BYTES = 1 << 20
_REMEDY = "reinstall the bundle, or re-export it if you changed it on purpose"


def read_description(folder: Path) -> tuple[bytes, str]:
    """The bytes of `bundle.json` and their sha256 in hex, checked against the file beside it.

    Raises:
        BundleNotFoundError: there is no `bundle.json`.
        BundleFormatError: it is larger than any description.
        BundleIntegrityError: it is not the one that was exported.
    """
    path = folder / DESCRIPTION_FILE
    if not path.exists():
        raise BundleNotFoundError(
            f"{folder} holds no {DESCRIPTION_FILE}, so it is no bundle; "
            "give the folder that holds it, or `default`"
        )
    if _regular_file(folder, DESCRIPTION_FILE).stat().st_size > _DESCRIPTION_LIMIT_BYTES:
        raise BundleFormatError(
            f"{path}: is larger than {_DESCRIPTION_LIMIT_BYTES} bytes; re-export the bundle"
        )
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    hash_path = _regular_file(folder, HASH_FILE)
    expected = f"{digest}  {DESCRIPTION_FILE}\n".encode()
    # One byte more than expected is enough to see that a longer file is wrong.
    if _read(hash_path, len(expected) + 1) != expected:
        raise BundleIntegrityError(f"{path}: does not match {HASH_FILE}; {_REMEDY}")
    return content, digest


def verify_files(folder: Path, files: Mapping[str, FileRecord]) -> None:
    """Check presence, size and sha256 of every listed file, and that no other file is there.

    A file that is not listed is an error because a graph may keep its weights in a second file:
    forgotten in the list, it would run unverified. Hidden files are left alone.

    Raises:
        BundleIntegrityError: the message names the file.
    """
    for name, record in files.items():
        path = _regular_file(folder, name)
        try:
            size = path.stat().st_size
            if size != record.bytes:
                raise BundleIntegrityError(
                    f"{path}: has {size} bytes, not {record.bytes}; {_REMEDY}"
                )
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise BundleIntegrityError(
                f"{path}: cannot be read ({error.strerror}); {_REMEDY}"
            ) from error
        if digest != record.sha256:
            raise BundleIntegrityError(f"{path}: its content has changed; {_REMEDY}")
    known = {*files, DESCRIPTION_FILE, HASH_FILE}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and not path.is_dir() and relative.as_posix() not in known:
            raise BundleIntegrityError(
                f"{path}: is not listed in {DESCRIPTION_FILE}; remove it or re-export the bundle"
            )


def _regular_file(folder: Path, name: str) -> Path:
    """The path of a file that really lies inside `folder`, links followed."""
    path = folder / name
    try:
        real = path.resolve(strict=True)
        inside = real.is_relative_to(folder.resolve(strict=True))
    except FileNotFoundError:
        raise BundleIntegrityError(f"{path}: is missing; {_REMEDY}") from None
    except (OSError, RuntimeError, ValueError) as error:
        # A loop of links is RuntimeError up to Python 3.12.
        raise BundleIntegrityError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if not inside:
        raise BundleIntegrityError(f"{path}: is a link out of the bundle; copy the file there")
    if not real.is_file():
        raise BundleIntegrityError(f"{path}: is not a file; {_REMEDY}")
    return path


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise BundleIntegrityError(
            f"{path}: cannot be read ({error.strerror}); {_REMEDY}"
        ) from error
