"""`bundle.json` to values, strictly: what the runtime would trip over later fails here.

The text comes from a file that anyone may have written, so only BundleFormatError leaves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from realtime_ser.errors import BundleFormatError
from realtime_ser.models.bundle_description import (
    AFFECT_LABELS,
    FORMAT_VERSION,
    PRECISIONS,
    AffectPart,
    AffectRule,
    AudioPart,
    Batching,
    BundleDescription,
    Calibration,
    DataUse,
    FileRecord,
    GoldenSpec,
    Licence,
    Metric,
    Part,
    Role,
    TensorSpec,
    TextPart,
)
from realtime_ser.models.json_table import Table, parse_json
from realtime_ser.types import SAMPLE_RATE_HZ

_MANY = 2**53
_FLOATS = ("float32", "float16")
_INTEGERS = ("int64",)
_AUDIO_INPUTS = {"waveform": (_FLOATS, 2), "lengths": (_INTEGERS, 1)}
_TEXT_INPUTS = {"input_ids": (_INTEGERS, 2), "attention_mask": (_INTEGERS, 2)}
_FUSION_INPUTS = {
    "audio_embedding": (_FLOATS, 2),
    "text_embedding": (_FLOATS, 2),
    "text_present": (_FLOATS, 1),
}
_KnownInputs = Mapping[str, tuple[tuple[str, ...], int]]


def parse_description(content: bytes, source: str) -> BundleDescription:
    """Read the bytes of `bundle.json`; `source` names them in messages.

    Raises:
        BundleFormatError: the message names the field and the remedy.
    """
    root = Table(parse_json(content, source), source)
    version = root.take("format_version")
    if version != FORMAT_VERSION or not isinstance(version, int) or isinstance(version, bool):
        raise BundleFormatError(
            f"{source}, field format_version: this program reads version {FORMAT_VERSION} only; "
            "upgrade realtime-ser or re-export the bundle"
        )
    labels = root.words("labels", least=2)
    parts = root.table("parts")
    description = BundleDescription(
        name=root.text("name"),
        version=root.text("version"),
        description=root.text("description"),
        licence=_licence(root.table("licence")),
        languages=root.words("languages", least=1),
        sample_rate_hz=root.integer("sample_rate_hz", SAMPLE_RATE_HZ, SAMPLE_RATE_HZ),
        labels=labels,
        audio=parts.tables("audio", lambda table: _audio_part(table, labels)),
        text=parts.tables("text", lambda table: _text_part(table, labels)),
        fusion=_fusion(parts.table("fusion"), labels) if parts.has("fusion") else None,
        calibration=_calibration(root.table("calibration")),
        affect=_affect(root.table("affect"), labels) if root.has("affect") else None,
        metrics=root.tables("metrics", _metric),
        golden=_golden(root.table("golden")),
        files=_files(root.table("files")),
    )
    parts.done()
    root.done()
    _check_parts(description, parts)
    _check_fusion(description, parts)
    _check_affect(description, root)
    _check_files(description, root)
    return description


def _licence(table: Table) -> Licence:
    def use(row: Table) -> DataUse:
        value = DataUse(row.text("name"), row.text("licence"), row.text("used_for"))
        row.done()
        return value

    licence = Licence(table.text("weights"), table.tables("data", use))
    table.done()
    return licence


def _calibration(table: Table) -> Calibration:
    calibration = Calibration(
        temperature=table.number("temperature", 1e-3, 1e3),
        abstain_below=table.number("abstain_below", 0, 1),
    )
    table.done()
    return calibration


def _affect(table: Table, labels: tuple[str, ...]) -> AffectRule | AffectPart:
    if table.one_of("method", ("label_centroids", "part")) == "part":
        given = AffectPart(table.text("part"), table.text("source"))
        table.done()
        return given
    centroids = table.table("centroids")
    if set(centroids.names()) != set(labels):
        table.fail("centroids", f"must name exactly the labels {', '.join(labels)}")
    points = {}
    for label in labels:
        valence, arousal, dominance = centroids.numbers(label, 3, 0, 1)
        points[label] = (valence, arousal, dominance)
    rule = AffectRule(MappingProxyType(points), table.text("source"))
    table.done()
    return rule


def _metric(table: Table) -> Metric:
    metric = Metric(
        name=table.text("name"),
        value=table.number("value"),
        dataset=table.text("dataset"),
        split=table.text("split"),
        protocol=table.text("protocol"),
        count=table.integer("count", 0, _MANY) if table.has("count") else None,
        classes=table.integer("classes", 1, _MANY) if table.has("classes") else None,
    )
    table.done()
    return metric


def _golden(table: Table) -> GoldenSpec:
    golden = GoldenSpec(table.path("file"), table.number("tolerance", 0, 1))
    table.done()
    return golden


def _files(table: Table) -> MappingProxyType[str, FileRecord]:
    records = {}
    for file in table.names():
        table.require_path(file, file)
        if file in ("bundle.json", "bundle.json.sha256"):
            table.fail(file, "must not be listed: it cannot hold its own hash")
        row = table.table(file)
        sha256 = row.text("sha256")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            row.fail("sha256", "must be 64 lower-case hex digits")
        records[file] = FileRecord(sha256, row.integer("bytes", 0, _MANY))
        row.done()
    table.done()
    return MappingProxyType(records)


def _audio_part(table: Table, labels: tuple[str, ...]) -> AudioPart:
    name, file, parameters, precision, inputs, outputs = _part(table, labels, _AUDIO_INPUTS)
    batching = Batching(table.one_of("batching", tuple(Batching)))
    minimum = table.integer("minimum_samples", 1, _MANY)
    part = AudioPart(
        name=name,
        file=file,
        parameters=parameters,
        precision=precision,
        inputs=inputs,
        outputs=outputs,
        batching=batching,
        minimum_samples=minimum,
        maximum_samples=table.integer("maximum_samples", minimum, _MANY),
    )
    table.done()
    needed = {"waveform", "lengths"} if batching is Batching.MASKED else {"waveform"}
    _require_inputs(table, part, needed)
    return part


def _text_part(table: Table, labels: tuple[str, ...]) -> TextPart:
    name, file, parameters, precision, inputs, outputs = _part(table, labels, _TEXT_INPUTS)
    part = TextPart(
        name=name,
        file=file,
        parameters=parameters,
        precision=precision,
        inputs=inputs,
        outputs=outputs,
        tokenizer=table.path("tokenizer"),
        max_tokens=table.integer("max_tokens", 1, 2**20),
        pad_id=table.integer("pad_id", 0, 2**31),
    )
    table.done()
    _require_inputs(table, part, set(_TEXT_INPUTS))
    return part


def _fusion(table: Table, labels: tuple[str, ...]) -> Part:
    part = Part(*_part(table, labels, _FUSION_INPUTS))
    table.done()
    if part.output(Role.LOGITS) is None:
        table.fail("outputs", "must have one of role logits")
    return part


def _part(
    table: Table, labels: tuple[str, ...], known_inputs: _KnownInputs
) -> tuple[str, str, int | None, str | None, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What all parts have: name, file, parameters, precision, inputs and outputs."""
    name = table.text("name")
    if not re.fullmatch("[a-z][a-z0-9_-]*", name):
        table.fail("name", "must be lower-case letters, digits, - and _")
    inputs = table.tables("inputs", lambda row: _input(row, known_inputs))
    outputs = table.tables("outputs", lambda row: _output(row, labels))
    for key, specs in (("inputs", inputs), ("outputs", outputs)):
        if len({spec.name for spec in specs}) != len(specs):
            table.fail(key, "names a tensor twice")
    if not outputs or len({spec.role for spec in outputs}) != len(outputs):
        table.fail("outputs", "must hold one output or more, each of another role")
    parameters = table.integer("parameters", 0, _MANY) if table.has("parameters") else None
    precision = table.one_of("precision", PRECISIONS) if table.has("precision") else None
    return name, table.path("file"), parameters, precision, inputs, outputs


