"""A flag that one process sets and another asks for, whatever happens to either."""

import ctypes
import multiprocessing
import time

__all__ = ["SharedFlag"]

_CHECK_S = 0.01


class SharedFlag:
    """A byte in shared memory, without a lock; given to a child process when it is started.

    An Event has locks. A process that is killed while it asks holds one for ever; one that is killed while it
    waits is waited for by whoever sets the Event; and a signal that comes at such a moment waits for its own
    process.
    """

    def __init__(self) -> None:
        self._byte = multiprocessing.get_context("spawn").RawValue(ctypes.c_byte, 0)

    def set(self) -> None:
        """Set the flag, for good."""
        self._byte.value = 1

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return bool(self._byte.value)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the flag is set, at most so long, and return whether it is."""
        deadline = time.monotonic() + timeout_s
        while not self.is_set() and time.monotonic() < deadline:
            time.sleep(_CHECK_S)
        return self.is_set()
