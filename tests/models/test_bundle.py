"""Every way in which a bundle can be broken, and what is said about it."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime_ser.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
)
from realtime_ser.models.bundle import load_bundle, packaged_bundles, resolve_bundle
from realtime_ser.models.bundle_description import AFFECT_LABELS, Batching, Role
from realtime_ser.models.bundle_parse import parse_description

Write = Callable[..., Path]
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with all parts; read only."""
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("full"), text=True, fusion=True)


def test_everything_is_read(full: Path) -> None:
    bundle = load_bundle(full)
    description = bundle.description
    assert (bundle.path, bundle.hash) == (full, tiny.digest(full / "bundle.json"))
    assert description.labels == tiny.LABELS
    assert [part.name for part in description.parts] == ["audio", "text", "fusion"]
    (audio,) = description.audio
    assert (audio.batching, audio.minimum_samples) == (Batching.MASKED, 400)
    logits = audio.output(Role.LOGITS)
    assert logits is not None
    assert logits.labels == tiny.GRAPH_LABELS
    assert logits.shape == ("batch", 7)
    assert audio.output(Role.AFFECT) is None
    (text,) = description.text
    assert (text.tokenizer, text.max_tokens) == ("text/tokenizer.json", 8)
    assert description.affect is not None
    assert description.affect.centroids["angry"] == (0.1, 0.9, 0.5)
    assert description.files["golden.npz"].bytes == (full / "golden.npz").stat().st_size
    assert description.metrics[0].classes == 7


def test_affect_of_a_graph_replaces_the_centroids(tiny_bundle: Write) -> None:
    description = load_bundle(tiny_bundle(affect_output=True)).description
    affect = description.audio[0].output(Role.AFFECT)
    assert description.affect is None
    assert affect is not None
    assert set(affect.labels) == set(AFFECT_LABELS)
    assert affect.range == (1, 7)


# Where it is.


def test_a_path_is_a_folder(full: Path) -> None:
    assert resolve_bundle(full) == full
    assert resolve_bundle(str(full)) == full


def test_a_packaged_bundle_wins_over_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_bundle("default").parent.name == "models"
    assert resolve_bundle("./default") == Path("default")


@pytest.mark.parametrize(
    "name", ["nothing", "", "~nobody-of-that-name/x", "a\0b", "x" * 5000, "/nowhere/at/all"]
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = ", ".join(packaged_bundles()) or "none"
    if name == "":
        # Path("") is the current folder.
        with pytest.raises(BundleNotFoundError, match=r"holds no bundle\.json"):
            load_bundle(name)
        return
    with pytest.raises(BundleNotFoundError, match=re.escape(f"packaged one ({known})")):
        load_bundle(name)


def test_a_file_is_no_bundle(full: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="is a file, not a folder"):
        load_bundle(full / "bundle.json")


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"holds no bundle\.json"):
        load_bundle(tmp_path)


# Integrity.

FILES = (
    "bundle.json",
    "bundle.json.sha256",
    "audio/model.onnx",
    "text/model.onnx",
    "text/tokenizer.json",
    "fusion/model.onnx",
    "golden.npz",
    "MODEL_CARD.md",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.37, 1.0])
def test_one_flipped_bit_is_found(tiny_bundle: Write, name: str, place: float) -> None:
    path = tiny_bundle(text=True, fusion=True)
    content = bytearray((path / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=f"{re.escape(name)}.*reinstall"):
        load_bundle(path)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_missing_file_is_named(tiny_bundle: Write, name: str) -> None:
    path = tiny_bundle(text=True, fusion=True)
    (path / name).unlink()
    with pytest.raises(BundleIntegrityError, match=f"{re.escape(name)}: is missing; reinstall"):
        load_bundle(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b" "])
def test_another_length_is_found(
    tiny_bundle: Write, name: str, change: Callable[[bytes], bytes]
) -> None:
    path = tiny_bundle(text=True, fusion=True)
    (path / name).write_bytes(change((path / name).read_bytes()))
    with pytest.raises(BundleIntegrityError, match=re.escape(name)):
        load_bundle(path)


