"""The networks on a CUDA device with PyTorch: pinned memory, one CUDA graph, one stream.

Every method is called by the backend's thread. The graph is captured after a warm-up in another stream, as
PyTorch asks for ("CUDA Graphs" in its notes on CUDA semantics). A batch's copies and computation follow one
another; only the other thread's work overlaps with them. TensorRT's backend overlaps everything.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.cuda_errors import cuda_errors
from pipeline.backends.protocol import IN_FLIGHT, NetworkOutput
from streamer.errors import BackendError

__all__ = ["CudaRun"]

_WARM_UPS = 3


class CudaRun:
    """Answers batches of one shape.

    Parameters
    ----------
    compute : callable
        From a batch on the device to the outputs there, float32: what is captured.
    shape : tuple of int
        (N, C, H, W).
    device : torch.device
    """

    def __init__(
        self, compute: Callable[[Any], tuple[Any, ...]], shape: tuple[int, int, int, int], device: Any
    ) -> None:
        import torch

        self._torch, self._compute = torch, compute
        with cuda_errors("allocating a batch"):
            self._frames = torch.zeros(shape, device=device)
            self._staged = torch.zeros(shape).pin_memory()
            self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: Any = None
        self._outputs: tuple[Any, ...] = ()
        self._answers: deque[tuple[Any, ...]] = deque()

    def __call__(self, frames: NDArray[np.float32]) -> NetworkOutput:
        """Compute one batch; the answer is in pinned memory, and two later batches do not touch it."""
        torch = self._torch
        with cuda_errors("computing a batch"), torch.inference_mode(), torch.cuda.stream(self._stream):
            if self._graph is None:
                self._capture()
            self._staged.copy_(torch.from_numpy(frames))
            self._frames.copy_(self._staged, non_blocking=True)
            self._graph.replay()
            answer = self._answers[0]
            self._answers.rotate(-1)
            for host, device in zip(answer, self._outputs, strict=True):
                host.copy_(device, non_blocking=True)
            self._stream.synchronize()
        return NetworkOutput(*(host.numpy() for host in answer))

    def _capture(self) -> None:
        torch = self._torch
        for _ in range(_WARM_UPS):
            self._compute(self._frames)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._outputs = self._compute(self._frames)
        for output in self._outputs:
            output.fill_(float("nan"))
        self._graph.replay()
        self._stream.synchronize()
        if any(bool(output.isnan().any()) for output in self._outputs):
            raise BackendError("the captured CUDA graph is empty: it does not compute all outputs")
        for _ in range(IN_FLIGHT + 1):
            self._answers.append(tuple(torch.empty(o.shape).pin_memory() for o in self._outputs))
