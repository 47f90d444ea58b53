"""TensorRT: the engine for NVIDIA's GPUs.

The networks of a batch run one after the other in one stream, on buffers that never move, from one CUDA
graph a set of buffers. Two batches may be in flight; a third set holds the answer that is being read.
None of this has run on a GPU yet: docs/gpu.md says how to check it on one.
"""

from collections import deque
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.checks import (
    check_batch,
    check_collect,
    check_logits,
    check_output,
    check_shapes,
    expect_shapes,
)
from pipeline.backends.cuda_errors import cuda_errors
from pipeline.backends.cuda_graph import capture
from pipeline.backends.cuda_link import DeviceLink, HostLink, Link
from pipeline.backends.cuda_memory import BatchBuffers, make_buffers
from pipeline.backends.protocol import IN_FLIGHT, BatchShape, NetworkOutput
from pipeline.backends.tensorrt_api import import_tensorrt, make_log
from pipeline.backends.tensorrt_cache import default_folder
from pipeline.backends.tensorrt_engines import Engines
from pipeline.backends.tensorrt_runner import NetworkRunner
from pipeline.backends.tensorrt_shapes import PATCH_SHAPE, ShapeRunner
from pipeline.particle_networks import AnyNetworks
from streamer.errors import BackendError
from streamer.records import AnalyserInfo

__all__ = ["TensorRtBackend"]


