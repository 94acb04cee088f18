"""Sessions whose inputs and outputs have fixed places on the device, and CUDA graphs over them.

Given arrays, ONNX Runtime finds memory on the device, copies in, launches hundreds of kernels one
by one and copies out, at every run. Bound, it finds inputs and outputs where they are: what one
graph computed is the input of the next without a copy. And since all addresses stay the same, the
launches can be recorded once and replayed as one, a CUDA graph.
https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview

What these pages and the provider's sources ask for, and how it is kept:

- A captured graph serves one set of shapes and addresses, named by the run option `gpu_graph_id`
  (positive; -1 runs without capture or replay; onnxruntime_run_options_config_keys.h). So shapes
  are padded to a few `buckets`, `prepare` meets each of them before the first request and captures
  it, and `run` never captures: what was not prepared runs bound, in passing places.
- Captured graphs belong to the thread that captured them, and no other thread may run the session
  meanwhile. So all bound graphs of a bundle run on one thread, that of their `BoundDevice`.
- While a graph is captured nothing else in the process may allocate on the device
  (cudaStreamCaptureModeGlobal). So capture is over before the transcriber is warmed up.
- Graphs with control flow, or with nodes that have no CUDA kernel, are refused when the session is
  made, and what waits for the device inside fails when it is captured. Either way the session is
  made again without capture, bound as before, and `refusal` says why.

Each session has a stream of its own (`use_ep_level_unified_stream`, implied by `enable_cuda_graph`;
created non-blocking), and CTranslate2 one for each of its threads: encoders and transcriber share
none. Copies in go through CUDA's default stream, for Python has no other.

On the CPU the same code binds arrays; a graph id means nothing there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from realtime_ser.models.buckets import ROWS, padded_rows
from realtime_ser.models.bundle_description import TensorSpec
from realtime_ser.models.ort import CUDA, Provider, first_line, import_onnxruntime

Result = TypeVar("Result")

_NOT_CAPTURED = -1
"""The id of a graph that says: neither capture nor replay."""


@dataclass(frozen=True, slots=True)
class DeviceTensor:
    """An output where the device keeps it; good until the next run with as many rows.

    Attributes:
        value: onnxruntime.OrtValue [padded rows, ...].
        rows: how many of its rows mean something; the others fill up the bucket.
        dtype: a numpy name.
    """

    value: Any
    rows: int
    dtype: str

    def __len__(self) -> int:
        return self.rows

    def fetch(self) -> NDArray[Any]:
        """A copy on the host, without the rows that fill up."""
        # On the CPU `numpy` gives a view, which the next run would change.
        return np.array(self.value.numpy()[: self.rows])


Feed = NDArray[Any] | DeviceTensor


class BoundDevice:
    """Where the bound graphs of one bundle run, and the one thread that runs them.

    Args:
        provider: CUDA, or the CPU to do the same there.
        rows: sizes of batches that are prepared for, in ascending order.
    """

    def __init__(self, provider: Provider, rows: Sequence[int] = ROWS) -> None:
        self.provider = provider
        self.rows = tuple(rows)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="encoders")
        self._thread = self._executor.submit(threading.get_ident).result()

    def do(self, work: Callable[[], Result]) -> Result:
        """Run `work` on the thread, and wait for it; on the thread itself, at once.

        What is to be undisturbed, such as a run and the fetching of its outputs, is one work.
        """
        if threading.get_ident() == self._thread:
            return work()
        return self._executor.submit(work).result()

    def reserve(self, shape: Sequence[int], dtype: str) -> Any:
        """A place on the device: an OrtValue of that shape."""
        value = import_onnxruntime().OrtValue
        return value.ortvalue_from_shape_and_type(shape, np.dtype(dtype), self.provider.device, 0)


def bound_device(provider: Provider, bound: bool | None = None) -> BoundDevice | None:
    """Where the graphs of a bundle are to run bound; None for arrays in and arrays out.

    Args:
        bound: None for on CUDA.
    """
    wanted = provider.name == CUDA if bound is None else bound
    return BoundDevice(provider) if wanted else None


@dataclass(frozen=True, slots=True)
class _Binding:
    """The places of one set of shapes.

    Attributes:
        inputs: OrtValues by name.
        rows: of the outputs.
        io: onnxruntime.IOBinding that names the inputs and the outputs.
        options: onnxruntime.RunOptions with the graph's id.
    """

    inputs: Mapping[str, Any]
    rows: int
    io: Any
    options: Any


class BoundSession:
    """A session that is run bound, and replays CUDA graphs where it can.

    Args:
        create: makes the session, to take part in CUDA graphs or not.
        device: where, and on which thread.
        outputs: what to ask for, each [rows, sizes...].

    Attributes:
        session: onnxruntime.InferenceSession.
        refusal: why there are no CUDA graphs; None where there are, or where nobody expects any.
        unprepared: how many runs had shapes that nobody had prepared.
    """

    def __init__(
        self,
        create: Callable[[bool], Any],
        device: BoundDevice,
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        self.refusal: str | None = None
        self.unprepared = 0
        self.device = device
        self._create = create
        self._specs = outputs
        self._captures = True
        self._prepared: dict[tuple[object, ...], _Binding] = {}
        self._outputs: dict[int, list[Any]] = {}
        self.session: Any = device.do(self._open)

    @property
    def path(self) -> str:
        """How it runs, in a few words."""
        if self.refusal:
            return f"bound, without CUDA graphs ({self.refusal})"
        on_cuda = self.device.provider.name == CUDA
        return f"bound, {len(self._prepared)} CUDA graphs" if on_cuda else "bound"

    def run(self, feeds: Mapping[str, Feed]) -> list[DeviceTensor]:
        """Run it on a batch; errors are ONNX Runtime's own."""
        return self.device.do(lambda: self._run(feeds))

    def prepare(self, feeds: Mapping[str, Feed]) -> list[DeviceTensor]:
        """Keep places for the shapes of `feeds`, capture the graph, and run it; errors likewise."""
        return self.device.do(lambda: self._prepare(feeds))

    def _open(self) -> Any:
        try:
            return self._create(True)
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
            session = self._create(False)  # What is wrong with both raises here.
            self._stop_capturing(error)
            return session

    def _prepare(self, feeds: Mapping[str, Feed]) -> list[DeviceTensor]:
        padded = self._pad(feeds)
        key = _key(padded)
        if key not in self._prepared:
            self._prepared[key] = self._bind(self._places(padded), self._rows(feeds), self._next())
        try:
            return self._run(feeds)
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
            if not self._captures:
                raise
            self.session = self._create(False)
            self._stop_capturing(error)
            kept, self._prepared = self._prepared, {}
            for each, old in kept.items():
                self._prepared[each] = self._bind(old.inputs, old.rows, self._next())
            return self._run(feeds)

    def _stop_capturing(self, error: Exception) -> None:
        self._captures = False
        # Ours says what to do about it, and here nothing is to be done.
        self.refusal = first_line(error.__cause__ or error)

    def _next(self) -> int:
        """The next free id of a graph; 0 is ONNX Runtime's own."""
        return len(self._prepared) + 1

    def _run(self, feeds: Mapping[str, Feed]) -> list[DeviceTensor]:
        padded = self._pad(feeds)
        binding = self._prepared.get(_key(padded))
        if binding is None:
            self.unprepared += 1
            binding = self._bind(self._places(padded), self._rows(feeds), _NOT_CAPTURED)
        for name, value in padded.items():
            if not isinstance(value, DeviceTensor):
                binding.inputs[name].update_inplace(value)
        # It waits for the stream, so that the outputs are there when it returns.
        self.session.run_with_iobinding(binding.io, binding.options)
        return [
            DeviceTensor(value, _length(feeds), spec.dtype)
            for spec, value in zip(self._specs, self._outputs_of(binding.rows), strict=True)
        ]

    def _rows(self, feeds: Mapping[str, Feed]) -> int:
        return padded_rows(_length(feeds), self.device.rows)

    def _pad(self, feeds: Mapping[str, Feed]) -> dict[str, Feed]:
        """The feeds with as many rows as their bucket has; outputs of other graphs have them."""
        rows = self._rows(feeds)
        return {
            name: value if isinstance(value, DeviceTensor) else _repeat_first(value, rows)
            for name, value in feeds.items()
        }

    def _places(self, padded: Mapping[str, Feed]) -> dict[str, Any]:
        return {
            name: value.value
            if isinstance(value, DeviceTensor)
            else self.device.reserve(value.shape, value.dtype.name)
            for name, value in padded.items()
        }

    def _bind(self, inputs: Mapping[str, Any], rows: int, graph_id: int) -> _Binding:
        io = self.session.io_binding()
        for name, value in inputs.items():
            io.bind_ortvalue_input(name, value)
        for spec, value in zip(self._specs, self._outputs_of(rows), strict=True):
            io.bind_ortvalue_output(spec.name, value)
        options = import_onnxruntime().RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph_id))
        return _Binding(inputs, rows, io, options)

    def _outputs_of(self, rows: int) -> list[Any]:
        """One place for all batches of so many rows, however long their audio is: the graph that
        reads it then has one address to be captured with."""
        if rows not in self._outputs:
            self._outputs[rows] = [
                self.device.reserve((rows, *map(int, spec.shape[1:])), spec.dtype)
                for spec in self._specs
            ]
        return self._outputs[rows]


def _length(feeds: Mapping[str, Feed]) -> int:
    return len(next(iter(feeds.values())))


def _repeat_first(value: NDArray[Any], rows: int) -> NDArray[Any]:
    """`value` with `rows` rows. Silence of no length could divide by zero; the first row cannot."""
    missing = rows - len(value)
    filled = np.concatenate([value, np.repeat(value[:1], missing, axis=0)]) if missing else value
    return np.ascontiguousarray(filled)


def _key(padded: Mapping[str, Feed]) -> tuple[object, ...]:
    """What a captured graph is good for: the shapes of what is copied in, the addresses of what
    is there."""
    return tuple(
        (name, value.value.data_ptr() if isinstance(value, DeviceTensor) else value.shape)
        for name, value in padded.items()
    )
