"""Once a second, a sign of life of every process of the run, for whoever subscribes to the view address."""

import time

import msgspec
import zmq

from streamer.closing import Closing
from streamer.window_link import HEARTBEAT_TOPIC

__all__ = ["Heartbeat", "decode_heartbeat", "Beat"]

_INTERVAL_S = 1.0
_QUEUE_MESSAGES = 4


class Beat(msgspec.Struct, frozen=True):
    """A sign of life, a MessagePack map: `t` [Unix s on the run's clock], and each process' state."""

    t: float
    processes: dict[str, str]


_encode = msgspec.msgpack.Encoder().encode
_beats = msgspec.msgpack.Decoder(Beat)


def decode_heartbeat(body: bytes | memoryview) -> Beat:
    """Read a sign of life; raises msgspec.MsgspecError if it is none."""
    beat: Beat = _beats.decode(body)
    return beat


class Heartbeat(Closing):
    """Publishes through the view hub; a context manager.

    Parameters
    ----------
    hub : str
        The view hub's inner address.
    """

    def __init__(self, hub: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.set(zmq.SNDHWM, _QUEUE_MESSAGES)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(hub)
        self._next = 0.0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._context.term()

    def beat(self, t: float, processes: dict[str, str]) -> None:
        """Publish, unless it was less than a second ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _INTERVAL_S
            self._socket.send_multipart([HEARTBEAT_TOPIC, _encode(Beat(t, processes))])
