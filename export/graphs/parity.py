"""Whether a graph, as it is served, answers what the model behind it answers.

The truth is one utterance at a time, unpadded, through the original model (or, of a quantised
graph, through the graph in float32). The graph gets the same utterances alone, in batches, padded,
and with noise in the padding, through `realtime_ser`'s own runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.audio import AudioExpert
from realtime_ser.models.bundle_description import Role, TextPart

from ..errors import ExportError
from .parity_cases import Case, Waveform, cases
from .served import ServedEncoder, serve, serve_folder

Values = Mapping[str, NDArray[Any]]
Reference = Callable[[Any], Values]
"""A waveform, float32 [samples], or a text, to its outputs by name: [width] or [1, width]."""

EVERYTHING = "all together"
CLEAR_LEAD = 0.05
"""A label counts where the truth is this much more probable than the next one: the others are
toss-ups that any rounding may decide."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is still the same answer.

    Attributes:
        error: largest difference of any value, absolute or relative to the largest value of its
            row, whichever is smaller: embeddings of 100 and more are not unheard of.
        cosine: least cosine of any embedding to the true one.
        labels: least share of utterances whose top label is the true one, of those where the
            truth has a `CLEAR_LEAD`.
    """

    error: float
    cosine: float
    labels: float


TOLERANCES = {
    "float32": Tolerance(error=1e-3, cosine=0.9999, labels=1.0),
    "float16": Tolerance(error=2e-2, cosine=0.999, labels=0.99),
    "int8-dynamic": Tolerance(error=0.3, cosine=0.99, labels=0.9),
    "int8-static": Tolerance(error=0.3, cosine=0.99, labels=0.9),
}
"""By precision. In float32 nothing but the order of additions may differ. Half keeps three digits:
tiny models of all families stay below 5e-3 (on a CPU, which computes part of it in float32). Of 8
bits HuBERT-base with random weights, whose embeddings are about 4 at most, differs by 0.15 with a
cosine of 0.9994; with convolutions in 8 bits too by 1.1 and 0.96, which is refused. What decides
in the end is the accuracy on labelled speech."""


def with_error(precision: str, error: float) -> Tolerance:
    """The tolerance of a precision with another largest error."""
    return replace(TOLERANCES[precision], error=error)


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One output in one case, the worst utterance of the batch.

    Attributes:
        case: what was run; `EVERYTHING` for all distinct utterances in one row.
        batch: rows of the batch; of `EVERYTHING`, how many utterances were compared.
        output: name of the output.
        max_abs_error: in the unit of the output.
        max_relative_error: that, over the largest absolute value of the same true row.
        cosine: between the embedding and the true one; None of other outputs.
        labels_agree: share of clear top labels that are the true ones; None without such.
        error_to_spread: root mean square of the error over that of the true rows around their
            mean, over all utterances: how loud the error is beside what tells utterances apart
            (cosines hardly show it where all embeddings point one way). Of `EVERYTHING` alone.
        passed: within the tolerance.
    """

    case: str
    batch: int
    output: str
    max_abs_error: float
    max_relative_error: float
    cosine: float | None
    labels_agree: float | None
    error_to_spread: float | None
    passed: bool

    @property
    def error(self) -> float:
        """What the tolerance is held against."""
        return min(self.max_abs_error, self.max_relative_error)


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What was compared; at least one row."""

    rows: tuple[ParityRow, ...]
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        """Every row is within the tolerance."""
        return all(row.passed for row in self.rows)

    @property
    def worst(self) -> ParityRow:
        """The row of the largest error; a row that failed comes before one that passed."""
        return max(self.rows, key=_badness)

    def as_json(self) -> tuple[dict[str, Any], ...]:
        """The rows for `EncoderRecord.parity`."""
        return tuple(asdict(row) for row in self.rows)

    def require(self, what: str) -> None:
        """Raise ExportError unless `passed`; `what` names the graph."""
        if self.passed:
            return
        row = self.worst
        cosine = "" if row.cosine is None else f", cosine {row.cosine:.5f}"
        labels = "" if row.labels_agree is None else f", {row.labels_agree:.0%} of labels agree"
        raise ExportError(
            f"{what} does not answer as the model does: {row.case}, output {row.output}: error "
            f"{row.error:.2g} (allowed {self.tolerance.error:g}){cosine}{labels}; do not ship it"
        )


def check(
    graph: Path,
    part: Mapping[str, Any],
    reference: Reference,
    which: str | Sequence[Case] = "full",
    tolerance: Tolerance | float = TOLERANCES["float32"],
    *,
    device: str = "cpu",
    threads: int = 1,
) -> ParityReport:
    """Compare a graph with the truth.

    Args:
        graph: an ONNX file, or the folder that holds it as the part says.
        part: entry of `bundle.json`; its tokenizer lies beside the graph.
        reference: the truth.
        which: fast (seconds, at export), full, or cases of your own.
        tolerance: a number is the largest error, with the rest as for float32.
    """
    path = graph / part["file"] if graph.is_dir() else graph
    if not isinstance(tolerance, Tolerance):
        tolerance = replace(TOLERANCES["float32"], error=tolerance)
    served = serve(path, part, device=device, threads=threads)
    chosen = cases(served.part, which) if isinstance(which, str) else which
    truths: dict[bytes, Values] = {}
    rows: list[ParityRow] = []
    pairs: dict[str, dict[bytes, _Pair]] = {spec.name: {} for spec in served.part.outputs}
    for case in chosen:
        keys = [_key(each) for each in case.inputs]
        for key, each in zip(keys, case.inputs, strict=True):
            if key not in truths:
                truths[key] = _flat(reference(each), served)
        got = _answer(served, case)
        for spec in served.part.outputs:
            compared = [
                _Pair(row, truths[key][spec.name])
                for row, key in zip(got[spec.name], keys, strict=True)
            ]
            rows.append(_row(case.name, spec.name, spec.role, compared, tolerance))
            for key, pair in zip(keys, compared, strict=True):
                pairs[spec.name].setdefault(key, pair)
    rows.extend(
        _summary(spec.name, spec.role, [*pairs[spec.name].values()], tolerance)
        for spec in served.part.outputs
    )
    return ParityReport(tuple(rows), tolerance)


def graph_reference(folder: Path, threads: int = 1) -> Reference:
    """A graph as the truth for another one: each input alone, through the same runtime."""
    expert = serve_folder(folder, threads=threads).expert
    return lambda each: expert.run([each])


@dataclass(frozen=True, slots=True)
class _Pair:
    """One output row [width] of one utterance, and the true one."""

    got: NDArray[Any]
    want: NDArray[Any]


def _key(each: Waveform | str) -> bytes:
    return each.encode() if isinstance(each, str) else each.tobytes()


def _flat(values: Values, served: ServedEncoder) -> Values:
    missing = [spec.name for spec in served.part.outputs if spec.name not in values]
    if missing:
        raise ExportError(
            f"the model gives {', '.join(values)}, the graph {', '.join(missing)} too; "
            "export the model again"
        )
    return {name: np.asarray(value, np.float64).ravel() for name, value in values.items()}


def _answer(served: ServedEncoder, case: Case) -> Values:
    if case.garbage:
        return served.graph.run(_garbage_feeds(served, case.inputs))
    inputs: list[Any] = list(case.inputs)
    return served.expert.run(inputs)


def _garbage_feeds(served: ServedEncoder, inputs: Iterable[Any]) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    if isinstance(served.expert, AudioExpert):
        lengths = np.array([len(waveform) for waveform in inputs], np.int64)
        batch = rng.uniform(-1, 1, (len(lengths), lengths.max() + 7_777)).astype(np.float32)
        for row, waveform in zip(batch, inputs, strict=True):
            row[: len(waveform)] = waveform
        return {"waveform": batch, "lengths": lengths}
    assert isinstance(served.part, TextPart)
    ids = [served.tokens(text) for text in inputs]
    width = min(served.part.max_tokens, max(len(row) for row in ids) + 3)
    tokens = rng.integers(0, max(max(row, default=0) for row in ids) + 1, (len(ids), width))
    mask = np.zeros_like(tokens)
    for row, own in enumerate(ids):
        tokens[row, : len(own)] = own
        mask[row, : len(own)] = 1
    return {"input_ids": tokens, "attention_mask": mask}


def _row(
    case: str, output: str, role: Role | None, pairs: Sequence[_Pair], tolerance: Tolerance
) -> ParityRow:
    absolute = [float(np.abs(pair.got - pair.want).max()) for pair in pairs]
    scales = [float(np.abs(pair.want).max()) for pair in pairs]
    relative = [
        error / scale if scale else float(error > 0)
        for error, scale in zip(absolute, scales, strict=True)
    ]
    cosine = min(_cosine(pair) for pair in pairs) if role is Role.EMBEDDING else None
    within = all(min(errors) <= tolerance.error for errors in zip(absolute, relative, strict=True))
    return ParityRow(
        case=case,
        batch=len(pairs),
        output=output,
        max_abs_error=max(absolute),
        max_relative_error=max(relative),
        cosine=cosine,
        labels_agree=_agreement(pairs) if role is Role.LOGITS else None,
        error_to_spread=None,
        passed=within and (cosine is None or cosine >= tolerance.cosine),
    )


def _summary(
    output: str, role: Role | None, pairs: Sequence[_Pair], tolerance: Tolerance
) -> ParityRow:
    row = _row(EVERYTHING, output, role, pairs, tolerance)
    truth = np.array([pair.want for pair in pairs])
    error = np.array([pair.got for pair in pairs]) - truth
    spread = np.sqrt(np.mean((truth - truth.mean(axis=0)) ** 2))
    enough = row.labels_agree is None or row.labels_agree >= tolerance.labels
    return replace(
        row,
        error_to_spread=float(np.sqrt(np.mean(error**2)) / spread) if spread else None,
        passed=row.passed and enough,
    )


def _cosine(pair: _Pair) -> float:
    norms = float(np.linalg.norm(pair.got) * np.linalg.norm(pair.want))
    # Two zero vectors are the same answer, one of them alone is not.
    return float(np.dot(pair.got, pair.want)) / norms if norms else float(not pair.got.any())


def _agreement(pairs: Sequence[_Pair]) -> float | None:
    clear = [pair for pair in pairs if _lead(pair.want) >= CLEAR_LEAD]
    if not clear:
        return None
    return float(np.mean([pair.got.argmax() == pair.want.argmax() for pair in clear]))


def _lead(logits: NDArray[Any]) -> float:
    """How much more probable the first label is than the second."""
    exponentials = np.exp(logits - logits.max())
    first, second = np.sort(exponentials / exponentials.sum())[-2:][::-1]
    return float(first - second)


def table(report: ParityReport) -> list[str]:
    """For people: a line for each case, of the output that differs most, the worst one marked."""
    lines = [f"{'case':<46} {'abs error':>9} {'relative':>9} {'cosine':>9} labels  worst output"]
    by_case: dict[str, list[ParityRow]] = {}
    for row in report.rows:
        by_case.setdefault(row.case, []).append(row)
    for case, rows in by_case.items():
        worst = max(rows, key=_badness)
        cosines = [row.cosine for row in rows if row.cosine is not None]
        cosine = f"{min(cosines):.6f}" if cosines else ""
        agreements = [row.labels_agree for row in rows if row.labels_agree is not None]
        labels = f"{min(agreements):.0%}" if agreements else ""
        mark = "" if worst.passed else "  FAILED"
        mark += "  <- worst" if report.worst in rows else ""
        lines.append(
            f"{case:<46.46} {worst.max_abs_error:>9.2e} {worst.max_relative_error:>9.2e} "
            f"{cosine:>9} {labels:>6}  {worst.output}{mark}"
        )
    allowed = report.tolerance
    verdict = "passed" if report.passed else "FAILED"
    lines.append(
        f"{verdict}: error at most {allowed.error:g} absolute or relative to the row's largest "
        f"value, cosine at least {allowed.cosine:g}, labels at least {allowed.labels:.0%}"
    )
    return lines


def _badness(row: ParityRow) -> tuple[bool, float]:
    return not row.passed, row.error
