"""Playing a recorded series: a clock that runs at a chosen speed. No Qt."""

__all__ = ["SPEEDS", "Player"]

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_LONGEST_STEP_S = 0.25  # a window that was held up does not leap


class Player:
    """Says which time is to be shown now.

    Attributes
    ----------
    speed : float
        Seconds of the series for each second; one of `SPEEDS`.
    """

    def __init__(self) -> None:
        self.playing = False
        self.speed = 1.0
        self._last = 0.0

    def toggle(self, now: float) -> None:
        """Start or stop at `now` [s, any clock]."""
        self.playing = not self.playing
        self._last = now

    def choose_speed(self, speed: float) -> None:
        """Go on at another speed."""
        self.speed = speed

    def advance(self, t: float, now: float, t_end: float) -> float:
        """Return the time that follows `t` [Unix s] at `now`; stops at `t_end`."""
        if not self.playing:
            return t
        t += self.speed * min(now - self._last, _LONGEST_STEP_S)
        self._last = now
        if t >= t_end:
            self.playing = False
            return t_end
        return t
