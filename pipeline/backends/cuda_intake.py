"""Frames onto a CUDA device: decoded straight into pinned memory, copied in the caller's stream."""

from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from pipeline.backends.cuda_errors import cuda_errors
from pipeline.backends.cuda_memory import pinned
from streamer.compression import decode
from streamer.records import Frame

__all__ = ["CudaDevice"]

_STAGES = 4  # frames whose copies may be on their way


class CudaDevice:
    """Memory of the device; CuPy's calls go into the stream that is current in the calling thread."""

    def __init__(self, cupy: Any) -> None:
        self.xp = cupy
        self._cupy = cupy
        self._kind: Any = None  # shape and type of the stages
        self._stages: deque[tuple[Any, Any]] = deque()  # pinned memory, and the event after its last copy

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros on the device."""
        with cuda_errors(f"allocating a batch of {shape}"):
            return self._cupy.zeros(shape, self._cupy.float32)

    def receive(self, frame: Frame) -> tuple[Any, Any]:
        """Decode a frame into pinned memory, valid until the next call, and start copying it."""
        with cuda_errors("uploading a frame"):
            stage, copied = self._next_stage(frame)
            decode(frame, out=stage)
            image = self._cupy.empty(stage.shape, stage.dtype)
            stream = self._cupy.cuda.get_current_stream()
            image.set(stage, stream=stream)
            stream.record(copied)
        return stage, image

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """CuPy's errors become a `BackendError`."""
        return cuda_errors(doing)

    def _next_stage(self, frame: Frame) -> tuple[Any, Any]:
        """Return pinned memory that no copy reads any more."""
        kind = (frame.header.shape, frame.header.dtype)
        if kind != self._kind:
            self._release()
            self._stages.extend(
                (pinned(self._cupy, *kind), self._cupy.cuda.Event(block=True, disable_timing=True))
                for _ in range(_STAGES)
            )
            self._kind = kind
        self._stages.rotate(-1)
        stage, copied = self._stages[0]
        copied.synchronize()
        return stage, copied

    def _release(self) -> None:
        """Let go of the stages once their copies are done."""
        for _, copied in self._stages:
            copied.synchronize()
        self._stages.clear()
