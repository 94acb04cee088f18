"""A bundle or a transcription model in words, for `realtime-ser models show`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from realtime_ser.errors import ModelUnavailableError
from realtime_ser.models.bundle import Bundle
from realtime_ser.models.bundle_description import (
    AffectRule,
    AudioPart,
    BundleDescription,
    DataUse,
    Metric,
    Part,
    Role,
)
from realtime_ser.models.text_gates import Gates
from realtime_ser.models.transcriber_profile import read_profile
from realtime_ser.types import SAMPLE_RATE_HZ

_LEFT = 14


def describe(bundle: Bundle) -> str:
    """Licence, data, labels, parts, sizes and measured figures; several lines, none at the end."""
    description = bundle.description
    total = sum(record.bytes for record in description.files.values())
    rows = [
        ("bundle", f"{description.name} {description.version}: {description.description}"),
        ("folder", str(bundle.path)),
        ("sha256", bundle.hash),
        ("size", f"{format_bytes(total)} in {len(description.files)} files"),
        ("licence", f"{description.licence.weights} (the weights)"),
        *_listed("data", (_data_use(use) for use in description.licence.data)),
        ("languages", ", ".join(description.languages)),
        ("labels", ", ".join(description.labels)),
        *_listed("parts", (_part(part, description) for part in description.parts)),
        ("affect", _affect(description)),
        ("probabilities", _calibration(description)),
        *_listed("measured", _metrics(description.metrics)),
    ]
    return "\n".join(f"{name:<{_LEFT}}{text}".rstrip() for name, text in rows)


def describe_transcriber(name: str, folder: Path) -> str:
    """What a transcription model's folder says of itself; several lines, none at the end.

    Raises:
        ModelUnavailableError: its profile is damaged.
    """
    try:
        profile = read_profile(folder)
    except ValueError as error:
        raise ModelUnavailableError(
            f"the transcription model in {folder} has a damaged profile: {error}; copy it again"
        ) from error
    files = [file for file in folder.iterdir() if file.is_file()]
    rows = [
        ("transcription", f"{name}: {profile.description or 'nothing is said about it'}"),
        ("folder", str(folder)),
        ("size", f"{format_bytes(sum(f.stat().st_size for f in files))} in {len(files)} files"),
        ("licence", f"{profile.license or 'not stated'} (the weights)"),
        ("languages", ", ".join(profile.languages) or "not stated"),
        ("dropped", f"texts {_gates(profile.gates)}"),
        *_listed("measured", iter(profile.measured)),
    ]
    return "\n".join(f"{name:<{_LEFT}}{text}".rstrip() for name, text in rows)


def _gates(gates: Gates) -> str:
    reasons = [f"of a mean log probability under {gates.min_avg_logprob:g}"]
    if gates.min_token_logprob > -math.inf:
        reasons.append(f"with a token under {gates.min_token_logprob:g}")
    reasons.append(f"that repeat themselves {gates.max_compression_ratio:g} times")
    return f"{', '.join(reasons[:-1])}, or {reasons[-1]}"


def _listed(name: str, lines: Iterator[str]) -> list[tuple[str, str]]:
    """Rows of which only the first has a name."""
    rows = [("", line) for line in lines] or [("", "none")]
    return [(name, rows[0][1]), *rows[1:]]


def _data_use(use: DataUse) -> str:
    return f"{use.name}, {use.licence}: {use.used_for}"


def _part(part: Part, description: BundleDescription) -> str:
    facts = [format_bytes(description.files[part.file].bytes)]
    if part.parameters is not None:
        facts.insert(0, f"{part.parameters:,} parameters")
    if isinstance(part, AudioPart):
        shortest = part.minimum_samples / SAMPLE_RATE_HZ
        longest = part.maximum_samples / SAMPLE_RATE_HZ
        facts.append(f"{shortest:g} to {longest:g} s of audio")
    if part.precision is not None:
        facts.append(f"in {part.precision}")
    facts.append("gives " + ", ".join(output.name for output in part.outputs))
    return f"{part.name} ({part.file}): {'; '.join(facts)}"


def _affect(description: BundleDescription) -> str:
    if isinstance(description.affect, AffectRule):
        return f"from the emotions, by label centroids ({description.affect.source})"
    if description.affect:
        return f"from {description.affect.part} ({description.affect.source})"
    giving = [part.name for part in description.parts if part.output(Role.AFFECT)]
    return f"directly, from {', '.join(giving)}"


def _calibration(description: BundleDescription) -> str:
    calibration = description.calibration
    return (
        f"softmax at temperature {calibration.temperature:g}; "
        f"abstains when the top one is below {calibration.abstain_below:g}"
    )


def _metrics(metrics: Iterable[Metric]) -> Iterator[str]:
    """The figures under the data that they were measured on."""
    for place, measured in itertools.groupby(metrics, _measured_on):
        yield place
        for metric in measured:
            yield f"  {metric.value:<7.4g} {metric.name}: {metric.protocol}"


def _measured_on(metric: Metric) -> str:
    facts = [f"{metric.dataset} {metric.split}"]
    if metric.count is not None:
        facts.append(f"n = {metric.count}")
    if metric.classes is not None:
        facts.append(f"{metric.classes} classes")
    return ", ".join(facts)


def format_bytes(count: int) -> str:
    """A size in decimal units, as disks and downloads are labelled: 11.9 MB."""
    if count < 1000:
        return f"{count} B"
    size, unit = count / 1000, "kB"
    for larger in ("MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}"
