"""Pinned host memory and the buffers of batches on a CUDA device; CuPy is handed in.

Every buffer is allocated when the networks are loaded and stays where it is: a CUDA graph has the addresses.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchBuffers", "make_buffers", "pinned"]


@dataclass(slots=True)
class BatchBuffers:
    """The memory of one batch on its way through the device, and where it has got to.

    Attributes
    ----------
    frames : cupy.ndarray of float32, shape (N, C, H, W)
    outputs : dict of cupy.ndarray of float32
        By the networks' names of them.
    uploaded, computed, downloaded : cupy.cuda.Event
        Recorded after the stage.
    graph : cupy.cuda.Graph or None
        Both networks on these very buffers; None: they are started one by one.
    host : dict of numpy.ndarray
        The outputs in pinned memory, where answers go to the host.
    held : object
        The batch being computed: it must not be freed or changed before.
    """

    frames: Any
    outputs: dict[str, Any]
    uploaded: Any
    computed: Any
    downloaded: Any
    graph: Any = None
    host: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    held: Any = None

    @property
    def addresses(self) -> dict[str, int]:
        """Device address by name of the networks' tensor."""
        arrays = {"frames": self.frames, **self.outputs}
        return {name: array.data.ptr for name, array in arrays.items()}


def make_buffers(cupy: Any, frames: tuple[int, ...], outputs: dict[str, tuple[int, ...]]) -> BatchBuffers:
    """Allocate the buffers of one batch for these shapes."""
    events = [cupy.cuda.Event(block=True, disable_timing=True) for _ in range(3)]
    return BatchBuffers(
        cupy.zeros(frames, cupy.float32),
        {name: cupy.zeros(shape, cupy.float32) for name, shape in outputs.items()},
        *events,
    )


def pinned(cupy: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array in pinned memory: the device copies from and to it without the host's help.

    The array holds its memory; both are gone with the last view of it.
    """
    dtype = np.dtype(dtype)
    memory = cupy.cuda.alloc_pinned_memory(max(prod(shape) * dtype.itemsize, 1))
    return np.frombuffer(memory, dtype, prod(shape)).reshape(shape)
