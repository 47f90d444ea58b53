"""Frames onto a CUDA device: from pinned memory that they were decoded into, in the caller's stream."""

from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from numpy.typing import NDArray

from pipeline.backends.cuda_errors import cuda_errors
from pipeline.backends.cuda_memory import pinned
from pipeline.backends.device import decoders_beside_gpu
from streamer.records import FrameHeader

__all__ = ["CudaDevice"]

_COPIES = 4  # that may be on their way


class CudaDevice:
    """Memory of the device; CuPy's calls go into the stream that is current in the calling thread.

    Pinned memory goes round: lent by `room`, filled by whoever decodes, held by `bring` until its copy is
    done, then lent again. What is lent and not brought, because it did not decode, is simply forgotten.
    """

    def __init__(self, cupy: Any) -> None:
        self.xp = cupy
        self.decoders = decoders_beside_gpu()
        self._cupy = cupy
        self._kind: Any = None  # shape and type of what is free
        self._free: list[NDArray[Any]] = []
        self._copying: deque[tuple[NDArray[Any], Any]] = deque()  # with the event after the copy

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros on the device."""
        with cuda_errors(f"allocating a batch of {shape}"):
            return self._cupy.zeros(shape, self._cupy.float32)

    def room(self, header: FrameHeader) -> NDArray[Any]:
        """Return pinned memory that no copy reads any more."""
        kind = (header.shape, header.dtype)
        if kind != self._kind:
            self._free.clear()
            self._kind = kind
        with cuda_errors("allocating pinned memory"):
            while self._copying and (len(self._copying) >= _COPIES or self._copying[0][1].done):
                self._take_back()
            return self._free.pop() if self._free else pinned(self._cupy, *kind)

    def bring(self, pixels: NDArray[Any]) -> Any:
        """Start copying a frame that lies in pinned memory."""
        with cuda_errors("uploading a frame"):
            image = self._cupy.empty(pixels.shape, pixels.dtype)
            stream = self._cupy.cuda.get_current_stream()
            image.set(pixels, stream=stream)
            copied = self._cupy.cuda.Event(block=True, disable_timing=True)
            stream.record(copied)
        self._copying.append((pixels, copied))
        return image

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """CuPy's errors become a `BackendError`."""
        return cuda_errors(doing)

    def _take_back(self) -> None:
        """Wait for the oldest copy; its memory is free."""
        pixels, copied = self._copying.popleft()
        copied.synchronize()
        if (pixels.shape, pixels.dtype) == self._kind:
            self._free.append(pixels)
