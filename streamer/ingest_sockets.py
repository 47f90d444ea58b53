"""The sockets of ingest: who is connected to it, and by what."""

from typing import Any

import zmq

from streamer.analysers import set_analyser_options
from streamer.closing import Closing
from streamer.config import RunConfig
from streamer.control import Remote
from streamer.curve import Guard
from streamer.receiver import open_source

__all__ = ["IngestSockets"]

_STATUS_QUEUE = 4
_LINGER_MS = 500


class IngestSockets(Closing):
    """The sockets of ingest; a context manager that closes them.

    Attributes
    ----------
    receiver : Receiver or BridgedReceiver
        From the source.
    inner, outer : zmq.Socket
        ROUTER to the analysers of this machine, and (or None) to those of others.
    status, commands : zmq.Socket
        XPUB to the windows, and DEALER to the supervisor.
    inner_address, outer_address : str
        What analysers connect to; the outer one is empty where there is none.
    """

    def __init__(self, config: RunConfig, view_address: str, remote: Remote) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self.receiver = open_source(self._context, config)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._guard: Guard | None = None
        try:
            self._open_to_analysers(config)
        except BaseException:
            self._close_guard()
            self._context.destroy(linger=0)
            raise
        self.status = self._context.socket(zmq.XPUB)
        self.status.set(zmq.SNDHWM, _STATUS_QUEUE)
        self.status.set(zmq.LINGER, _LINGER_MS)
        if view_address:
            self.status.connect(view_address)
        self.commands = self._context.socket(zmq.DEALER)
        self.commands.set(zmq.LINGER, _LINGER_MS)
        if remote.commands:
            self.commands.connect(remote.commands)

    def close(self) -> None:
        """Close every socket."""
        self.receiver.close()
        for socket in (self.inner, self.outer, self.status, self.commands):
            if socket is not None:
                socket.close()
        self._close_guard()
        self._context.term()

    def _open_to_analysers(self, config: RunConfig) -> None:
        limit, address = config.ingest.message_limit_bytes, config.analysis.remote
        self.inner: Any = self._context.socket(zmq.ROUTER)
        self.outer: Any = self._context.socket(zmq.ROUTER) if address else None
        set_analyser_options(self.inner, limit)
        self.inner.bind("tcp://127.0.0.1:0")
        self.inner_address: str = self.inner.getsockopt_string(zmq.LAST_ENDPOINT)
        self.outer_address = ""
        if self.outer is not None:
            set_analyser_options(self.outer, limit)
            self._guard = Guard(self._context, config.security)
            self.outer_address = self._guard.bind(self.outer, address)

    def _close_guard(self) -> None:
        if self._guard is not None:
            self._guard.close()
