"""One client of a tee: its socket, its policy, and what became of every message that was meant for it.

An output serves one client. A client that comes in mid-series gets the series' start message first, again if
need be, because it cannot read images without; and no image overtakes a start or an end that had to wait.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import zmq

from streamer.connection import ConnectionWatch
from streamer.counters import OutputCounts, OutputPolicy
from streamer.message_kind import Kind

__all__ = ["TeeOutput"]

_MOST_START_MESSAGES = 16  # of one series; Stream V1 may need ten
_MOST_OWED = 32


class TeeOutput:
    """Passes messages on to one client; used by one thread.

    Parameters
    ----------
    socket : zmq.Socket
        PUSH, bound.
    watch : ConnectionWatch
        Of this socket.
    address : str
    policy : OutputPolicy
    """

    def __init__(self, socket: Any, watch: ConnectionWatch, address: str, policy: OutputPolicy) -> None:
        self.counts = OutputCounts(address, policy)
        self.socket = socket
        self._watch = watch
        self._n_joined = self._n_left = 0
        self._start: list[Sequence[zmq.Frame]] = []  # of the running series
        self._start_is_open = False  # more of it may come
        self._owed: deque[tuple[Kind, Sequence[zmq.Frame]]] = deque()

    @property
    def settled(self) -> bool:
        """Whether nothing is owed to a client that is there."""
        return not self._owed or not self._watch.n_peers

    def offer(self, kind: Kind, parts: Sequence[zmq.Frame]) -> bool:
        """Pass a message on, or drop it as the policy says; False if it must be offered again."""
        self.update()
        if kind is Kind.MORE and not self._start_is_open:
            kind = Kind.UNKNOWN
        if self.counts.policy is OutputPolicy.LOSSLESS:
            if self._owed or not self._send(kind, parts):
                return False
        elif kind in (Kind.IMAGE, Kind.UNKNOWN):
            self._send_or_drop(kind, parts)
        elif self._watch.n_peers:
            self._owe(kind, parts)
            self.update()
        self._remember(kind, parts)
        return True

    def update(self) -> None:
        """Follow clients that came or went, and send what is owed."""
        self._watch.update()
        self.counts.clients = self._watch.n_peers
        if self._watch.n_left != self._n_left:
            self.counts.breaks += self._watch.n_left - self._n_left if self._start else 0
            self._n_left = self._watch.n_left
        if self._watch.n_joined != self._n_joined:
            self._n_joined = self._watch.n_joined
            self._owed = deque((Kind.START, parts) for parts in self._start)
        while self._owed and self._send(*self._owed[0]):
            self._owed.popleft()

    def close(self, linger_s: float) -> None:
        """Close the socket; what it still holds has so long to leave [s]."""
        self._watch.close()
        self.socket.close(round(1000 * linger_s))

    def _send_or_drop(self, kind: Kind, parts: Sequence[zmq.Frame]) -> None:
        if not self._watch.n_peers:
            self.counts.absent += 1
        elif self._owed or not self._send(kind, parts):
            self.counts.dropped += 1

    def _owe(self, kind: Kind, parts: Sequence[zmq.Frame]) -> None:
        self._owed.append((kind, parts))
        if len(self._owed) > _MOST_OWED:
            self._owed.popleft()
            self.counts.withheld += 1

    def _send(self, kind: Kind, parts: Sequence[zmq.Frame]) -> bool:
        """Hand the message to ZeroMQ as it came, without a copy; False if there is no client or no room.

        ZeroMQ would take it for a client of whom `update` does not know yet, and who is owed the start.
        """
        if not self._watch.n_peers:
            return False
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        if kind in (Kind.START, Kind.MORE):
            self.counts.starts += 1
        elif kind is Kind.END:
            self.counts.ends += 1
        else:
            self.counts.frames += 1
        return True

    def _remember(self, kind: Kind, parts: Sequence[zmq.Frame]) -> None:
        """Keep the running series' start for a client that comes later."""
        if kind is Kind.START:
            self._start = [parts]
        elif kind is Kind.MORE and len(self._start) < _MOST_START_MESSAGES:
            self._start.append(parts)
        elif kind is Kind.END:
            self._start = []
        self._start_is_open = kind in (Kind.START, Kind.MORE)
