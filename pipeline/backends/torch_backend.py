"""PyTorch: an optional engine for any device it knows, and the check on the others.

It runs the same ONNX files, operator by operator (`pipeline.backends.torch_operators`): in half precision and
as a CUDA graph on a GPU (`pipeline.backends.torch_cuda`), in float32 on a CPU. PyTorch is imported when a
`TorchBackend` is made, never before. Why the files are interpreted and not converted:
docs/decisions/0008-torch-backend-interprets-onnx.md.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
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
from pipeline.backends.device import HOST, HostDevice, decoders_beside_gpu
from pipeline.backends.protocol import BatchShape, NetworkOutput
from pipeline.backends.torch_cuda import CudaRun
from pipeline.particle_networks import AnyNetworks
from streamer.errors import BackendError
from streamer.records import AnalyserInfo

__all__ = ["TorchBackend"]

Run = Callable[[Any], list[Any]]
Answer = Callable[[NDArray[np.float32]], NetworkOutput]


class TorchBackend:
    """Runs the ONNX files with PyTorch, on a CUDA device where there is one.

    Parameters
    ----------
    networks : Networks or ParticleNetworks
    threads : int
        CPU threads, for the whole process; 0: PyTorch's own choice.
    precision : str
        ``f16``, ``bf16`` or ``f32``; empty: f16 on a GPU, f32 on a CPU.
    gpu : int
        Which CUDA device, where there is one.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch or ``onnx`` is not installed.
    """

    def __init__(self, networks: AnyNetworks, threads: int = 0, precision: str = "", gpu: int = 0) -> None:
        import onnx  # noqa: F401  both are needed later: say so now
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._networks = networks
        self._device = torch.device(f"cuda:{gpu}" if torch.cuda.is_available() else "cpu")
        self.device = HostDevice(decoders_beside_gpu()) if self._device.type == "cuda" else HOST
        self._precision = precision or ("f16" if self._device.type == "cuda" else "f32")
        # Float32 means float32, not TF32's ten bits; and a shape that does not change is worth trying for.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self._precision != "f32"
        torch.backends.cudnn.benchmark = True
        self._runs: list[Run] = []
        self._shapes: Run | None = None
        self._answer: Answer = self._on_cpu
        self._shape: BatchShape | None = None
        self._in_flight: deque[Future[NetworkOutput]] = deque()
        self._thread: ThreadPoolExecutor | None = None

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Read the graphs, start the thread and run one batch of vacuum."""
        import torch

        from pipeline.backends.torch_operators import read_graph

        self.close()
        with self._device_errors("loading the networks"):
            self._runs = [
                read_graph(f.path, self._device, f.output_names, self._precision)
                for f in self._networks.per_frame
            ]
            if (shapes := self._networks.shapes) is not None:
                self._shapes = read_graph(shapes.path, self._device, shapes.output_names, "f32")
        batch = (shape.frames, self._networks.channels, shape.height, shape.width)
        self._answer = (
            CudaRun(self._networks_on, batch, self._device) if self._device.type == "cuda" else self._on_cpu
        )
        self._thread = ThreadPoolExecutor(1, "atomstream-torch")
        self._shape = shape
        vacuum = np.zeros((shape.frames, self._networks.channels, shape.height, shape.width), np.float32)
        self.submit(vacuum)
        check_shapes(self.collect(), shape, self._networks.max_count)
        on_gpu = self._device.type == "cuda"
        name = torch.cuda.get_device_name(self._device) if on_gpu else "CPU"
        return AnalyserInfo("torch", name, self._precision, torch.__version__, self._networks.sha256)

    def submit(self, frames: NDArray[np.float32]) -> None:
        """Hand the batch to the thread; PyTorch releases the interpreter while it computes."""
        check_batch(frames, self._shape, self._networks.channels, len(self._in_flight))
        if self._thread is not None:
            self._in_flight.append(self._thread.submit(self._answer, frames))

    def ready(self) -> bool:
        """Whether the thread is done with the oldest batch."""
        return bool(self._in_flight) and self._in_flight[0].done()

    def collect(self) -> NetworkOutput:
        """Wait for the thread; the answer is a copy in host memory."""
        check_collect(len(self._in_flight))
        try:
            return check_output(self._in_flight.popleft().result())
        except RuntimeError as error:
            if isinstance(error, BackendError):
                raise
            raise BackendError(f"PyTorch failed on a batch: {error}") from error

    def classify(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the shape network in the thread, after the batches that are there already; in float32."""
        shapes = expect_shapes(self._networks.shapes)
        if self._thread is None:
            raise BackendError("patches came before the networks were loaded; call load() first")
        try:
            logits = self._thread.submit(self._shapes_of, patches).result()
        except RuntimeError as error:
            if isinstance(error, BackendError):
                raise
            raise BackendError(f"PyTorch failed on {len(patches)} patches: {error}") from error
        return check_logits(logits, len(patches), shapes)

    def _shapes_of(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        assert self._shapes is not None  # noqa: S101  load() saw to it
        with self._device_errors("telling shapes"), torch.inference_mode():
            (logits,) = self._shapes(torch.from_numpy(patches).to(self._device))
            answer: NDArray[np.float32] = logits.cpu().numpy()
        return answer

    def _device_errors(self, doing: str) -> AbstractContextManager[None]:
        """Return a context in which errors of a CUDA device are told as such."""
        return cuda_errors(doing) if self._device.type == "cuda" else nullcontext()

    def close(self) -> None:
        """Join the thread and drop the weights."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = self._shape = None
        self._runs, self._shapes = [], None
        self._answer = self._on_cpu
        self._in_flight.clear()

    def _networks_on(self, batch: Any) -> tuple[Any, ...]:
        """Run the networks on a batch, shape (N, C, H, W); return what `NetworkOutput` holds."""
        import torch

        if self._device.type == "cuda":
            batch = batch.contiguous(memory_format=torch.channels_last)
        own = (batch[:, : network.own_channels] for network in self._networks.per_frame)
        (denoised,), *columns = (run(frames) for run, frames in zip(self._runs, own, strict=True))
        images = [denoised, *(probability for probability, _ in columns)]
        return *(i[:, 0].contiguous() for i in images), *(logits.contiguous() for _, logits in columns)

    def _on_cpu(self, frames: NDArray[np.float32]) -> NetworkOutput:
        import torch

        with torch.inference_mode():
            return NetworkOutput(*(t.numpy() for t in self._networks_on(torch.from_numpy(frames))))
