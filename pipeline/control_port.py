"""Where a run takes commands: one address for all windows and scripts, owned by the supervisor.

A thread checks each request before ingest sees it. What is none is answered with what is wrong with it; a
request to stop is the supervisor's own; everything else goes to ingest, whose reply goes back to whom asked.
Both queues are short: who floods the address waits, and nobody else does.
"""

import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import zmq

from streamer.control import MESSAGE_LIMIT_BYTES, REQUEST, Remote, Reply, Stop, decode_request, encode
from streamer.errors import MessageError, RunError

__all__ = ["ControlPort"]

_QUEUE_MESSAGES = 64
_BURST_MESSAGES = 16
_STOP_CHECK_MS = 50
_LINGER_MS = 500


class ControlPort:
    """A ROUTER in a thread; use it as a context manager.

    Parameters
    ----------
    bind : str
        Address such as ``tcp://127.0.0.1:0``, port 0 for any free one; empty: the run takes no commands.

    Attributes
    ----------
    remote : Remote
        What ingest must know.

    Raises
    ------
    RunError
        If `bind` cannot be opened.
    """

    def __init__(self, bind: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._error: BaseException | None = None
        self._end = threading.Event()
        self._stop_wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self.remote = Remote()
        if bind:
            self._open(bind)

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody has asked for the end of the run."""
        return self._stop_wanted.is_set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread, close both addresses, and raise what went wrong in the thread, if anything did."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self._context.term()
        if self._error is not None:
            raise RunError(f"the control address failed: {self._error}") from self._error

    def _open(self, bind: str) -> None:
        try:
            self._clients = self._bound(zmq.ROUTER, bind, MESSAGE_LIMIT_BYTES)
            self._ingest = self._bound(zmq.DEALER, "tcp://127.0.0.1:0", -1)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise RunError(
                f"cannot take commands at {bind}: {error.strerror}; choose another address (control.bind)"
            ) from error
        self.remote = Remote(
            commands=self._ingest.getsockopt_string(zmq.LAST_ENDPOINT),
            control=self._clients.getsockopt_string(zmq.LAST_ENDPOINT),
        )
        self._thread = threading.Thread(target=self._run, name="atomstream-control", daemon=True)
        self._thread.start()

    def _bound(self, kind: int, address: str, message_limit_bytes: int) -> Any:
        socket = self._context.socket(kind)
        socket.set(zmq.MAXMSGSIZE, message_limit_bytes)
        socket.set(zmq.RCVHWM, _QUEUE_MESSAGES)
        socket.set(zmq.SNDHWM, _QUEUE_MESSAGES)
        socket.set(zmq.LINGER, _LINGER_MS)
        socket.bind(address)
        return socket

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._error = error  # raised again by close()
        finally:
            self._clients.close()
            self._ingest.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._clients, zmq.POLLIN)
        poller.register(self._ingest, zmq.POLLIN)
        while not self._end.is_set():
            ready = dict(poller.poll(_STOP_CHECK_MS))
            if self._ingest in ready:
                self._give_replies()
            if self._clients in ready:
                self._take_requests()

    def _take_requests(self) -> None:
        for _ in range(_BURST_MESSAGES):
            try:
                client, *parts = self._clients.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            error = self._hand_on(client, parts)
            if error is not None:
                self._answer(client, encode(Reply(ok=not error, error=error)))

    def _hand_on(self, client: bytes, parts: list[bytes]) -> str | None:
        """Hand a request on to ingest; return an error, or an empty one if it is done already."""
        if len(parts) != 2 or parts[0]:
            return f"a request is one part after an empty one, as REQ sends it; got {len(parts)} parts"
        try:
            request = decode_request(parts[1])
        except MessageError as error:
            return str(error)
        if isinstance(request, Stop):
            self._stop_wanted.set()
            return ""
        try:
            self._ingest.send_multipart([REQUEST, client, parts[1]], zmq.NOBLOCK)
        except zmq.Again:
            return "the run is not ready, or has too many requests waiting: try again"
        return None

    def _give_replies(self) -> None:
        for _ in range(_BURST_MESSAGES):
            try:
                client, body = self._ingest.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer(client, body)

    def _answer(self, client: bytes, body: bytes) -> None:
        with suppress(zmq.Again):  # who does not read replies gets none
            self._clients.send_multipart([client, b"", body], zmq.NOBLOCK)