def test_a_file_that_is_not_listed_is_an_error(tiny_bundle: Write) -> None:
    path = tiny_bundle()
    (path / ".DS_Store").write_bytes(b"left alone")
    load_bundle(path)
    (path / "audio" / "model.onnx.data").write_bytes(b"weights")
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx\.data: is not listed"):
        load_bundle(path)


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_bundle_is_an_error(
    tiny_bundle: Write, tmp_path: Path, name: str
) -> None:
    path = tiny_bundle(text=True, fusion=True)
    (path / name).rename(tmp_path / "outside")
    (path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(BundleIntegrityError, match="is a link out of the bundle"):
        load_bundle(path)


def test_a_linked_folder_is_an_error(tiny_bundle: Write, tmp_path: Path) -> None:
    path = tiny_bundle()
    (path / "audio").rename(tmp_path / "outside")
    (path / "audio").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleIntegrityError, match="is a link out of the bundle"):
        load_bundle(path)


def test_a_bundle_may_itself_be_reached_by_a_link(tiny_bundle: Write, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny_bundle())
    assert load_bundle(tmp_path / "link").description.name == "tiny"


def test_things_that_are_no_files(tiny_bundle: Write) -> None:
    path = tiny_bundle()
    (path / "MODEL_CARD.md").unlink()
    os.mkfifo(path / "MODEL_CARD.md")  # Opening it would wait for ever.
    with pytest.raises(BundleIntegrityError, match=r"MODEL_CARD\.md: is not a file"):
        load_bundle(path)
    (path / "MODEL_CARD.md").unlink()
    (path / "MODEL_CARD.md").symlink_to("MODEL_CARD.md")
    with pytest.raises(BundleIntegrityError, match=r"MODEL_CARD\.md: cannot be read"):
        load_bundle(path)


def test_a_huge_description_is_not_read(tiny_bundle: Write) -> None:
    path = tiny_bundle()
    with (path / "bundle.json").open("ab") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(BundleFormatError, match="is larger than"):
        load_bundle(path)


# The description.


