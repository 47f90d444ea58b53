"""All clients of a tee together: their sockets, the message that is being given to them, and their end.

ZeroMQ has a thread for each output, so that where there are cores a further client takes no time from the
others.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import zmq

from streamer.config import RunConfig, TeeConfig
from streamer.connection import ConnectionWatch
from streamer.counters import OutputCounts, OutputPolicy
from streamer.curve import Guard
from streamer.message_kind import Kind
from streamer.tee_output import TeeOutput

__all__ = ["LOSSLESS_LINGER_S", "STOP_LINGER_S", "Outlets", "n_outputs"]

LOSSLESS_LINGER_S = 30.0
STOP_LINGER_S = 2.0
_LINGER_S = {OutputPolicy.LOSSLESS: LOSSLESS_LINGER_S, OutputPolicy.BEST_EFFORT: 1.0}
_WAIT_S = 0.05
_MOST_THREADS = 32


def n_outputs(tee: TeeConfig) -> int:
    """Return how many clients are provided for."""
    return len(tee.lossless) + len(tee.best_effort)


class Outlets:
    """The sending end of a tee; used by one thread.

    A message that a lossless output has no room for is kept: nothing else may be offered until `retry` has
    given it to all.

    Parameters
    ----------
    n_threads : int
        Of ZeroMQ, besides one for each output: for sockets that the caller opens in `context`.
    config : RunConfig
        Its `security` and `tee`.

    Attributes
    ----------
    context : zmq.Context
        Of the outputs; its threads with a number below `n_threads` serve none of them.
    outputs : sequence of TeeOutput
        The lossless ones, then the others.
    waiting : list of TeeOutput
        Those that have not taken the message in hand.
    undelivered : bool
        After `close`: whether a lossless client had not taken everything when the time for it was over.

    Raises
    ------
    UsageError
        If an address can be reached from other machines and nothing says who may, or a key file holds none.
    RunError
        If an address cannot be bound.
    """

    def __init__(self, config: RunConfig, n_threads: int = 0) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(n_threads + n_outputs(config.tee))
        self.waiting: list[TeeOutput] = []
        self.undelivered = False
        self._queue_frames = config.tee.queue_frames
        self._in_hand: tuple[Kind, Sequence[zmq.Frame]] = (Kind.UNKNOWN, ())
        with ExitStack() as undo:
            undo.callback(self.context.destroy, linger=0)
            self._guard = undo.enter_context(Guard(self.context, config.security))
            self.outputs = [
                self._open(policy, address, number)
                for number, (policy, address) in enumerate(_wanted(config.tee), start=n_threads)
            ]
            undo.pop_all()

    @property
    def counts(self) -> tuple[OutputCounts, ...]:
        """What became of the messages for each; goes on counting."""
        return tuple(output.counts for output in self.outputs)

    def offer(self, kind: Kind, parts: Sequence[zmq.Frame]) -> bool:
        """Give a message to every output; False if a lossless one has no room, or no client."""
        self._in_hand = kind, parts
        self.waiting = [output for output in self.outputs if not output.offer(kind, parts)]
        return not self.waiting

    def retry(self) -> bool:
        """Follow clients that came and went, and offer the message in hand again to those that wait."""
        self.update()
        self.waiting = [output for output in self.waiting if not output.offer(*self._in_hand)]
        return not self.waiting

    def update(self) -> None:
        """Follow clients that came and went, and send what is owed to them."""
        for output in self.outputs:
            output.update()

    def settle(self) -> None:
        """Give the clients that are there a moment to take the last start or end message."""
        deadline = time.monotonic() + _LINGER_S[OutputPolicy.BEST_EFFORT]
        while time.monotonic() < deadline and not all(output.settled for output in self.outputs):
            time.sleep(_WAIT_S)
            self.update()

    def close(self, linger_s: float | None = None) -> None:
        """Let the last messages leave, for as long as their policy says or `linger_s`, and close everything.

        May be called twice. The caller's own sockets in `context` must be closed before.
        """
        if self.context.closed:
            return
        for output in self.outputs:
            output.close(_LINGER_S[output.counts.policy] if linger_s is None else linger_s)
        self._guard.close()
        began = time.monotonic()
        self.context.term()  # waits until all is delivered, or the time is over
        took_s = time.monotonic() - began
        self.undelivered = linger_s is None and took_s >= _LINGER_S[OutputPolicy.LOSSLESS]

    def _open(self, policy: OutputPolicy, address: str, number: int) -> TeeOutput:
        socket: Any = self.context.socket(zmq.PUSH)
        socket.set(zmq.AFFINITY, 1 << number % _MOST_THREADS)
        socket.set(zmq.SNDHWM, self._queue_frames)
        watch = ConnectionWatch(socket)
        return TeeOutput(socket, watch, self._guard.bind(socket, address), policy)


def _wanted(tee: TeeConfig) -> list[tuple[OutputPolicy, str]]:
    lossless = [(OutputPolicy.LOSSLESS, address) for address in tee.lossless]
    return lossless + [(OutputPolicy.BEST_EFFORT, address) for address in tee.best_effort]
