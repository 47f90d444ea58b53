"""CuPy's interface on `CudaDouble`, as far as CuPy's own record (``cuda_api/cupy.json``) has the names.

Arrays live in the double's memory. Which functions were called on which types is kept (`CudaDouble.kernels`):
each would be a kernel to compile. A NumPy function runs when it is called, after everything that its stream
has queued before: one of the orders that CUDA allows. Arrays of host and device do not mix, as in CuPy.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.pipeline import cuda_double
from tests.pipeline.cuda_double import CudaDouble, CUDARuntimeErrorDouble

__all__ = ["make_cupy"]

API = json.loads((Path(__file__).parent / "cuda_api" / "cupy.json").read_text())
_MEMORY = 2**34
_SCALARS = (int, float, bool, np.generic)


def make_cupy(cuda: CudaDouble, name: str = "NVIDIA Double", capability: tuple[int, int] = (9, 0)) -> Any:
    """Return a module `cupy` for one device."""
    module = _Cupy("cupy")
    module.__dict__["_cuda"] = cuda
    kinds = _kinds(cuda)
    module.ndarray = kinds.ndarray
    module.__version__ = API["version"]
    module.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
    module.asnumpy = lambda a: a.get() if isinstance(a, kinds.ndarray) else np.asarray(a)
    module.fft = _Namespace("fft", API["fft"], kinds, np.fft)
    runtime = SimpleNamespace(
        getDevice=lambda: cuda.device,
        getDeviceProperties=lambda device: {
            "name": name.encode(), "major": capability[0], "minor": capability[1],
        },
        memGetInfo=lambda: (_MEMORY - cuda.live_bytes, _MEMORY),
        CUDARuntimeError=CUDARuntimeErrorDouble,
    )  # fmt: skip
    module.cuda = SimpleNamespace(
        Device=lambda index: SimpleNamespace(use=lambda: cuda.use_device(index)),
        Stream=kinds.Stream,
        Event=kinds.Event,
        get_current_stream=lambda: kinds.Stream.current,
        alloc_pinned_memory=cuda.allocate,
        runtime=runtime,
    )
    return module


class _Cupy(ModuleType):
    """Functions come from NumPy if CuPy has them too."""

    def __getattr__(self, name: str) -> Any:
        if name not in API["module"] or not hasattr(np, name):
            raise AttributeError(f"CuPy {API['version']} has no {name}")
        target = getattr(np, name)
        if not callable(target) or isinstance(target, type):
            return target
        return _on_device(target, self.ndarray)


class _Namespace:
    def __init__(self, name: str, known: list[str], kinds: Any, functions: Any) -> None:
        self._name, self._known, self._kinds, self._functions = name, known, kinds, functions

    def __getattr__(self, name: str) -> Any:
        if name not in self._known:
            raise AttributeError(f"CuPy {API['version']} has no {self._name}.{name}")
        return _on_device(getattr(self._functions, name), self._kinds.ndarray)


def _on_device(function: Any, kind: Any) -> Any:
    creates = function.__name__ in (
        "zeros", "empty", "full", "arange", "asarray", "array", "ones", "fftfreq", "rfftfreq", "hanning",
    )  # fmt: skip

    def call(*args: Any, **options: Any) -> Any:
        kind.current_work_done()
        given = [_host(a, kind, creates) for a in args]
        if function.__name__ == "bincount" and not given[0].size:  # its `max` has nothing to begin with
            raise ValueError("zero-size array to reduction operation CUPY_CUB_MAX which has no identity")
        kind.note(function.__name__, given)
        return _device(function(*given, **{k: _host(v, kind, creates) for k, v in options.items()}), kind)

    return call


def _host(value: Any, kind: Any, creates: bool) -> Any:
    if isinstance(value, kind):
        return value._array
    if isinstance(value, (tuple, list)):
        return type(value)(_host(v, kind, creates) for v in value)
    if isinstance(value, np.ndarray) and not creates and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}: an array of the host among those of the device")
    return value


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


def _device(value: Any, kind: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_device(v, kind) for v in value)
    if isinstance(value, kind):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return kind(np.asarray(value))
    return value


def _kinds(cuda: CudaDouble) -> Any:
    """Return the classes that need to know their device."""

    class Stream:
        null: "Stream"
        current: "Stream"

        def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
            self.stream = cuda.default if null else cuda.new_stream()
            self.ptr = self.stream.handle

        def use(self) -> "Stream":
            Stream.current = self
            return self

        def record(self, event: "Event | None" = None) -> "Event":
            event = event or Event()
            cuda.record(self.stream, event.event)
            return event

        def wait_event(self, event: "Event") -> None:
            cuda.wait_event(self.stream, event.event)

        def synchronize(self) -> None:
            cuda.synchronize_stream(self.stream)

        def begin_capture(self) -> None:
            cuda.begin_capture(self.stream)

        def end_capture(self) -> "Graph":
            return Graph(cuda.end_capture(self.stream))

    Stream.null = Stream.current = Stream(null=True)

    class Event:
        def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
            self.event = cuda_double.Event()

        @property
        def done(self) -> bool:
            cuda.pass_time()
            return self.event.reached >= self.event.recorded

        def synchronize(self) -> None:
            cuda.synchronize_event(self.event)

    class Graph:
        def __init__(self, steps: list[Any]) -> None:
            self._steps = steps

        def launch(self, stream: Stream) -> None:
            cuda.launch(self._steps, stream.stream)

    class MemoryPointer:
        def __init__(self, ptr: int) -> None:
            self.ptr = ptr

        def copy_from_device_async(self, src: "MemoryPointer", size: int, stream: Stream) -> None:
            cuda.copy(stream.stream, self.ptr, src.ptr, size)

        def memset_async(self, value: int, size: int, stream: Stream) -> None:
            def work() -> None:
                cuda.view(self.ptr, size)[:] = value

            cuda.enqueue(stream.stream, work)

    class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
        def __init__(self, array: np.ndarray) -> None:
            base = array
            while isinstance(base.base, np.ndarray):
                base = base.base
            if base.ctypes.data not in cuda.buffers:  # a new result: give it memory of the device
                memory = cuda.allocate(array.nbytes)
                order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
                placed = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape, order=order)
                placed[...] = array
                array = placed
            self._array = array

        @staticmethod
        def note(name: str, given: list[Any]) -> None:
            """Note a kernel; of arrays without elements CuPy compiles and starts none."""
            arrays = [a for a in _flat(given) if isinstance(a, np.ndarray)]
            if arrays and all(a.size for a in arrays):
                cuda.kernels.add((name, *(f"{a.dtype} {a.ndim}D" for a in arrays)))

        @staticmethod
        def current_work_done() -> None:
            cuda.check()
            cuda.synchronize_stream(Stream.current.stream)

        shape = property(lambda self: self._array.shape)
        dtype = property(lambda self: self._array.dtype)
        ndim = property(lambda self: self._array.ndim)
        size = property(lambda self: self._array.size)
        nbytes = property(lambda self: self._array.nbytes)
        flags = property(lambda self: self._array.flags)
        T = property(lambda self: ndarray(self._array.T))
        real = property(lambda self: ndarray(self._array.real))
        data = property(lambda self: MemoryPointer(self._array.ctypes.data))

        def set(self, arr: np.ndarray, stream: Stream) -> None:
            assert isinstance(arr, np.ndarray)
            assert arr.flags.c_contiguous
            assert arr.nbytes == self.nbytes
            cuda.copy(stream.stream, self.data.ptr, arr.ctypes.data, self.nbytes)

        def get(self, stream: Any = None, out: Any = None, blocking: bool = True) -> np.ndarray:
            cuda.downloaded_bytes += self.nbytes
            if out is None:
                ndarray.current_work_done()
                return self._array.copy()
            cuda.copy(stream.stream, out.ctypes.data, self.data.ptr, self.nbytes)
            if blocking:
                stream.synchronize()
            return out

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
            ndarray.current_work_done()
            given = [_host(i, ndarray, False) for i in inputs]
            ndarray.note(f"{ufunc.__name__}.{method}", given)
            if out := options.get("out"):
                options["out"] = tuple(o._array for o in out)
                getattr(ufunc, method)(*given, **options)
                return out[0]
            return _device(getattr(ufunc, method)(*given, **options), ndarray)

        def __array_function__(self, *args: Any) -> Any:
            raise TypeError("a NumPy function was called with an array of the device: use the array module")

        def __array__(self, *args: Any, **options: Any) -> Any:
            raise TypeError("Implicit conversion to a NumPy array is not allowed.")

        def __getitem__(self, index: Any) -> Any:
            ndarray.current_work_done()
            place = _host(index, ndarray, False)
            if any(isinstance(part, np.ndarray) for part in _flat([place])):  # else it is a view
                ndarray.note("getitem", [self._array, place])
            return _device(self._array[place], ndarray)

        def __setitem__(self, index: Any, value: Any) -> None:
            ndarray.current_work_done()
            place, values = _host(index, ndarray, False), _host(value, ndarray, False)
            ndarray.note("setitem", [self._array, place, values])
            self._array[place] = values

        def __len__(self) -> int:
            return len(self._array)

        def __bool__(self) -> bool:
            ndarray.current_work_done()
            return bool(self._array)

        def __float__(self) -> float:
            cuda.downloaded_bytes += self.nbytes
            ndarray.current_work_done()
            return float(self._array)

        def __int__(self) -> int:
            ndarray.current_work_done()
            return int(self._array)

        def __index__(self) -> int:
            return int(self)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or name not in API["classes"]["ndarray"]:
                raise AttributeError(f"CuPy {API['version']} has no ndarray.{name}")
            method = getattr(self._array, name)

            def call(*args: Any, **options: Any) -> Any:
                ndarray.current_work_done()
                given = [_host(a, ndarray, False) for a in args]
                ndarray.note(name, [self._array, *given])
                return _device(method(*given, **options), ndarray)

            return call

    return SimpleNamespace(Stream=Stream, Event=Event, ndarray=ndarray)
