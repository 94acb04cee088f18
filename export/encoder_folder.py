"""An encoder folder: one exported graph and what is known of it, before it goes into a bundle.

model.onnx       with model.onnx_data beside it only above 2 GB, the limit of one ONNX file
encoder.json     `EncoderRecord`
tokenizer.json   of text encoders

`audio` and `text` write such folders, `quantize` makes another one out of one, `bundle` puts some
of them together. The folder can be moved: nothing in it says where it, or its source, lay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from realtime_ser.models.bundle_files import DESCRIPTION_FILE

from .errors import ExportError

FORMAT_VERSION = 1
RECORD_FILE = "encoder.json"
GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

_OURS = (RECORD_FILE, DESCRIPTION_FILE)
"""A folder with one of these may be replaced: it is an encoder, or a bundle."""


@dataclass(frozen=True, slots=True)
class Source:
    """The published or self-trained model behind a graph.

    Attributes:
        model: hub id, or the name (not the path) of the folder it was read from.
        revision: commit on the hub; None for a folder.
        architecture: class that the model's own config names.
        family: `model_type` of that config: hubert, bert, ...
        licence: as the model's own card says; None where it says nothing.
        weights_sha256: of all weight files, in the order of their names.
    """

    model: str
    revision: str | None
    architecture: str
    family: str
    licence: str | None
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """All of `encoder.json`.

    Attributes:
        modality: audio or text.
        precision: one of `bundle_description.PRECISIONS`.
        opset: of the default ONNX domain.
        nodes: counts by stage of the export, in order: exported, optimised, ...
        versions: of the packages that made the graph.
        part: the part as `bundle.json` will hold it, without its name; an output of role logits
            has the model's own labels, in the graph's order.
        options: with which the model was read: arguments of `load_audio` or `load_text`.
        float32_scopes: prefixes of node names that half precision must leave alone.
        parity: rows of measured differences, each with what was compared.
        speed: rows of measured times, each with what it was compared to.
    """

    modality: str
    source: Source
    precision: str
    opset: int
    nodes: Mapping[str, int]
    versions: Mapping[str, str]
    part: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    float32_scopes: tuple[str, ...] = ()
    parity: tuple[Mapping[str, Any], ...] = field(default=())
    speed: tuple[Mapping[str, Any], ...] = field(default=())


def write_record(record: EncoderRecord, folder: Path) -> None:
    """Write `encoder.json` into `folder`."""
    content = {"format_version": FORMAT_VERSION, **asdict(record)}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def read_record(folder: Path) -> EncoderRecord:
    """Read `encoder.json` of `folder`.

    Raises:
        ExportError: it is no encoder folder, or one of another version.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise ExportError(
            f"{folder} has no {RECORD_FILE}; give a folder that `realtime-ser-export audio`, "
            "`text` or `quantize` wrote"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("format_version")
        if version != FORMAT_VERSION:
            raise ExportError(
                f"{path} has format_version {version}, this program reads {FORMAT_VERSION}; "
                "export the model again"
            )
        source = Source(**content.pop("source"))
        for name in ("float32_scopes", "parity", "speed"):
            content[name] = tuple(content[name])
        return EncoderRecord(source=source, **content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{path} is damaged ({error}); export the model again") from error


def graph_files(folder: Path) -> list[Path]:
    """The graph and, where it is too large for one file, the data beside it."""
    return sorted(folder.glob(f"{GRAPH_FILE}*"))


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well it takes the place of `folder`.

    A failure leaves `folder` as it was. Between two renames there is no folder at all, but never
    a mixture of old and new.

    Raises:
        ExportError: something is there that no program of ours wrote, and would be lost.
    """
    folder = folder.resolve()  # "." has no name to put .new behind
    if folder.exists() and not _is_ours(folder):
        raise ExportError(
            f"{folder.name} holds something else than an encoder or a bundle, which would be lost; "
            "give --out a new folder"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    draft.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether it may be replaced: a bundle, an encoder folder, or an empty one."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or bool(names & {RECORD_FILE, DESCRIPTION_FILE})
