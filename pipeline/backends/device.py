"""Where batches are made and answers are read: the host's memory, or the device's."""

import os
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.records import FrameHeader

__all__ = ["HOST", "Device", "HostDevice", "decoders_beside_gpu"]

_DECODERS = 4


class Device(Protocol):
    """The place of a backend's batches and answers, and how to bring a frame there.

    Attributes
    ----------
    xp : module
        Array module of that place: numpy, or cupy.
    decoders : int
        Threads that decode for it, where the configuration does not say.
    """

    xp: ModuleType
    decoders: int

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros for a batch, in memory that the engine takes fastest."""

    def room(self, header: FrameHeader) -> NDArray[Any] | None:
        """Return memory of the host to decode a frame into, from which `bring` is fastest; None: any."""

    def bring(self, pixels: NDArray[Any]) -> Any:
        """Bring a decoded frame to this place; returns at once.

        `pixels` may be read until the next call of `room`, and must not be written to any more.
        """

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """Return a context that turns the errors of calculations there into a `BackendError`."""


class HostDevice:
    """Plain memory of the host."""

    xp: ModuleType = np

    def __init__(self, decoders: int = 1) -> None:
        self.decoders = decoders

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros."""
        return np.zeros(shape, np.float32)

    def room(self, header: FrameHeader) -> None:
        """Decode to anywhere: an uncompressed frame is a view of its message."""

    def bring(self, pixels: NDArray[Any]) -> Any:
        """Return the frame itself."""
        return pixels

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """NumPy's errors are this program's own mistakes: they pass."""
        return nullcontext()


def decoders_beside_gpu() -> int:
    """Return how many threads decode where a GPU computes: four, or as many as leave a core to the others."""
    return max(1, min(_DECODERS, (os.cpu_count() or 1) - 1))


HOST = HostDevice()