def _input(table: Table, known: _KnownInputs) -> TensorSpec:
    name = table.one_of("name", tuple(known))
    dtypes, rank = known[name]
    spec = TensorSpec(
        name=name,
        dtype=table.one_of("dtype", dtypes),
        shape=table.shape("shape"),
        unit=table.text("unit"),
        normalisation=table.text("normalisation") if table.has("normalisation") else None,
    )
    table.done()
    if len(spec.shape) != rank or isinstance(spec.shape[0], int):
        table.fail("shape", f"must be a free batch axis and {rank - 1} more")
    return spec


def _output(table: Table, labels: tuple[str, ...]) -> TensorSpec:
    role = Role(table.one_of("role", tuple(Role)))
    own_labels: tuple[str, ...] = ()
    if role is not Role.EMBEDDING:
        own_labels = table.words("labels", least=1)
    span = None
    if role is Role.AFFECT:
        low, high = table.numbers("range", 2, -1e6, 1e6)
        span = (low, high)
        if low >= high:
            table.fail("range", "must rise from its first number to its second")
    spec = TensorSpec(
        name=table.text("name"),
        dtype=table.one_of("dtype", _FLOATS),
        shape=table.shape("shape"),
        unit=table.text("unit"),
        role=role,
        labels=own_labels,
        range=span,
    )
    table.done()
    if len(spec.shape) != 2 or isinstance(spec.shape[0], int) or isinstance(spec.shape[1], str):
        table.fail("shape", "must be a free batch axis and one of known size")
    wanted = {Role.LOGITS: labels, Role.AFFECT: AFFECT_LABELS}.get(role)
    if wanted is not None:
        if set(own_labels) != set(wanted):
            table.fail("labels", f"must be {', '.join(wanted)}, in the order of the graph")
        if spec.shape[1] != len(wanted):
            table.fail("shape", f"has {spec.shape[1]} columns for {len(wanted)} labels")
    return spec


