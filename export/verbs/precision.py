"""The verbs `quantize` and `parity`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_ser.models.bundle_description import PRECISIONS

from ..encoder_folder import EncoderRecord, read_record, write_record
from ..errors import ExportError
from ..progress import say

if TYPE_CHECKING:
    from ..graphs.parity import Reference

_QUANTIZE = """\
Make a smaller and faster encoder folder out of one in float32, hold it against the original, and
time it beside it. float16 is for GPUs: on a CPU it is slower. int8-dynamic is for CPUs and needs
nothing; int8-static is for CPUs too, and is calibrated on recordings (for text: on texts), best on
some like those that it will hear. What differs too much from the original is not written.
"""
_PARITY = """\
Compare an exported graph, as it is served, with the model that it was made from: alone at lengths
from 0.4 to 30 s, in batches, padded, with noise in the padding; texts of many kinds. The rows are
written into encoder.json. Exit code 1 if it does not answer as the model does.
"""


def add_verbs(verbs: Any) -> None:
    """Add the verbs to an argparse sub-command group; each sets `run`."""
    quantize = verbs.add_parser("quantize", help="half precision or 8 bits", description=_QUANTIZE)
    quantize.set_defaults(run=run_quantize)
    quantize.add_argument("folder", metavar="DIR", type=Path, help="encoder folder in float32")
    quantize.add_argument("--precision", required=True, choices=PRECISIONS[1:])
    quantize.add_argument("--out", type=Path, required=True, help="folder to write or replace")
    quantize.add_argument(
        "--calibration",
        type=Path,
        metavar="PATH",
        help="of int8-static: folder of recordings, or file with a text a line (default: ours)",
    )
    quantize.add_argument(
        "--convolutions",
        action="store_true",
        help="of int8-static: in 8 bits too; faster still, but few models bear it",
    )
    _add_common(quantize)
    parity = verbs.add_parser("parity", help="compare a graph with its model", description=_PARITY)
    parity.set_defaults(run=run_parity)
    parity.add_argument("folder", metavar="DIR", type=Path, help="encoder folder")
    parity.add_argument(
        "--source",
        metavar="MODEL",
        help="hub id or folder of the model (default: the one that the folder names); or an "
        "encoder folder in float32",
    )
    parity.add_argument("--fast", action="store_true", help="a few cases instead of all")
    parity.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    _add_common(parity)


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--tolerance",
        type=_tolerance,
        help="largest error of any value, absolute or relative to the largest of its row "
        "(default: by precision)",
    )
    verb.add_argument("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no tolerance; give a number above 0")
    return value


def run_quantize(options: argparse.Namespace) -> None:
    """Quantise, and say what it cost and brought."""
    from ..graphs.parity import EVERYTHING, with_error
    from ..graphs.quantize import quantize

    tolerance = None
    if options.tolerance is not None:
        tolerance = with_error(options.precision, options.tolerance)
    record = quantize(
        options.folder,
        options.out,
        options.precision,
        options.calibration,
        convolutions=options.convolutions,
        tolerance=tolerance,
        threads=options.threads,
    )
    print(
        f"wrote {options.out}: {_megabytes(options.out)} MB, {record.precision}, "
        f"of {_megabytes(options.folder)} MB"
    )
    for row in record.parity:
        if row["case"] == EVERYTHING:
            print(_in_words(row))
    for row in record.speed:
        if row.get("measured", True):
            print(
                f"{row['device']}, {row['threads']} threads, {row['input']}: {row['ms']} ms, "
                f"{row['times_as_fast']} times as fast as float32 (load {row['load_average']})"
            )
        else:
            print(f"{row['device']}: not measured, {row['why']}")


def _in_words(row: Mapping[str, Any]) -> str:
    words = f"{row['output']}: error at most {row['max_abs_error']:.2g}"
    if row["error_to_spread"] is not None:
        words += f", {row['error_to_spread']:.1%} of what tells utterances apart"
    if row["cosine"] is not None:
        words += f", cosine at least {row['cosine']:.5f}"
    if row["labels_agree"] is not None:
        words += f", {row['labels_agree']:.0%} of clear labels agree"
    return words


def _megabytes(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6)


def run_parity(options: argparse.Namespace) -> int:
    """Compare, print, keep the rows; 1 if something is beyond tolerance."""
    from ..graphs.parity import TOLERANCES, check, table, with_error

    record = read_record(options.folder)
    tolerance = TOLERANCES[record.precision]
    if options.tolerance is not None:
        tolerance = with_error(record.precision, options.tolerance)
    reference = _reference(options.source or record.source.model, record, options.threads)
    report = check(
        options.folder,
        record.part,
        reference,
        "fast" if options.fast else "full",
        tolerance,
        device=options.device,
        threads=options.threads,
    )
    print("\n".join(table(report)))
    write_record(replace(record, parity=report.as_json()), options.folder)
    return 0 if report.passed else 1


def _reference(source: str, record: EncoderRecord, threads: int) -> Reference:
    """The truth: an encoder folder in float32, or the original model."""
    if (Path(source) / "encoder.json").is_file():
        from ..graphs.parity import graph_reference

        if read_record(Path(source)).precision != "float32":
            raise ExportError(f"{source} is not in float32; compare with one that is")
        return graph_reference(Path(source), threads)
    say("loading torch and transformers")
    from ..graphs.encoder_export import read_again

    return read_again(record, source).reference
