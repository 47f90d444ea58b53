"""One clock for all processes of a run."""

import time
from dataclasses import dataclass
from typing import Protocol, Self

__all__ = ["Clock", "RunClock"]


class Clock(Protocol):
    """Whatever tells the run's time: `RunClock`, or what stands for it on another machine."""

    def now(self) -> float:
        """Return the time [Unix s]."""


@dataclass(frozen=True, slots=True)
class RunClock:
    """Unix time that never steps, the same in every process on this machine.

    The wall clock is read once, when the run starts; after that only the monotonic performance counter counts
    (CLOCK_MONOTONIC on Linux, QueryPerformanceCounter on Windows: both are common to all processes). A clock
    set back by a time server in mid-run therefore cannot make a latency negative.
    """

    wall_at_start_s: float
    counter_at_start_s: float

    @classmethod
    def start(cls) -> Self:
        """Read both clocks now; called once, by the process that starts the run."""
        return cls(time.time(), time.perf_counter())

    def now(self) -> float:
        """Return the time [Unix s]."""
        return self.wall_at_start_s + (time.perf_counter() - self.counter_at_start_s)
