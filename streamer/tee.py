"""Gives a detector's stream to several clients: a PUSH socket gives each message to one of them only.

What comes from the source is passed on as it came, in the same parts and without a copy. A lossless output
that has no room, or no client, holds everything back, as a client of the detector itself would; a best-effort
output drops images (docs/remote.md). One thread of Python does it all; ZeroMQ has one of its own for the
source and one for each output, so that where there are cores a further client takes no time from the others.

Memory: at most `IngestConfig.receive_queue_frames` messages from the source and `TeeConfig.queue_frames` for
each output; a message that several outputs still hold is in memory once.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import zmq

from streamer.config import RunConfig
from streamer.counters import OutputCounts
from streamer.message_kind import Kind, kind_reader
from streamer.outlets import STOP_LINGER_S, Outlets
from streamer.receiver import Receiver
from streamer.sources import parse_source

__all__ = ["Tee", "TeeCounts"]

_WAIT_MS = 50
_REPORT_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class TeeCounts:
    """What a tee has done.

    Attributes
    ----------
    frames, starts, ends, unknown : int
        Messages received, by kind; the unknown ones are damaged, and passed on like images.
    n_bytes : int
        Of all messages.
    series : int
        Series that were passed on to their end.
    seconds : float
        From the first message to the last.
    stopped : bool
        Whether it was asked to stop; then what its queues still held may not have been delivered.
    undelivered : bool
        Whether, otherwise, a lossless client had not taken everything when the time for it was over.
    outputs : tuple of OutputCounts
    """

    frames: int
    starts: int
    ends: int
    unknown: int
    n_bytes: int
    series: int
    seconds: float
    stopped: bool
    undelivered: bool
    outputs: tuple[OutputCounts, ...]

    @property
    def messages(self) -> int:
        """All messages received."""
        return self.frames + self.starts + self.ends + self.unknown

    @property
    def breaks(self) -> list[OutputCounts]:
        """Lossless outputs whose client left in mid-series."""
        return [output for output in self.outputs if output.broken]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


class Tee:
    """The loop; a context manager that closes its sockets.

    Parameters
    ----------
    config : RunConfig
        Its `source`, `ingest`, `security` and `tee`.

    Attributes
    ----------
    addresses : list of str
        What clients connect to: the lossless outputs, then the others.

    Raises
    ------
    UsageError
        If an address can be reached from other machines and nothing says who may, or a key file holds none.
    RunError
        If an address cannot be bound.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._kind_of = kind_reader(parse_source(config.source.address).scheme)
        self._counts = dict.fromkeys(Kind, 0)
        self._n_bytes = self._n_series = 0
        self._in_series = self._stopped = False
        self._first = self._last = 0.0
        self._outlets = Outlets(config, n_threads=1)
        self.addresses = [output.address for output in self._outlets.counts]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0.0 if kind is not None else None)

    def run(
        self, stop: Callable[[], bool], report: Callable[[TeeCounts], None] = lambda counts: None
    ) -> None:
        """Connect to the source; pass messages on until asked to stop or `TeeConfig.series` series are over.

        Parameters
        ----------
        stop : callable
            Asked with every message, and at least every 0.1 s.
        report : callable
            Given the counts five times a second.

        Raises
        ------
        SourceRefusedError
            If the source does not let us in.
        """
        receiver = Receiver(self._outlets.context, self._config, _WAIT_MS, affinity=1)
        try:
            receiver.expect_admitted(stop)
            self._stopped = not self._run(receiver, stop, report)
        finally:
            receiver.close()

    def close(self, linger_s: float | None = None) -> None:
        """Let the last messages leave, for as long as their policy says or `linger_s`, and close everything.

        May be called twice.
        """
        if linger_s is None and self._stopped:
            linger_s = STOP_LINGER_S
        self._outlets.close(linger_s)

    def counts(self) -> TeeCounts:
        """Return what was done so far; after `close`, what was done at all."""
        return TeeCounts(
            frames=self._counts[Kind.IMAGE],
            starts=self._counts[Kind.START] + self._counts[Kind.MORE],
            ends=self._counts[Kind.END],
            unknown=self._counts[Kind.UNKNOWN],
            n_bytes=self._n_bytes,
            series=self._n_series,
            seconds=self._last - self._first,
            stopped=self._stopped,
            undelivered=self._outlets.undelivered,
            outputs=self._outlets.counts,
        )

    def _run(self, receiver: Receiver, stop: Callable[[], bool], report: Callable[[TeeCounts], None]) -> bool:
        """Pass messages on; return whether that ended by itself."""
        next_report = 0.0
        while not stop():
            parts = _receive(receiver)
            if parts and not self._pass_on(parts, stop):
                break
            if time.monotonic() >= next_report:
                next_report = time.monotonic() + _REPORT_INTERVAL_S
                self._look_after(receiver, report)
            if self._n_series and self._n_series == self._config.tee.series:
                self._outlets.settle()
                return True
        return False

    def _pass_on(self, parts: Sequence[zmq.Frame], stop: Callable[[], bool]) -> bool:
        """Give a message to every output; False if a lossless one had no room when the end was asked for."""
        kind = self._kind_of([part.buffer for part in parts])
        self._count(kind, parts)
        given = self._outlets.offer(kind, parts)
        while not given:
            if stop():
                return False
            self._outlets.waiting[0].socket.poll(_WAIT_MS, zmq.POLLOUT)
            given = self._outlets.retry()
        if kind is Kind.END and self._in_series:  # it may come twice
            self._n_series += 1
        self._in_series = kind is not Kind.END and (self._in_series or kind is not Kind.UNKNOWN)
        return True

    def _count(self, kind: Kind, parts: Sequence[zmq.Frame]) -> None:
        now = time.monotonic()
        self._first, self._last = self._first or now, now
        self._counts[kind] += 1
        self._n_bytes += sum(len(part) for part in parts)

    def _look_after(self, receiver: Receiver, report: Callable[[TeeCounts], None]) -> None:
        if not self._first:
            receiver.expect_not_refused()
        self._outlets.update()
        report(self.counts())


def _receive(receiver: Receiver) -> Sequence[zmq.Frame]:
    try:
        return receiver.socket.recv_multipart(copy=False)
    except zmq.Again:
        return ()
