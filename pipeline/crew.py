"""The child processes of a run, kept together so that none is left behind."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import psutil

from pipeline.signals import children_without_interrupts
from streamer.worker import Worker

__all__ = ["Crew"]

_GRACE_S = 10.0
_MEMORY_INTERVAL_S = 1.0


class Crew:
    """Starts workers and, when its context ends, stops and joins them all, whatever has happened.

    After an ordinary error they get `grace_s` to end; after a second Ctrl-C they are killed at once.

    Attributes
    ----------
    peak_rss_bytes : dict
        Largest resident memory seen of each worker, by name.
    """

    def __init__(self, grace_s: float = _GRACE_S) -> None:
        self.peak_rss_bytes: dict[str, int] = {}
        self._grace_s = grace_s
        self._workers: list[Worker] = []
        self._next_sample = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0 if kind is not None and not issubclass(kind, Exception) else self._grace_s)

    def start(self, name: str, target: Callable[..., None], *args: Any) -> Worker:
        """Start a child process; see `streamer.worker.Worker`."""
        with children_without_interrupts():
            worker = Worker(name, target, *args)
            self._workers.append(worker)  # here: an interrupt that has waited comes when the block ends
        return worker

    def stop(self, grace_s: float, but: Worker | None = None) -> None:
        """Ask all (but one) to end, join them, and kill those that are still there after `grace_s`."""
        leaving = [worker for worker in self._workers if worker is not but]
        for worker in leaving:
            worker.request_stop()
        deadline = time.monotonic() + grace_s
        for worker in leaving:
            worker.join(max(deadline - time.monotonic(), 0.0))
            self._workers.remove(worker)  # one by one: an interrupt may leave the others to another call
            worker.close()

    def states(self) -> dict[str, str]:
        """Return how each worker stands, by name."""
        return {worker.name: worker.state.value for worker in self._workers}

    def sample_memory(self) -> None:
        """Note every worker's resident memory, at most once a second; cheap enough to call in every round."""
        if time.monotonic() < self._next_sample:
            return
        self._next_sample = time.monotonic() + _MEMORY_INTERVAL_S
        for worker in self._workers:
            resident = _resident_bytes(worker.pid)
            self.peak_rss_bytes[worker.name] = max(self.peak_rss_bytes.get(worker.name, 0), resident)


def _resident_bytes(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended
