"""What becomes of a socket's connections: ZeroMQ makes them in the background, without a word of its own."""

from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

__all__ = ["ConnectionWatch", "set_reconnection"]

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
_NOT_ADMITTED = "it does not admit this machine's key"
_NOT_ENCRYPTED = "it is not encrypted, or no ZeroMQ socket; leave out --server-key if that is right"
_OTHER_KEY = "it hung up: its key is not the one that --server-key names, or it is not encrypted"
_ENCRYPTED = "it is encrypted, or no ZeroMQ socket; give --key and --server-key"
_RECONNECT_MS = (100, 1000)
_HANDSHAKE_MS = 5000
_KEEPALIVE_IDLE_S = 15
_KEEPALIVE_INTERVAL_S = 5
_KEEPALIVE_PROBES = 3
_MOST_HANG_UPS = 3  # one may be the end of a peer; several in a row are an answer


def set_reconnection(socket: Any) -> None:
    """Let a socket that is going to connect find its peer again soon, whatever became of it.

    TCP's own keep-alive finds a peer that is gone without having closed the connection; ZeroMQ's heartbeats
    would need a peer that knows them.
    """
    socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS[0])
    socket.set(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS[1])
    socket.set(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_IDLE_S)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_INTERVAL_S)
    socket.set(zmq.TCP_KEEPALIVE_CNT, _KEEPALIVE_PROBES)


class ConnectionWatch:
    """Follows one socket's connections, on the socket's own thread; made before the socket connects or binds.

    Attributes
    ----------
    n_peers : int
        Connections that stand.
    n_joined, n_left : int
        Connections that were made, and that ended.
    refusal : str
        Why the peer of a connecting socket does not let it in; empty while it may yet.
    """

    def __init__(self, socket: Any) -> None:
        self.n_peers = self.n_joined = self.n_left = 0
        self.refusal = ""
        self._n_hang_ups = self._n_failing = 0
        self._socket = socket
        self._events = socket.get_monitor_socket(_EVENTS)

    def update(self) -> None:
        """Take in what has happened; never waits, and costs a microsecond if nothing has."""
        while self._events.get(zmq.EVENTS) & zmq.POLLIN:
            self._take(int(recv_monitor_message(self._events, zmq.NOBLOCK)["event"]))

    def wait(self, timeout_s: float) -> None:
        """Wait until something happens, at most so long, and take it in."""
        self._events.poll(round(1000 * timeout_s))
        self.update()

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._socket.disable_monitor()
        self._events.close(0)

    def _take(self, event: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.n_peers, self.n_joined = self.n_peers + 1, self.n_joined + 1
            self.refusal, self._n_hang_ups = "", 0
        elif event == zmq.EVENT_DISCONNECTED:
            if self._n_failing:  # every failure is followed by one
                self._n_failing -= 1
            else:
                self.n_peers, self.n_left = self.n_peers - 1, self.n_left + 1
        else:
            self._n_failing += 1
            self._n_hang_ups += event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            if event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL or self._n_hang_ups >= _MOST_HANG_UPS:
                self.refusal = self._meaning(event)

    def _meaning(self, event: int) -> str:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return _NOT_ADMITTED
        if self._socket.get(zmq.MECHANISM) != zmq.CURVE:
            return _ENCRYPTED
        return _NOT_ENCRYPTED if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL else _OTHER_KEY
