"""Folders of exported encoders: written whole or not at all, read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime_ser_export.encoder_folder import (
    EncoderRecord,
    Source,
    read_record,
    replacing,
    write_record,
)
from realtime_ser_export.errors import ExportError

RECORD = EncoderRecord(
    modality="audio",
    source=Source("someone/model", "abc", "HubertModel", "hubert", "apache-2.0", "0" * 64),
    precision="float32",
    opset=17,
    nodes={"exported": 10, "optimised": 7},
    versions={"torch": "2.13.0"},
    part={"file": "model.onnx"},
    float32_scopes=("/normalise",),
    parity=({"case": "1 s", "max_abs_error": 1e-6},),
)


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path)
    assert read_record(tmp_path) == RECORD


def test_a_folder_without_a_record_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="realtime-ser-export audio"):
        read_record(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 1, "strange": 1}'])
def test_a_damaged_record_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(ExportError, match="export the model again"):
        read_record(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    with pytest.raises(ExportError, match="format_version 2"):
        read_record(tmp_path)


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    with replacing(folder) as draft:
        (draft / "encoder.json").write_text("old")
    with pytest.raises(KeyError), replacing(folder) as draft:
        (draft / "encoder.json").write_text("new")
        raise KeyError
    assert (folder / "encoder.json").read_text() == "old"
    with replacing(folder) as draft:
        (draft / "bundle.json").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["bundle.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_what_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    """`--out .` must not cost anyone their work."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("all of it")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        holds = f"{name} holds something else"
        with pytest.raises(ExportError, match=holds), replacing(tmp_path / name):
            pytest.fail("there was a draft")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "all of it"
    (tmp_path / "empty").mkdir()
    with replacing(tmp_path / "empty") as draft:
        (draft / "encoder.json").touch()
    assert (tmp_path / "empty" / "encoder.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "thesis"]
