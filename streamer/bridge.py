"""Sources without ZeroMQ: a thread that puts their messages into the queue that ingest reads.

The thread reads a connection (or asks a server) and sends each message over an in-process PUSH → PULL pair,
so that ingest sees the same bounded queue, the same back pressure and the same parser interface as from a
ZeroMQ source: when the queue is full, the thread stops reading, and TCP holds the sender back.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import zmq

from streamer.config import IngestConfig

__all__ = ["Bridge", "Pump"]

_POLL_MS = 50
_COPIED_BYTES = 300_000
"""Smaller messages are copied into the queue: a lent one has to be released by another thread of Python,
which wakes up for it and waits for the interpreter's lock. A Merlin frame of 256 x 256 px and 32 bits is
smaller."""

Parts = Sequence[bytes | bytearray | memoryview]


class Pump(Protocol):
    """The client of one source; all methods but `close` are called by the bridge's thread."""

    def pump(self, send: Callable[[Parts], bool], stopping: Callable[[], bool]) -> None:
        """Pass messages on until `stopping`, or until `send` has returned False.

        `send` takes the parts of one message, which belong to the queue from then on. Whatever this raises
        ends the run with that error, after the file was closed.
        """

    def close(self) -> None:
        """Close the connection; called when `pump` has returned."""


class Bridge:
    """Runs a pump.

    Parameters
    ----------
    context : zmq.Context
    pump : Pump
        Connected already; belongs to the bridge from now on.
    limits : IngestConfig
        The queue's length.

    Attributes
    ----------
    receiver : zmq.Socket
        PULL: what ingest reads instead of a detector's socket; whoever made the bridge closes it, afterwards.
    error : Exception or None
        Why the pump has ended by itself.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], pump: Pump, limits: IngestConfig) -> None:
        self.error: Exception | None = None
        self._pump = pump
        self._stop = threading.Event()
        address = f"inproc://bridge-{id(self)}"
        self.receiver: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self.receiver.set(zmq.RCVHWM, limits.receive_queue_frames)
        self.receiver.set(zmq.LINGER, 0)
        self.receiver.bind(address)
        self._sender: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        self._sender.set(zmq.SNDHWM, 1)  # over inproc both ends' limits add up
        self._sender.set(zmq.LINGER, 0)
        self._sender.copy_threshold = _COPIED_BYTES
        self._sender.connect(address)
        self._thread = threading.Thread(target=self._run, name="atomstream-bridge", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, join it, and close its connection."""
        self._stop.set()
        self._thread.join()
        self._pump.close()
        self._sender.close()

    def _run(self) -> None:
        try:
            self._pump.pump(self._send, self._stop.is_set)
        except Exception as error:  # re-raised by whoever reads `error`
            self.error = error

    def _send(self, parts: Parts) -> bool:
        while not self._stop.is_set():
            try:
                self._sender.send_multipart(cast("list[bytes]", parts), zmq.NOBLOCK, copy=False)
                return True
            except zmq.Again:
                self._sender.poll(_POLL_MS, zmq.POLLOUT)
        return False
