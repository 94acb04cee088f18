"""Find, read and verify a model bundle: a folder of JSON, ONNX graphs and arrays, no code.

bundle.json    what is in it: `bundle_description` has the values, `bundle_parse` the rules
bundle.json.sha256
audio/model.onnx   text/model.onnx   text/tokenizer.json   fusion/model.onnx
golden.npz     recorded inputs and outputs, see `golden`
MODEL_CARD.md
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from realtime_ser.errors import BundleNotFoundError
from realtime_ser.models.bundle_description import BundleDescription
from realtime_ser.models.bundle_files import DESCRIPTION_FILE, read_description, verify_files
from realtime_ser.models.bundle_parse import parse_description

_PACKAGED = Path(__file__).parent
DEFAULT_BUNDLE = "default"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files have been verified.

    Attributes:
        hash: sha256 of `bundle.json` in hex; as that lists all other hashes, it names the whole.
    """

    path: Path
    description: BundleDescription
    hash: str

    def file(self, name: str) -> Path:
        """Where a file of the description lies."""
        return self.path / name


def packaged_bundles() -> tuple[str, ...]:
    """Names of the bundles that came with this package."""
    return tuple(sorted(folder.parent.name for folder in _PACKAGED.glob(f"*/{DESCRIPTION_FILE}")))


def resolve_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle: a packaged one by name, else the folder at that path.

    A folder of the same name as a packaged bundle is reached as `./name`.

    Raises:
        BundleNotFoundError: there is none; the message names what exists.
    """
    packaged = packaged_bundles()
    if isinstance(name_or_path, str) and name_or_path in packaged:
        return _PACKAGED / name_or_path
    try:
        path = Path(name_or_path).expanduser()
        if path.is_dir():
            return path
        kind = "is a file, not a folder" if path.exists() else "does not exist"
    except (OSError, RuntimeError, ValueError):
        # Too long a name, an unknown ~user, a NUL: no such folder, whichever it is.
        kind = "does not exist"
    names = ", ".join(packaged) or "none"
    raise BundleNotFoundError(
        f"bundle {str(name_or_path)!r} {kind}; use a packaged one ({names}) "
        f"or the path of a folder that holds {DESCRIPTION_FILE}"
    )


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Read a bundle and verify every file of it; about 5 ms a megabyte, nearly all of it hashing.

    Raises:
        BundleNotFoundError: there is no such bundle.
        BundleFormatError: its description breaks a rule.
        BundleIntegrityError: a file is missing, changed, or not listed.
    """
    folder = resolve_bundle(name_or_path)
    content, digest = read_description(folder)
    description = parse_description(content, str(folder / DESCRIPTION_FILE))
    verify_files(folder, description.files)
    return Bundle(folder, description, digest)
