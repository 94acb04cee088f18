"""An ONNX graph of a bundle: held against its description, run, its answers checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from realtime_ser.errors import BundleFormatError, InferenceError
from realtime_ser.models.bundle_description import TensorSpec
from realtime_ser.models.ort import CPU, Provider, first_line, import_onnxruntime, new_session
from realtime_ser.models.ort_bound import BoundDevice, BoundSession, DeviceTensor, Feed

Result = TypeVar("Result")

_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "int64": "tensor(int64)"}


class Outputs(Mapping[str, NDArray[np.float32]]):
    """What a graph answers, by name: brought to the host, made float32 and checked when asked for.

    Reading raises InferenceError when an output has another shape than described, or holds a NaN
    or an infinity. Outputs of a bound graph are good until its next run, see `Graph.do`.
    """

    def __init__(
        self,
        path: Path,
        specs: Sequence[TensorSpec],
        values: Sequence[Feed],
        rows: int,
    ) -> None:
        self._path = path
        self._specs = {spec.name: spec for spec in specs}
        self._values = dict(zip(self._specs, values, strict=True))
        self._rows = rows

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        value = self._values[name]
        found = value.fetch() if isinstance(value, DeviceTensor) else value
        wanted = (self._rows, *self._specs[name].shape[1:])
        if found.shape != wanted:
            raise InferenceError(
                f"{self._path}, output {name}: has shape {found.shape}, not {wanted}; "
                "re-export the bundle"
            )
        if not np.isfinite(found).all():
            raise InferenceError(
                f"{self._path}, output {name}: holds NaN or infinity; "
                "run `realtime-ser models verify`"
            )
        return found.astype(np.float32, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def on_device(self, name: str) -> DeviceTensor | None:
        """The output where it is, unchecked; None of a graph that is not bound."""
        value = self._values[name]
        return value if isinstance(value, DeviceTensor) else None


class Graph:
    """A loaded ONNX graph that is known to fit its description.

    Args:
        path: the .onnx file.
        inputs, outputs: what the bundle says of it.
        provider: where to run it.
        threads: CPU threads, 1 or more. Each graph has a pool of its own, but the graphs of a
            bundle run one after the other and waiting threads sleep, so that no more than this
            number is ever busy.
        device: to run it bound, there; None for arrays in and arrays out. One device for all
            graphs of a bundle.

    Raises:
        BundleFormatError: the graph does not load, or does not fit the description.
        InferenceError: the provider does not take it.
    """

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        provider: Provider,
        threads: int,
        device: BoundDevice | None = None,
    ) -> None:
        def create(capture: bool) -> Any:
            return _create_session(path, provider, threads, capture)

        self.path = path
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = outputs
        self._runner = (
            BoundSession(create, device, outputs)
            if device
            else _PlainSession(create(False), outputs)
        )
        try:
            session = self._runner.session
            _check_tensors(path, "input", inputs, session.get_inputs())
            _check_tensors(path, "output", outputs, session.get_outputs())
        except UnicodeDecodeError as error:
            raise BundleFormatError(
                f"{path}: a name in the graph is no text; re-export the bundle"
            ) from error

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the providers in use, the preferred one first."""
        return tuple(self._runner.session.get_providers())

    @property
    def rows(self) -> tuple[int, ...]:
        """The sizes of batches to prepare for, in ascending order."""
        device = self._runner.device
        return device.rows if device else (1,)

    @property
    def execution(self) -> str:
        """How it runs, in a few words."""
        return self._runner.path

    @property
    def refusal(self) -> str | None:
        """Why there are no CUDA graphs of it although there could be; None otherwise."""
        return self._runner.refusal

    @property
    def unprepared(self) -> int:
        """How many runs were bound and of shapes that were not prepared."""
        return self._runner.unprepared

    def do(self, work: Callable[[], Result]) -> Result:
        """`work` while nobody else runs this graph, if it is bound: a run and what is done with
        its outputs."""
        device = self._runner.device
        return device.do(work) if device else work()

    def run(self, feeds: Mapping[str, Feed]) -> dict[str, NDArray[np.float32]]:
        """Run it on a batch; every input has the same first axis. Returns outputs by name.

        Raises:
            InferenceError: it failed, or an output is not what `Outputs` allows.
        """
        return self.do(lambda: dict(self.infer(feeds)))

    def infer(self, feeds: Mapping[str, Feed]) -> Outputs:
        """As `run`, and the outputs stay where they are until somebody asks for them."""
        return self._answer(self._runner.run, feeds)

    def prepare(self, feeds: Mapping[str, Feed]) -> None:
        """Run it on a batch, so that the next one of these shapes is as fast as all later ones.

        Raises:
            InferenceError: as `run`.
        """
        self.do(lambda: dict(self._answer(self._runner.prepare, feeds)))

    def _answer(
        self, run: Callable[[Mapping[str, Feed]], Sequence[Feed]], feeds: Mapping[str, Feed]
    ) -> Outputs:
        described = {name: _as_described(self._inputs[name], feeds[name]) for name in feeds}
        try:
            values = run(described)
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
            raise InferenceError(
                f"{self.path} failed: {first_line(error)}; run `realtime-ser models verify`"
            ) from error
        return Outputs(self.path, self._outputs, values, len(next(iter(feeds.values()))))


