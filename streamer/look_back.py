"""The frames of the last seconds that the file does not keep, held in memory in case an event asks for them.

They are the received messages themselves: nothing is copied. Memory is bounded by bytes, whatever the rate.
"""

from collections import deque
from math import inf
from typing import NamedTuple

from streamer.config import RecordConfig
from streamer.errors import RecordingError
from streamer.records import Frame

__all__ = ["Held", "LookBack"]

_OVERHEAD_BYTES = 1024  # of a frame's records and its message's envelope
_MIB = 2**20


class Held(NamedTuple):
    """A frame and when it was received [Unix s]."""

    t_received: float
    frame: Frame


class LookBack:
    """Frames in the order in which they came, those of them that are to be written, and until when all are.

    Parameters
    ----------
    config : RecordConfig

    Attributes
    ----------
    keep_until : float
        What is received up to then is kept, whatever the run leaves out otherwise [Unix s].
    reason : str
        What asked for it.
    n_bytes : int
        Size of all that is held, what is to be written included.
    """

    def __init__(self, config: RecordConfig) -> None:
        self.keep_until = -inf
        self.reason = ""
        self.n_bytes = 0
        self._back_s, self._ahead_s = config.look_back_s, config.look_ahead_s
        self._limit_bytes = config.look_back_MiB * _MIB if config.path and config.look_back_s else 0
        self._held: deque[Held] = deque()
        self._wanted: deque[Held] = deque()
        self._pushed_out = -inf  # received, of the last one that had to go before its time

    @property
    def n_wanted(self) -> int:
        """Frames that are to be written."""
        return len(self._wanted)

    def add(self, frame: Frame, t_received: float) -> None:
        """Hold a frame; the oldest ones make room for it."""
        if not self._limit_bytes:
            return
        self._held.append(Held(t_received, frame))
        self.n_bytes += _size(frame)
        while self.n_bytes > self._limit_bytes and self._held:
            self._pushed_out = self._let_go()

    def forget(self, t: float) -> None:
        """Let go of what no event at `t` [Unix s] or later can ask for."""
        while self._held and self._held[0].t_received < t - self._back_s:
            self._let_go()

    def keep(self, t: float, reason: str) -> float:
        """Ask for all frames around `t` [Unix s]; return for how long of it they are not there any more [s].

        Raises
        ------
        RecordingError
            If nothing is held, nor would be.
        """
        if not self._back_s and not self._ahead_s:
            raise RecordingError("this run holds no frames back: give it --look-back-s or --look-ahead-s")
        self.reason, self.keep_until = reason, max(self.keep_until, t + self._ahead_s)
        first = t - self._back_s
        self._wanted.extend(h for h in self._held if first <= h.t_received <= self.keep_until)
        self._held = deque(h for h in self._held if not first <= h.t_received <= self.keep_until)
        return max(0.0, self._pushed_out - first)

    def next_wanted(self) -> Held | None:
        """Hand out the next frame to be written; None if there is none."""
        if not self._wanted:
            return None
        held = self._wanted.popleft()
        self.n_bytes -= _size(held.frame)
        return held

    def _let_go(self) -> float:
        held = self._held.popleft()
        self.n_bytes -= _size(held.frame)
        return held.t_received


def _size(frame: Frame) -> int:
    return len(frame.payload) + _OVERHEAD_BYTES
