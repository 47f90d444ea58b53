"""How batches reach the device and answers leave it: from and to host memory, or not at all.

Everything is asynchronous; three sets of buffers take turns. Copies and computation are in streams of their
own, none of them the default one, with events between::

    from the host     upload ─uploaded─► compute ─computed─► download ─downloaded─► host reads
    on the device     caller ─uploaded─► compute ─computed─► host goes on, caller's stream reads

"The caller's stream" is the one that is current in the analyser's thread: what it queued before `put` is
done before the networks start. That covers the batch itself and all reading of an older answer in the same
buffers.
"""

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.cuda_intake import CudaDevice
from pipeline.backends.cuda_memory import BatchBuffers, pinned
from pipeline.backends.device import Device, decoders_beside_gpu
from pipeline.backends.protocol import NetworkOutput
from streamer.records import FrameHeader

__all__ = ["DeviceLink", "HostLink", "Link"]


class HostLink:
    """Batches come from host memory, answers go back there, while other batches are computed."""

    def __init__(self, cupy: Any, compute: Any) -> None:
        self._cupy, self._compute = cupy, compute
        self._upload, self._download = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        self.device: Device = PinnedHost(cupy)

    def prepare(self, buffers: BatchBuffers) -> None:
        """Allocate what a set of buffers needs on the host."""
        for name, array in buffers.outputs.items():
            buffers.host[name] = pinned(self._cupy, array.shape, array.dtype)

    def put(self, buffers: BatchBuffers, frames: Any) -> None:
        """Start copying a batch in; what is queued on the compute stream afterwards sees it.

        The host has waited for the last answer from these buffers, so nothing reads them any more.
        """
        buffers.frames.set(frames, stream=self._upload)
        self._upload.record(buffers.uploaded)
        self._compute.wait_event(buffers.uploaded)

    def fetch(self, buffers: BatchBuffers) -> None:
        """Start copying the answer out, once the compute stream has got so far."""
        self._compute.record(buffers.computed)
        self._download.wait_event(buffers.computed)
        for name, array in buffers.outputs.items():
            array.get(stream=self._download, out=buffers.host[name], blocking=False)
        self._download.record(buffers.downloaded)

    def ready(self, buffers: BatchBuffers) -> bool:
        """Whether the answer is there."""
        return bool(buffers.downloaded.done)

    def wait(self, buffers: BatchBuffers) -> NetworkOutput:
        """Wait for the answer and return views of it."""
        buffers.downloaded.synchronize()
        return as_output(buffers.host)

    def close(self) -> None:
        """Wait for copies that are on their way."""
        self._upload.synchronize()
        self._download.synchronize()


class DeviceLink:
    """Batches are made on the device and answers stay there."""

    def __init__(self, cupy: Any, compute: Any) -> None:
        self._cupy, self._compute = cupy, compute
        self._caller = cupy.cuda.Stream(non_blocking=True)
        self._caller.use()  # for this thread, until close()
        self.device: Device = CudaDevice(cupy)

    def prepare(self, buffers: BatchBuffers) -> None:
        """Nothing is needed on the host."""

    def put(self, buffers: BatchBuffers, frames: Any) -> None:
        """Copy a batch to where the networks read it, after everything its caller has queued."""
        self._cupy.cuda.get_current_stream().record(buffers.uploaded)
        self._compute.wait_event(buffers.uploaded)
        buffers.frames.data.copy_from_device_async(frames.data, frames.nbytes, self._compute)

    def fetch(self, buffers: BatchBuffers) -> None:
        """Mark the place in the compute stream where the answer is there."""
        self._compute.record(buffers.computed)

    def ready(self, buffers: BatchBuffers) -> bool:
        """Whether the answer is there."""
        return bool(buffers.computed.done)

    def wait(self, buffers: BatchBuffers) -> NetworkOutput:
        """Wait for the answer and return views of it."""
        buffers.computed.synchronize()
        return as_output(buffers.outputs)

    def close(self) -> None:
        """Give the thread its usual stream back."""
        self._caller.synchronize()
        self._cupy.cuda.Stream.null.use()


Link = HostLink | DeviceLink


class PinnedHost:
    """Host memory from which the device can copy by itself."""

    xp: ModuleType = np

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self.decoders = decoders_beside_gpu()

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros in pinned memory."""
        batch = pinned(self._cupy, shape, np.float32)
        batch[...] = 0
        return batch

    def room(self, header: FrameHeader) -> None:
        """Decode to anywhere: what is copied to the device is the batch."""

    def bring(self, pixels: NDArray[Any]) -> Any:
        """Return the frame itself, which stays on the host."""
        return pixels

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """Nothing but the networks is computed on the device."""
        return nullcontext()


def as_output(outputs: dict[str, Any]) -> NetworkOutput:
    """Return the networks' outputs under the names the analysis has for them."""
    if "count_logits" not in outputs:
        return NetworkOutput(outputs["denoised"][:, 0])
    return NetworkOutput(
        outputs["denoised"][:, 0], outputs["column_probability"][:, 0], outputs["count_logits"]
    )