def _require_inputs(table: Table, part: Part, needed: set[str]) -> None:
    missing = needed - {spec.name for spec in part.inputs}
    if missing:
        table.fail("inputs", f"must name {', '.join(sorted(missing))}")


def _check_parts(description: BundleDescription, parts: Table) -> None:
    names = [part.name for part in description.parts]
    if len(set(names)) != len(names):
        parts.fail("", "two parts have the same name")
    if not description.audio:
        parts.fail("audio", "must hold at least one part")
    if description.fusion is None and not any(
        part.output(Role.LOGITS) for part in description.audio
    ):
        parts.fail("audio", "without fusion, one audio part must have an output of role logits")


def _check_fusion(description: BundleDescription, parts: Table) -> None:
    """The head's embeddings are those of the experts side by side, and it can miss the text."""
    if description.fusion is None:
        return
    names = {spec.name for spec in description.fusion.inputs}
    if "audio_embedding" not in names:
        parts.fail("fusion.inputs", "must name audio_embedding")
    if ("text_embedding" in names) != ("text_present" in names):
        parts.fail("fusion.inputs", "text_embedding and text_present go together")
    experts: dict[str, tuple[Part, ...]] = {
        "audio_embedding": description.audio,
        "text_embedding": description.text,
    }
    for spec in description.fusion.inputs:
        if spec.name not in experts:
            continue
        embeddings = [part.output(Role.EMBEDDING) for part in experts[spec.name]]
        if not embeddings or None in embeddings:
            parts.fail("fusion.inputs", f"{spec.name} needs an embedding of every such part")
        width = sum(int(embedding.shape[1]) for embedding in embeddings if embedding)
        if spec.shape[1] != width:
            parts.fail(
                "fusion.inputs", f"{spec.name} is {spec.shape[1]} wide, the experts give {width}"
            )


def _check_affect(description: BundleDescription, root: Table) -> None:
    # Text may be missing, so its affect alone is not enough.
    heads = [*description.audio, *([description.fusion] if description.fusion else [])]
    giving = [part.name for part in heads if part.output(Role.AFFECT)]
    if description.affect is None and not giving:
        root.fail("affect", "is null, and neither audio nor fusion has an output of role affect")
    if isinstance(description.affect, AffectPart) and description.affect.part not in giving:
        root.fail(
            "affect.part", "must name an audio or fusion part that has an output of role affect"
        )
    if isinstance(description.affect, AffectRule) and any(
        part.output(Role.AFFECT) for part in description.parts
    ):
        root.fail("affect", "must be null or of method part when a part gives affect itself")


def _check_files(description: BundleDescription, root: Table) -> None:
    needed = [part.file for part in description.parts]
    needed += [part.tokenizer for part in description.text]
    needed.append(description.golden.file)
    for file in needed:
        if file not in description.files:
            root.fail("files", f"does not list {file}")
