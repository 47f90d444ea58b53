"""Where a run takes commands and stimuli: two addresses for all windows, scripts and devices.

A thread checks each request before ingest sees it. What is none is answered with what is wrong with it; a
request to stop is the supervisor's own; everything else goes to ingest, whose reply goes back to whom asked.
Samples of stimulus channels are checked and dated here, and reach ingest twenty times a second in batches.
All queues are short, and only so many samples are taken in at a time: who floods an address waits, nobody
else does.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import zmq

from streamer.clock import RunClock
from streamer.closing import Closing, short_queue_socket
from streamer.config import LOCAL_ONLY, ChannelConfig, ControlConfig, SecurityConfig
from streamer.control import MESSAGE_LIMIT_BYTES, REQUEST, Remote, Reply, Stop, decode_request, encode
from streamer.curve import Guard
from streamer.errors import MessageError, RunError
from streamer.stimuli import SAMPLES, Inbox, encode_batch
from streamer.triggers import EVENT, Event, decode_event

__all__ = ["ControlPort"]

_QUEUE_MESSAGES = 64
_BURST_MESSAGES = 16
_STOP_CHECK_MS = 50
_LINGER_MS = 500
_BATCH_S = 0.05
_SAMPLE_MESSAGES = 500  # taken in at a time, so at most 10,000 a second
_SAMPLES_LIMIT_BYTES = 64 * 1024


class ControlPort(Closing):
    """A ROUTER in a thread; use it as a context manager.

    Parameters
    ----------
    config : ControlConfig
        An empty address: the run takes no commands, and no samples either.
    channels : sequence of ChannelConfig
        What samples are taken of; none: there is no address for them.
    clock : RunClock
        The run's.
    on_event : callable
        Given what triggers with a webhook have set off; it must not wait.
    security : SecurityConfig, optional
        Who may ask and send samples; without, programs on this machine.

    Attributes
    ----------
    remote : Remote
        What ingest must know.

    Raises
    ------
    UsageError
        If other machines could connect, and nothing says whose.
    RunError
        If an address cannot be opened.
    """

    def __init__(
        self,
        config: ControlConfig,
        channels: Sequence[ChannelConfig],
        clock: RunClock,
        on_event: Callable[[Event], None] = lambda event: None,
        security: SecurityConfig = LOCAL_ONLY,
    ) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._error: BaseException | None = None
        self._end = threading.Event()
        self._stop_wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self.remote = Remote()
        self._clock = clock
        self._on_event = on_event
        self._inbox = Inbox(channels)
        self._samples: Any = None
        self._next_batch = 0.0
        if config.bind:
            with ExitStack() as undo:
                undo.callback(self._context.destroy, linger=0)
                self._guard = undo.enter_context(Guard(self._context, security))
                self._open(config.bind, config.stimuli if channels else "")
                undo.pop_all()
            self._thread = threading.Thread(target=self._run, name="atomstream-control", daemon=True)
            self._thread.start()

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody has asked for the end of the run."""
        return self._stop_wanted.is_set()

    def close(self) -> None:
        """Stop the thread, close both addresses, and raise what went wrong in the thread, if anything did."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._guard.close()
        self._context.term()
        if self._error is not None:
            raise RunError(f"the control address failed: {self._error}") from self._error

    def _open(self, bind: str, stimuli: str) -> None:
        context, limits = self._context, (_QUEUE_MESSAGES, _LINGER_MS)
        self._clients = short_queue_socket(context, zmq.ROUTER, *limits, MESSAGE_LIMIT_BYTES)
        self._ingest = short_queue_socket(context, zmq.DEALER, *limits)
        self._ingest.bind("tcp://127.0.0.1:0")
        control, samples = self._guard.bind(self._clients, bind), ""
        if stimuli:
            self._samples = short_queue_socket(context, zmq.PULL, *limits, _SAMPLES_LIMIT_BYTES)
            samples = self._guard.bind(self._samples, stimuli)
        self.remote = Remote(self._ingest.getsockopt_string(zmq.LAST_ENDPOINT), control, samples)

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._error = error  # raised again by close()
        finally:
            self._clients.close()
            self._ingest.close()
            if self._samples is not None:
                self._samples.close()

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
            if self._samples is not None and time.monotonic() >= self._next_batch:
                self._next_batch = time.monotonic() + _BATCH_S
                self._take_samples()

    def _take_samples(self) -> None:
        """Take in what devices have sent since the last time, and hand it on as one batch."""
        for _ in range(_SAMPLE_MESSAGES):
            try:
                body = self._samples.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._inbox.take(body, self._clock.now())
        batch = self._inbox.drain()
        if batch is not None:
            try:
                self._ingest.send_multipart([SAMPLES, encode_batch(batch)], zmq.NOBLOCK)
            except zmq.Again:
                self._inbox.take_back(batch)

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
            if client == EVENT:  # which no client can be called: ROUTER's names begin with a zero byte
                self._on_event(decode_event(body))
            else:
                self._answer(client, body)

    def _answer(self, client: bytes, body: bytes) -> None:
        with suppress(zmq.Again):  # who does not read replies gets none
            self._clients.send_multipart([client, b"", body], zmq.NOBLOCK)
