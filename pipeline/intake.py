"""Tasks from ingest on their way to be prepared; decoded ahead by threads, where one is not enough.

On a CPU the cores belong to the networks, and each frame is decoded when it is its turn. Where a GPU
computes, decoding would be a good part of what the analyser's thread does for a frame: there a few threads
decode, straight into the memory that the device copies from. Frames leave in the order in which they came.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline.backends.device import Device
from streamer import link
from streamer.compression import decode
from streamer.errors import BackendError, MessageError

__all__ = ["Incoming", "Intake"]

Parts = list[memoryview]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A task, or why it cannot be read, and its pixels if they are being decoded."""

    task: link.Task | MessageError
    pixels: Future[NDArray[Any]] | None = None


class Intake:
    """Fetches tasks; used by one thread, the analyser's.

    Parameters
    ----------
    fetch : callable
        Waits so many milliseconds for a task's message; empty if there is none.
    device : Device
        Where the frames will go.
    threads : int
        That decode; with 1 none is started, and pixels are left to who prepares the frame.
    """

    def __init__(self, fetch: Callable[[int], Parts], device: Device, threads: int) -> None:
        self._fetch, self._device = fetch, device
        self._most = 2 * threads  # frames held: one for each thread, and as many that wait for one
        self._pool = ThreadPoolExecutor(threads, "atomstream-decode") if threads > 1 else None
        self._ahead: deque[Incoming] = deque()

    def next(self, patience_ms: int) -> Incoming | None:
        """Return the oldest task; None if none has come. What else is there already begins to be decoded."""
        if self._pool is None:
            parts = self._fetch(patience_ms)
            return Incoming(_task_in(parts)) if parts else None
        while len(self._ahead) < self._most and (parts := self._fetch(0 if self._ahead else patience_ms)):
            self._ahead.append(self._begun(parts, self._pool))
        return self._ahead.popleft() if self._ahead else None

    def close(self) -> None:
        """End the threads; frames that are still here are nobody's any more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._ahead.clear()

    def _begun(self, parts: Parts, pool: ThreadPoolExecutor) -> Incoming:
        task = _task_in(parts)
        if isinstance(task, MessageError):
            return Incoming(task)
        try:
            room = self._device.room(task.frame.header)
        except BackendError as error:  # told where the frame is prepared, which is then named
            failed: Future[NDArray[Any]] = Future()
            failed.set_exception(error)
            return Incoming(task, failed)
        return Incoming(task, pool.submit(decode, task.frame, room))


def _task_in(parts: Parts) -> link.Task | MessageError:
    try:
        return link.decode_task(parts)
    except MessageError as error:
        return error
