"""An exported graph behind the product's own runtime, before it is part of a bundle.

What is measured here is what will be served: the same sessions, the same padding, the same
tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle_description import AudioPart, Batching, Role, TensorSpec, TextPart
from realtime_ser.models.graph import Graph
from realtime_ser.models.ort import choose_provider
from realtime_ser.models.ort_bound import bound_device
from realtime_ser.models.text import TextExpert

from ..encoder_folder import read_record
from ..errors import ExportError


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """A part, its graph in ONNX Runtime, and the expert that feeds it."""

    part: AudioPart | TextPart
    graph: Graph
    expert: AudioExpert | TextExpert
    tokenizer: Path | None

    def tokens(self, text: str) -> list[int]:
        """What the expert makes of a text."""
        from tokenizers import Tokenizer

        assert isinstance(self.part, TextPart)
        tokenizer = Tokenizer.from_file(str(self.tokenizer))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.part.max_tokens)
        ids: list[int] = tokenizer.encode(text).ids
        return ids


def read_part(part: Mapping[str, Any]) -> AudioPart | TextPart:
    """A part entry of `bundle.json`, with or without its name, as the runtime sees it.

    Raises:
        ExportError: something is missing.
    """
    try:
        common = {
            "name": part.get("name", "encoder"),
            "file": part["file"],
            "parameters": part.get("parameters"),
            "precision": part.get("precision"),
            "inputs": tuple(_tensor(spec) for spec in part["inputs"]),
            "outputs": tuple(_tensor(spec) for spec in part["outputs"]),
        }
        if "tokenizer" in part:
            return TextPart(
                **common,
                tokenizer=part["tokenizer"],
                max_tokens=part["max_tokens"],
                pad_id=part["pad_id"],
            )
        return AudioPart(
            **common,
            batching=Batching(part["batching"]),
            minimum_samples=part["minimum_samples"],
            maximum_samples=part["maximum_samples"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ExportError(
            f"the description of the graph lacks or mistakes {error}; export the model again"
        ) from error


def _tensor(spec: Mapping[str, Any]) -> TensorSpec:
    span = spec.get("range")
    return TensorSpec(
        name=spec["name"],
        dtype=spec["dtype"],
        shape=tuple(spec["shape"]),
        unit=spec["unit"],
        normalisation=spec.get("normalisation"),
        role=Role(spec["role"]) if "role" in spec else None,
        labels=tuple(spec.get("labels", ())),
        range=(span[0], span[1]) if span else None,
    )


def serve(
    graph: Path,
    part: Mapping[str, Any],
    *,
    device: str = "cpu",
    threads: int = 1,
    pad_multiple_samples: int = 1,
) -> ServedEncoder:
    """Load an ONNX file; a tokenizer is looked for beside it.

    Raises:
        ExportError: the part is incomplete.
        BundleFormatError: the graph does not load, or does not fit the part.
        InferenceError: the device does not work.
    """
    described = read_part(part)
    provider = choose_provider(device)
    bound = bound_device(provider)
    loaded = Graph(graph, described.inputs, described.outputs, provider, threads, bound)
    if isinstance(described, TextPart):
        tokenizer = graph.with_name(Path(described.tokenizer).name)
        return ServedEncoder(
            described, loaded, TextExpert(described, loaded, tokenizer, ()), tokenizer
        )
    expert = AudioExpert(described, loaded, (), pad_multiple_samples=pad_multiple_samples)
    return ServedEncoder(described, loaded, expert, None)


def serve_folder(folder: Path, *, device: str = "cpu", threads: int = 1) -> ServedEncoder:
    """Load an encoder folder; raises as `serve` and `read_record` do."""
    record = read_record(folder)
    return serve(folder / record.part["file"], record.part, device=device, threads=threads)
