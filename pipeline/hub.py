"""Where windows find a run: one address, however many analysers publish and windows look.

A thread of the supervisor forwards from an inner address, to which ingest and analysers connect their PUB
sockets, to the outer one (`ViewConfig.bind`), to which windows connect their SUB sockets. Both sides may come
and go at any time. Nothing can hold a publisher up: PUB and XPUB drop at their high-water mark, and what is
dropped here is a picture, never a frame of the record.
"""

import threading
from contextlib import ExitStack
from socket import gethostname
from typing import Any

import zmq

from streamer.closing import Closing, short_queue_socket
from streamer.config import LOCAL_ONLY, SecurityConfig
from streamer.curve import Guard
from streamer.errors import RunError

__all__ = ["ViewHub", "shown_address"]

_QUEUE_MESSAGES = 8
_BURST_MESSAGES = 16
_STOP_CHECK_MS = 50
_LINGER_MS = 500
_SUBSCRIPTION_LIMIT_BYTES = 4096  # all that a window may send


def shown_address(address: str) -> str:
    """Return a bound address as other machines reach it."""
    return _at(gethostname(), address)


def _at(host: str, address: str) -> str:
    """Return an address that is bound to every interface as this host's."""
    return address.replace("//0.0.0.0:", f"//{host}:").replace("//[::]:", f"//{host}:")


class ViewHub(Closing):
    """An XSUB/XPUB forwarder in a thread; use it as a context manager.

    Parameters
    ----------
    bind : str
        Outer address, such as ``tcp://127.0.0.1:0``; port 0 takes any free one.
    security : SecurityConfig, optional
        Who may look; without, windows on this machine.

    Attributes
    ----------
    inner_address, outer_address : str
        What publishers and windows connect to.
    local_address, shown_address : str
        The outer address, as windows on this machine and on others reach it.

    Raises
    ------
    UsageError
        If windows on other machines could connect, and nothing says whose.
    RunError
        If `bind` cannot be opened.
    """

    def __init__(self, bind: str, security: SecurityConfig = LOCAL_ONLY) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._error: BaseException | None = None
        self._stop = threading.Event()
        with ExitStack() as undo:
            undo.callback(self._context.destroy, linger=0)
            self._guard = undo.enter_context(Guard(self._context, security))
            self._publishers = short_queue_socket(self._context, zmq.XSUB, _QUEUE_MESSAGES, _LINGER_MS)
            self._windows = short_queue_socket(
                self._context, zmq.XPUB, _QUEUE_MESSAGES, _LINGER_MS, _SUBSCRIPTION_LIMIT_BYTES
            )
            self._publishers.bind("tcp://127.0.0.1:0")
            self.outer_address = self._guard.bind(self._windows, bind)
            undo.pop_all()
        self.inner_address = self._publishers.getsockopt_string(zmq.LAST_ENDPOINT)
        self.local_address = _at("127.0.0.1", self.outer_address)
        self.shown_address = shown_address(self.outer_address)
        self._thread = threading.Thread(target=self._run, name="atomstream-hub", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, close both addresses, and raise what went wrong in the thread, if anything did."""
        self._stop.set()
        self._thread.join()
        self._guard.close()
        self._context.term()
        if self._error is not None:
            raise RunError(f"the view hub failed: {self._error}") from self._error

    def _run(self) -> None:
        try:
            self._forward()
        except BaseException as error:
            self._error = error  # raised again by close()
        finally:
            self._publishers.close()
            self._windows.close()

    def _forward(self) -> None:
        poller = zmq.Poller()
        poller.register(self._publishers, zmq.POLLIN)
        poller.register(self._windows, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(_STOP_CHECK_MS))
            if self._publishers in ready:
                _pass_on(self._publishers, self._windows)
            if self._windows in ready:
                _pass_on(self._windows, self._publishers)  # subscriptions
        self._publishers.poll(_STOP_CHECK_MS)
        _pass_on(self._publishers, self._windows)  # the run's last status


def _pass_on(source: Any, target: Any) -> None:
    """Forward what has arrived, a bounded number so that neither direction starves the other."""
    for _ in range(_BURST_MESSAGES):
        try:
            target.send_multipart(source.recv_multipart(zmq.NOBLOCK, copy=False), copy=False)
        except zmq.Again:
            return
