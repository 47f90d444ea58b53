"""When the frames of a stream are due."""

import time
from collections.abc import Callable

__all__ = ["Pacer"]

_CHECK_S = 0.05


class Pacer:
    """Waits for each frame's turn; the schedule is absolute, so one late frame delays no other.

    Parameters
    ----------
    rate_hz : float
        Frames a second; 0: each is due at once.
    stop : callable
        Asked at least every 0.1 s while waiting.

    Attributes
    ----------
    late : int
        Frames whose turn came more than one frame time after they were due.
    """

    def __init__(self, rate_hz: float, stop: Callable[[], bool]) -> None:
        self.late = 0
        self._interval_s = 1 / rate_hz if rate_hz > 0 else 0.0
        self._stop = stop
        self._first = self._last = self._next_check = 0.0

    @property
    def elapsed_s(self) -> float:
        """Time from the first frame's turn to the last one's [s]."""
        return self._last - self._first

    def wait_for(self, n: int) -> bool:
        """Wait until frame `n` is due, which is `n` frame times after frame 0; False if asked to stop."""
        now = time.perf_counter()
        if n == 0:
            self._first = now
        due = self._first + n * self._interval_s
        if self._interval_s and now > due + self._interval_s:
            self.late += 1
        going_on = self._sleep_until(due)
        self._last = time.perf_counter()
        return going_on

    def pause(self, seconds: float) -> None:
        """Stand still, as a stalling detector does; less long if asked to stop."""
        self._sleep_until(time.perf_counter() + seconds)

    def _sleep_until(self, due: float) -> bool:
        while True:
            now = time.perf_counter()
            if now >= self._next_check:
                self._next_check = now + _CHECK_S
                if self._stop():
                    return False
            if now >= due:
                return True
            time.sleep(min(due - now, _CHECK_S))