def audio(description: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = description["parts"]["audio"][0]
    return part


def put(*where: str | int, value: object) -> Edit:
    """An edit that sets the value at a place."""

    def edit(description: dict[str, Any]) -> None:
        target: Any = description
        for key in where[:-1]:
            target = target[key]
        target[where[-1]] = value

    return edit


def drop(*where: str | int) -> Edit:
    def edit(description: dict[str, Any]) -> None:
        target: Any = description
        for key in where[:-1]:
            target = target[key]
        del target[where[-1]]

    return edit


AUDIO = ("parts", "audio", 0)
LOGITS = (*AUDIO, "outputs", 0)
SIX = list(tiny.GRAPH_LABELS[:6])

BROKEN: list[tuple[Edit, str]] = [
    (put("format_version", value=2), "field format_version: .*version 1 only; upgrade"),
    (put("format_version", value=True), "field format_version"),
    (put("format_version", value=1.0), "field format_version"),
    (drop("format_version"), "field format_version: is missing"),
    (put("surprise", value=1), 'has an unknown key "surprise"'),
    (put(*AUDIO, "surprise", value=1), r'field parts\.audio\[0\]: has an unknown key "surprise"'),
    (put("parts", "video", value=[]), 'field parts: has an unknown key "video"'),
    (put("files", "golden.npz", "md5", value="x"), "unknown key"),
    (drop("licence"), "field licence: is missing"),
    (put("licence", value="MIT"), "field licence: must be an object"),
    (put("licence", "data", 0, "licence", value=""), r"field licence\.data\[0\]\.licence: must be"),
    (put("name", value="a\x1b[2Jb"), "field name: must be one line of printable text"),
    (put("name", value="\ud800"), "field name: must be one line of printable text"),
    (put("languages", value=[]), "field languages: must hold at least 1"),
    (put("sample_rate_hz", value=8000), "field sample_rate_hz: .*16000"),
    (put("sample_rate_hz", value=True), "field sample_rate_hz"),
    (put("labels", value=["happy", "happy"]), "field labels: names something twice"),
    (put("labels", value=["happy"]), "field labels: must hold at least 2"),
    (put("labels", value=SIX), r"outputs\[0\]\.labels: must be sad, happy"),
    (put(*LOGITS, "labels", value=SIX), r"outputs\[0\]\.labels: must be angry, disgust"),
    (put(*LOGITS, "shape", value=["batch", 6]), r"outputs\[0\]\.shape: has 6 columns for 7 labels"),
    (put(*LOGITS, "shape", value=["batch", "labels"]), r"\.shape: must be a free batch axis"),
    (put(*LOGITS, "shape", value=[1, 7]), r"\.shape: must be a free batch axis"),
    (put(*LOGITS, "role", value="softmax"), r"\.role: must be one of logits, embedding, affect"),
    (put(*LOGITS, "dtype", value="int64"), r"\.dtype: must be one of float32, float16"),
    (put(*AUDIO, "inputs", 1, "dtype", value="float32"), r"\.dtype: must be one of int64"),
    (put(*AUDIO, "precision", value="bfloat16"), r"\.precision: must be one of float32, float16"),
    (put(*AUDIO, "outputs", 1, "role", value="logits"), r"outputs\[1\]\.labels: is missing"),
    (drop(*LOGITS), r"parts\.audio: without fusion"),
    (put(*AUDIO, "outputs", value=[]), r"outputs: must hold one output or more"),
    (put(*AUDIO, "outputs", 1, "name", value="logits"), "names a tensor twice"),
    (drop(*AUDIO, "inputs", 1), r"parts\.audio\[0\]\.inputs: must name lengths"),
    (put(*AUDIO, "inputs", 0, "name", value="mel"), "must be one of waveform, lengths"),
    (put(*AUDIO, "inputs", 0, "shape", value=["samples"]), r"inputs\[0\]\.shape"),
    (put(*AUDIO, "inputs", 0, "shape", value=["batch", 0]), "must be a size or a name"),
    (put(*AUDIO, "batching", value="padded"), "batching: must be one of masked, exact_length"),
    (put(*AUDIO, "minimum_samples", value=0), "minimum_samples: must be a whole number"),
    (put(*AUDIO, "maximum_samples", value=399), "maximum_samples: must be a whole number in 400"),
    (put(*AUDIO, "name", value="../audio"), "name: must be lower-case letters"),
    (put(*AUDIO, "file", value="audio/other.onnx"), "files: does not list audio/other.onnx"),
    (put("parts", "audio", value=[]), "parts.audio: must hold at least one part"),
    (put("parts", "text", value=None), "parts.text: must be a list"),
    (put("calibration", "temperature", value=0), "calibration.temperature: must be a finite"),
    (put("calibration", "temperature", value="1"), "calibration.temperature: must be a finite"),
    (put("calibration", "temperature", value=10**400), "calibration.temperature: must be"),
    (put("calibration", "abstain_below", value=1.5), "abstain_below: .* in 0 to 1"),
    (put("affect", value=None), "affect: is null, and neither"),
    (drop("affect", "centroids", "sad"), "affect.centroids: must name exactly the labels"),
    (put("affect", "centroids", "joy", value=[0, 0, 0]), "must name exactly the labels"),
    (put("affect", "centroids", "sad", value=[0, 0]), "centroids.sad: must hold 3 numbers"),
    (put("affect", "centroids", "sad", value=[0, 0, -1]), r"centroids\.sad\[2\]: .*in 0 to 1"),
    (put("affect", "method", value="magic"), "affect.method: must be one of label_centroids"),
    (put("metrics", 0, "value", value=None), r"metrics\[0\]\.value: must be a finite number"),
    (put("metrics", 0, "classes", value=0), r"metrics\[0\]\.classes"),
    (put("golden", "tolerance", value=-1), "golden.tolerance"),
    (put("golden", "file", value="gold.npz"), "files: does not list gold.npz"),
    (put("files", "golden.npz", "sha256", value="0" * 63), "sha256: must be 64"),
    (put("files", "golden.npz", "sha256", value="G" * 64), "sha256: must be 64"),
    (put("files", "golden.npz", "bytes", value=1.5), "bytes: must be a whole number"),
    (put("files", "bundle.json", value={}), "must not be listed"),
]


@pytest.mark.parametrize(("edit", "message"), BROKEN)
def test_a_broken_rule_is_named(tiny_bundle: Write, edit: Edit, message: str) -> None:
    with pytest.raises(BundleFormatError, match=message) as caught:
        load_bundle(tiny_bundle(edit=edit))
    assert "bundle.json" in str(caught.value)
    assert "re-export" in str(caught.value)


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd",
        "../outside",
        "audio/../../outside",
        "audio/../golden.npz",
        "./golden.npz",
        "audio//model.onnx",
        "audio/",
        ".",
        "",
        "..",
        "C:/x",
        "audio\\model.onnx",
        "a\nb",
        "a\0b",
    ],
)
@pytest.mark.parametrize("place", [(*AUDIO, "file"), ("golden", "file"), ("files",)])
def test_only_plain_paths_inside_the_bundle(
    tiny_bundle: Write, file: str, place: tuple[str | int, ...]
) -> None:
    record = {"sha256": "0" * 64, "bytes": 1}
    edit = put("files", file, value=record) if place == ("files",) else put(*place, value=file)
    with pytest.raises(BundleFormatError, match=r"must be (a p|one line)"):
        load_bundle(tiny_bundle(edit=edit))