class TensorRtBackend:
    """Runs the networks with TensorRT on one CUDA device.

    Parameters
    ----------
    networks : Networks or ParticleNetworks
    threads : int
        Not used: the device has its own.
    precision : str
        ``f16``, ``bf16`` or ``f32``; empty: f16.
    engines : pathlib.Path or None
        Where built engines are kept; None: the user's cache.
    on_device : bool
        Whether batches are made and answers read on the device (CuPy), or in host memory (NumPy).
    graphs : bool
        Whether to use CUDA graphs.
    gpu : int
        Which CUDA device: the calling thread's current one from here on.

    Raises
    ------
    ModuleNotFoundError
        If TensorRT, CuPy or ``onnx`` is not installed.
    BackendError
        If TensorRT's version is unknown, or no device answers.
    """

    def __init__(
        self,
        networks: AnyNetworks,
        threads: int = 0,
        precision: str = "",
        engines: Path | None = None,
        on_device: bool = True,
        graphs: bool = True,
        gpu: int = 0,
    ) -> None:
        import_module("onnx")  # needed to build: say so now
        self._trt = import_tensorrt()
        self._cupy: Any = import_module("cupy")
        self._networks = networks
        self._precision = precision or "f16"
        self._graphs = graphs
        self._shape: BatchShape | None = None
        self._runners: list[NetworkRunner] = []
        self._shapes: ShapeRunner | None = None
        self._turns: deque[BatchBuffers] = deque()
        self._in_flight: deque[BatchBuffers] = deque()
        with cuda_errors("looking for a CUDA device"):
            self._cupy.cuda.Device(gpu).use()
            self._engines = Engines(
                self._trt, make_log(self._trt), gpu_name(self._cupy), engines or default_folder()
            )
            self._compute = self._cupy.cuda.Stream(non_blocking=True)
            link: type[Link] = DeviceLink if on_device else HostLink
            self._link: Link | None = link(self._cupy, self._compute)
        self.device = self._link.device

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Load the engines, built if need be; allocate, warm up, capture, and check an answer."""
        self._wait()
        self._drop()
        with cuda_errors(f"loading the networks for {shape}"):
            self._runners = [
                NetworkRunner(
                    self._trt, self._engines.get(f, shape, self._precision), f, shape, self._precision
                )
                for f in self._networks.per_frame
            ]
            if (shapes := self._networks.shapes) is not None:
                self._shapes = ShapeRunner(self._trt, self._cupy, self._engines, shapes, self._precision)
            for _ in range(IN_FLIGHT + 1):
                self._turns.append(self._prepared(shape))
        self._shape = shape
        vacuum = self.device.zeros((shape.frames, self._networks.channels, shape.height, shape.width))
        for _ in range(IN_FLIGHT + 1):
            self.submit(vacuum)
            check_shapes(self.collect(), shape, self._networks.max_count)
        name, capability = self._engines.gpu
        return AnalyserInfo(
            "tensorrt",
            f"{name} (compute capability {capability})",
            self._precision,
            self._trt.__version__,
            self._networks.sha256,
        )

    def submit(self, frames: NDArray[np.float32]) -> None:
        """Queue upload, networks and download; returns at once."""
        check_batch(frames, self._shape, self._networks.channels, len(self._in_flight), self.device.xp)
        buffers = self._turns[0]
        buffers.held = frames  # also if what follows fails: a copy may be on its way
        with cuda_errors("starting a batch"):
            self._used_link.put(buffers, frames)
            if buffers.graph is None:
                self._enqueue(buffers)
            else:
                buffers.graph.launch(self._compute)
            self._used_link.fetch(buffers)
        self._turns.rotate(-1)
        self._in_flight.append(buffers)

    def ready(self) -> bool:
        """Ask the device how far it has got."""
        if not self._in_flight:
            return False
        with suppress(BackendError), cuda_errors("looking at a batch"):  # its error is `collect`'s to tell
            return self._used_link.ready(self._in_flight[0])
        return True

    def collect(self) -> NetworkOutput:
        """Wait for the oldest batch."""
        check_collect(len(self._in_flight))
        buffers = self._in_flight.popleft()
        with cuda_errors("computing a batch"):
            output = self._used_link.wait(buffers)
            buffers.held = None
            return check_output(output, self.device.xp)

    def classify(self, patches: Any) -> NDArray[np.float32]:
        """Run the shape network in a stream of its own."""
        shapes = expect_shapes(self._networks.shapes)
        if self._shapes is None:
            raise BackendError("patches came before the networks were loaded; call load() first")
        with cuda_errors("telling shapes"):
            return check_logits(self._shapes(patches), len(patches), shapes)

    def engine_files(self, shape: BatchShape) -> list[Path]:
        """Return where the engines of the networks for `shape` are kept."""
        paths = [self._engines.path(f, shape, self._precision) for f in self._networks.per_frame]
        if (shapes := self._networks.shapes) is not None:
            paths.append(self._engines.path(shapes, PATCH_SHAPE, self._precision))
        return paths

    def close(self) -> None:
        """Wait for the device, and free its memory."""
        with suppress(BackendError):  # from a lost device there is nothing to wait for, and it was said
            self._wait()
        self._drop()
        if self._link is not None:
            with suppress(BackendError), cuda_errors("leaving the GPU"):
                self._link.close()
        self._link = None

    @property
    def _used_link(self) -> Link:
        if self._link is None:
            raise BackendError("the backend is closed; make another one")
        return self._link

    def _prepared(self, shape: BatchShape) -> BatchBuffers:
        """Return a set of buffers for `shape`, its graph captured."""
        frames = (shape.frames, self._networks.channels, shape.height, shape.width)
        outputs = {name: runner.output_shape(name) for runner in self._runners for name in runner.outputs}
        buffers = make_buffers(self._cupy, frames, outputs)
        self._used_link.prepare(buffers)
        self._cupy.cuda.get_current_stream().synchronize()  # the zeros are written
        if self._graphs:
            buffers.graph = capture(self._cupy, lambda: self._enqueue(buffers), self._compute, buffers)
        return buffers

    def _enqueue(self, buffers: BatchBuffers) -> None:
        for runner in self._runners:
            runner.enqueue(buffers.addresses, self._compute.ptr)

    def _wait(self) -> None:
        """Wait until the device is idle; batches in flight are given up."""
        with cuda_errors("waiting for the GPU"):
            self._compute.synchronize()
            while self._in_flight:
                self._used_link.wait(self._in_flight.popleft())

    def _drop(self) -> None:
        self._shape = None
        self._in_flight.clear()
        self._turns.clear()
        self._runners.clear()
        self._shapes = None
        with suppress(BackendError), cuda_errors("freeing memory"):
            self._cupy.get_default_memory_pool().free_all_blocks()  # TensorRT allocates beside CuPy's pool


def gpu_name(cupy: Any) -> tuple[str, str]:
    """Return the current device's name and compute capability ("9.0")."""
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    return properties["name"].decode(), f"{properties['major']}.{properties['minor']}"
