"""The asking end of a run's control address: for scripts, which wait, and for windows, which must not."""

import time

import zmq

from streamer.closing import Closing
from streamer.connection import ConnectionWatch
from streamer.control import MESSAGE_LIMIT_BYTES, Reply, Request, decode_reply, encode
from streamer.curve import ClientKeys, connect_client
from streamer.errors import RunError, UsageError

__all__ = ["ControlLine", "ask"]

_QUEUE_MESSAGES = 16
_LOOK_S = 0.1


class ControlLine(Closing):
    """A connection over which requests go out and replies come back, without ever waiting.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` of the run's control address.
    keys : ClientKeys, optional
        Where the run is encrypted.

    Raises
    ------
    UsageError
        If ZeroMQ does not know such an address.
    """

    def __init__(self, address: str, keys: ClientKeys | None = None) -> None:
        self.address = address
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._connection = ConnectionWatch(self._socket)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, _QUEUE_MESSAGES),
            (zmq.RCVHWM, _QUEUE_MESSAGES),
            (zmq.MAXMSGSIZE, MESSAGE_LIMIT_BYTES),
        ):
            self._socket.set(option, value)
        try:
            connect_client(self._socket, address, keys)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"{address!r} is not an address ({error}); expected tcp://HOST:PORT") from error

    @property
    def refusal(self) -> str:
        """Why the run does not let us in; empty if it does, or has not said."""
        self._connection.update()
        return self._connection.refusal

    def send(self, request: Request) -> bool:
        """Send a request; return whether there was room for it."""
        try:
            self._socket.send_multipart([b"", encode(request)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def reply(self, wait_s: float = 0.0) -> Reply | None:
        """Return the next reply, if one has come within `wait_s`.

        Raises
        ------
        MessageError
            If what has come is none.
        """
        if not self._socket.poll(round(1000 * wait_s)):
            return None
        return decode_reply(self._socket.recv_multipart())

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
        self._socket.close()
        self._context.term()


def ask(address: str, request: Request, timeout_s: float = 5.0, keys: ClientKeys | None = None) -> Reply:
    """Send a request and wait for the reply.

    Raises
    ------
    RunError
        If none has come within `timeout_s`, or the run does not let us in.
    UsageError
        If the address is none.
    """
    with ControlLine(address, keys) as line:
        line.send(request)
        deadline = time.monotonic() + timeout_s
        while (reply := line.reply(_LOOK_S)) is None and time.monotonic() < deadline:
            if line.refusal:
                raise RunError(f"{address} refuses the connection: {line.refusal}")
    if reply is None:
        raise RunError(
            f"no run has answered at {address} within {timeout_s:g} s; a run prints its control address when"
            " it starts"
        )
    return reply