FULL_BROKEN: list[tuple[Edit, str]] = [
    (drop("parts", "fusion", "inputs", 2), "text_embedding and text_present go together"),
    (drop("parts", "fusion", "inputs", 0), "must name audio_embedding"),
    (put("parts", "fusion", "inputs", 1, "shape", value=["batch", 3]), "is 3 wide, the experts"),
    (put("parts", "fusion", "outputs", 0, "role", value="embedding"), "unknown key"),
    (put("parts", "text", value=[]), "text_embedding needs an embedding of every such part"),
    (drop("parts", "audio", 0, "outputs", 1), "audio_embedding needs an embedding"),
    (put("parts", "text", 0, "name", value="audio"), "two parts have the same name"),
    (put("parts", "text", 0, "tokenizer", value="t.json"), "does not list t.json"),
    (put("parts", "text", 0, "max_tokens", value=0), "max_tokens"),
    (drop("parts", "text", 0, "inputs", 1), "must name attention_mask"),
]


@pytest.mark.parametrize(("edit", "message"), FULL_BROKEN)
def test_a_broken_rule_of_fusion_is_named(tiny_bundle: Write, edit: Edit, message: str) -> None:
    with pytest.raises(BundleFormatError, match=message):
        load_bundle(tiny_bundle(text=True, fusion=True, edit=edit))


def test_affect_comes_from_one_place_only(tiny_bundle: Write) -> None:
    rule = {"method": "label_centroids", "centroids": tiny.CENTROIDS, "source": "made up"}
    with pytest.raises(BundleFormatError, match="null or of method part when a part gives"):
        load_bundle(tiny_bundle(affect_output=True, edit=put("affect", value=rule)))
    falling = put(*AUDIO, "outputs", 2, "range", value=[7, 1])
    with pytest.raises(BundleFormatError, match="range: must rise"):
        load_bundle(tiny_bundle("falling", affect_output=True, edit=falling))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not the JSON of a bundle"),
        (b"\xff\xfe{}", "is not the JSON of a bundle"),
        (b"[]", "must be an object"),
        (b'{"a": 1, "a": 2}', "the same key twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"format_version": ' + b"9" * 5000 + b"}", "is not the JSON of a bundle"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_description(content: bytes, message: str) -> None:
    with pytest.raises(BundleFormatError, match=message):
        parse_description(content, "bundle.json")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
FUZZ = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places(value: Any, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value but the root."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    found = []
    for key, inner in items:
        found += [(*where, key), *places(inner, (*where, key))]
    return found


@FUZZ
@given(st.data())
def test_any_edit_is_understood_or_refused(full: Path, data: st.DataObject) -> None:
    description = json.loads((full / "bundle.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(places(description)))
        action = data.draw(st.sampled_from(["replace", "drop", "swap"]))
        if action == "drop":
            drop(*where)(description)
            continue
        other: Any = copy.deepcopy(description)
        for key in data.draw(st.sampled_from(places(description))):
            other = other[key]
        put(*where, value=other if action == "swap" else data.draw(JSON_VALUES))(description)
    content = json.dumps(description).encode()
    try:
        parsed = parse_description(content, "bundle.json")
    except BundleFormatError as error:
        str(error).encode()  # It can be printed.
    else:
        assert parsed.audio


@FUZZ
@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(BundleFormatError):
        parse_description(content, "bundle.json")


@FUZZ
@given(data=st.data())
def test_any_flipped_bit_is_found(full: Path, data: st.DataObject) -> None:
    path = full / data.draw(st.sampled_from(FILES))
    content = path.read_bytes()
    broken = bytearray(content)
    broken[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        path.write_bytes(broken)
        with pytest.raises(BundleError):
            load_bundle(full)
    finally:
        path.write_bytes(content)