class _PlainSession:
    """A session that takes arrays and gives arrays; any number of threads may."""

    path = "arrays in and out"
    refusal: str | None = None
    unprepared = 0
    device: BoundDevice | None = None

    def __init__(self, session: Any, outputs: Sequence[TensorSpec]) -> None:
        self.session = session
        self._names = [spec.name for spec in outputs]

    def run(self, feeds: Mapping[str, Feed]) -> list[NDArray[Any]]:
        """Run it on a batch; errors are ONNX Runtime's own."""
        values: list[NDArray[Any]] = self.session.run(self._names, dict(feeds))
        return values

    prepare = run


def _as_described(spec: TensorSpec, value: Feed) -> Feed:
    """An input in the type that the graph takes; what is there already and fits stays there."""
    if isinstance(value, DeviceTensor):
        if value.dtype == spec.dtype:
            return value
        value = value.fetch()
    return value.astype(spec.dtype, copy=False)


def _create_session(path: Path, provider: Provider, threads: int, capture: bool) -> Any:
    try:
        session = new_session(str(path), provider, threads, capture=capture)
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
        if provider.name == CPU:
            version = import_onnxruntime().__version__
            raise BundleFormatError(
                f"{path}: ONNX Runtime {version} cannot load it "
                f"({first_line(error)}); upgrade onnxruntime or re-export the bundle"
            ) from error
        raise InferenceError(
            f"{path}: {provider.name} does not take it ({first_line(error)}); use --device cpu"
        ) from error
    if session.get_providers()[0] != provider.name:
        raise InferenceError(
            f"{path}: {provider.name} could not be loaded; run `realtime-ser doctor`"
        )
    return session


def _check_tensors(
    path: Path, kind: str, specs: tuple[TensorSpec, ...], tensors: list[Any]
) -> None:
    """Raise BundleFormatError unless the graph's own list says the same as the description."""
    described = {spec.name: spec for spec in specs}
    found = {tensor.name: tensor for tensor in tensors}
    # A graph may have outputs that nobody asks for; an input that nobody feeds is an error.
    missing = described.keys() - found.keys()
    extra = found.keys() - described.keys() if kind == "input" else set()
    if missing or extra:
        raise BundleFormatError(
            f"{path}: its {kind}s are {', '.join(found)}, bundle.json says "
            f"{', '.join(described)}; re-export the bundle"
        )
    for name, spec in described.items():
        tensor = found[name]
        place = f"{path}, {kind} {name}"
        if tensor.type != _TYPES[spec.dtype]:
            raise BundleFormatError(
                f"{place}: is {tensor.type}, bundle.json says {spec.dtype}; re-export the bundle"
            )
        shape = list(tensor.shape)
        fits = len(shape) == len(spec.shape) and all(
            # A named axis must be free in the graph; a size may be unknown there (run() checks).
            not isinstance(axis, int)
            if isinstance(wanted, str)
            else axis in (wanted, None) or isinstance(axis, str)
            for axis, wanted in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            raise BundleFormatError(
                f"{place}: has shape {shape}, bundle.json says {list(spec.shape)}; "
                "re-export the bundle"
            )
