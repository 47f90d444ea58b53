"""A run's own tee: ingest passes what it takes in on to further clients, which a PUSH detector cannot.

The same outputs as those of ``atomstream tee`` (`streamer.outlets`), without the hop through one more
process. A lossless client that has no room, or is not there, holds ingest back, and so the detector and the
recording; a best-effort one holds nothing back.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import zmq

from streamer.config import RunConfig
from streamer.counters import OutputCounts
from streamer.message_kind import kind_reader
from streamer.outlets import LOSSLESS_LINGER_S, STOP_LINGER_S, Outlets, n_outputs
from streamer.sources import parse_source

__all__ = ["RunTee", "open_tee"]

_WAIT_MS = 50


@contextmanager
def open_tee(config: RunConfig) -> "Iterator[RunTee | None]":
    """Open a run's tee, if its configuration names clients; it is closed at the latest with the context.

    Raises
    ------
    UsageError
        If the source cannot be passed on, an address can be reached from other machines and nothing says who
        may, or a key file holds none.
    RunError
        If an address cannot be bound.
    """
    if not n_outputs(config.tee):
        yield None
        return
    tee = RunTee(config)
    try:
        yield tee
    finally:
        tee.close()


class RunTee:
    """Used by ingest's thread.

    Attributes
    ----------
    undelivered : bool
        After `finish`: whether a lossless client had not taken everything when the time for it was over.
    """

    def __init__(self, config: RunConfig) -> None:
        scheme = parse_source(config.source.address).scheme
        self._kind_of = kind_reader(scheme)
        self._outlets = Outlets(config)
        self.undelivered = False
        self.lines = [
            f"{counts.policy}: {scheme}://{counts.address.removeprefix('tcp://')}" for counts in self.counts
        ]

    @property
    def counts(self) -> tuple[OutputCounts, ...]:
        """What each client has got."""
        return self._outlets.counts

    @property
    def blocked(self) -> bool:
        """Whether a lossless client has not taken the last message: nothing more may be offered."""
        return bool(self._outlets.waiting)

    @property
    def waited_for(self) -> "list[zmq.Socket[bytes]]":
        """The sockets that must take something first."""
        return [output.socket for output in self._outlets.waiting]

    def offer(self, parts: Sequence[zmq.Frame]) -> None:
        """Pass a message on as it came."""
        self._outlets.offer(self._kind_of([part.buffer for part in parts]), parts)

    def tick(self) -> None:
        """Follow clients, and try again what was not taken; called in every round."""
        self._outlets.retry()

    def finish(self, stopping: Callable[[], bool]) -> None:
        """Let what is on its way leave, for half a minute at most; after a request to stop, for a moment."""
        deadline = time.monotonic() + LOSSLESS_LINGER_S
        while self.blocked and not stopping() and time.monotonic() < deadline:
            self.waited_for[0].poll(_WAIT_MS, zmq.POLLOUT)
            self._outlets.retry()
        if not stopping():
            self._outlets.settle()
        given_up = self.blocked or stopping()
        self.undelivered = self.blocked and not stopping()
        self._outlets.close(STOP_LINGER_S if given_up else None)
        self.undelivered |= self._outlets.undelivered

    def close(self) -> None:
        """Close everything at once, if `finish` has not."""
        self._outlets.close(0.0)
