"""What a training recipe may say of the bundle that it ends with: its section [bundle]."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ExportError

_NAME = re.compile("[a-z][a-z0-9_-]*")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """The bundle.

    Attributes:
        description: one sentence, for `models show`; what was trained is put behind it.
        licence: of the weights, as SPDX names it; not freer than the strictest of the data.
        most_bytes: larger, it is not written.
    """

    name: str = "default"
    version: str = "1.0.0"
    description: str = "Seven emotions from voice and words."
    licence: str = "CC-BY-NC-SA-4.0"
    most_bytes: int = 12_000_000

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ExportError("name of [bundle] must be lower-case letters, digits, - and _")
        if not _VERSION.fullmatch(self.version):
            raise ExportError(f"version {self.version!r} of [bundle] must be like 1.0.0")
        if not self.description or not self.licence:
            raise ExportError("description and licence of [bundle] must not be empty")
