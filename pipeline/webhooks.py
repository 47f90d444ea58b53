"""HTTP calls for triggers, in a thread of their own: however slow the other end is, nothing waits for it."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from math import inf
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from streamer.closing import Closing
from streamer.triggers import Event

__all__ = ["Webhooks"]

_QUEUE_EVENTS = 100
_TIMEOUT_S = 5.0
_CHECK_S = 0.1

_log = logging.getLogger(__name__)


class Webhooks(Closing):
    """POSTs events as JSON; a context manager.

    Parameters
    ----------
    addresses : mapping of str to str
        The URL of each trigger that has one.
    now : callable
        The run's clock [Unix s].

    Attributes
    ----------
    called, failed, dropped : int
        Calls that were answered; that were not; and events that found the queue full, or no time at the end.
    longest_ms : float
        From the frame's arrival to the answer, at most.
    """

    def __init__(self, addresses: Mapping[str, str], now: Callable[[], float]) -> None:
        self.called = self.failed = self.dropped = 0
        self.longest_ms = 0.0
        self._addresses = dict(addresses)
        self._now = now
        self._events: queue.Queue[Event] = queue.Queue(_QUEUE_EVENTS)
        self._end = threading.Event()
        self._deadline = inf
        self._thread = threading.Thread(target=self._run, name="atomstream-webhooks", daemon=True)
        if self._addresses:
            self._thread.start()

    def take(self, event: Event) -> None:
        """Call the event's webhook some time soon; never waits."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Begin calls that are due for at most as long as one may take, and end the thread.

        One whose answer trickles in for ever is left to itself. May be called twice.
        """
        if self._end.is_set():
            return
        self._deadline = time.monotonic() + _TIMEOUT_S
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(3 * _TIMEOUT_S)
            self.failed += self._thread.is_alive()
        with suppress(queue.Empty):
            while True:
                self._events.get_nowait()
                self.dropped += 1

    def done(self) -> str:
        """Say in words what has been called; empty if nothing was to be."""
        if not self.called + self.failed + self.dropped:
            return ""
        return (
            f"webhooks: {self.called} answered, {self.failed} failed, {self.dropped} not made; at most"
            f" {self.longest_ms:,.0f} ms after the frame"
        )

    def summary(self) -> dict[str, Any]:
        """Return the counters."""
        names = ("called", "failed", "dropped", "longest_ms")
        return {name: getattr(self, name) for name in names}

    def _run(self) -> None:
        while time.monotonic() < self._deadline:
            try:
                event = self._events.get(timeout=_CHECK_S)
            except queue.Empty:
                if self._end.is_set():
                    return
                continue
            self._call(event)

    def _call(self, event: Event) -> None:
        address = self._addresses[event.trigger]
        headers = {"Content-Type": "application/json"}
        try:
            request = Request(address, msgspec.json.encode(event), headers, method="POST")
            with urlopen(request, timeout=_TIMEOUT_S):
                self.called += 1
        except (OSError, ValueError, HTTPException) as error:
            self.failed += 1
            if self.failed <= 3:
                _log.warning("the webhook of trigger %s failed: %s: %s", event.trigger, address, error)
        self.longest_ms = max(self.longest_ms, 1000 * (self._now() - event.t_frame))
