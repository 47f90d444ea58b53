"""Where batches are made and answers are read: the host's memory, or the device's."""

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from streamer.compression import decode
from streamer.records import Frame

__all__ = ["HOST", "Device", "HostDevice"]


class Device(Protocol):
    """The place of a backend's batches and answers, and how to bring a frame there.

    Attributes
    ----------
    xp : module
        Array module of that place: numpy, or cupy.
    """

    xp: ModuleType

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros for a batch, in memory that the engine takes fastest."""

    def receive(self, frame: Frame) -> tuple[Any, Any]:
        """Decode a frame; return it on the host, to be read at once, and at this place.

        Raises
        ------
        PayloadError
            If it does not decode.
        """

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """Return a context that turns the errors of calculations there into a `BackendError`."""


class HostDevice:
    """Plain memory of the host."""

    xp: ModuleType = np

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return float32 zeros."""
        return np.zeros(shape, np.float32)

    def receive(self, frame: Frame) -> tuple[Any, Any]:
        """Decode a frame; both arrays are the same, a view of the message where it came uncompressed."""
        image = decode(frame)
        return image, image

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """NumPy's errors are this program's own mistakes: they pass."""
        return nullcontext()


HOST = HostDevice()
