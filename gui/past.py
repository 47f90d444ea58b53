"""What the window asks of a past, whether it is remembered from a stream or read from a file."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.window_link import View, ViewHeader

__all__ = ["Past"]


class Past(Protocol):
    """Frames of one series; implemented by `gui.history.History` and `gui.recorded.RecordedPast`.

    All methods are called from the window's thread. What they return stays valid until frames are added.
    """

    t_first: float
    """When the first frame was received [Unix s]; NaN while there is none."""

    @property
    def largest_count(self) -> int:
        """The most atoms any column has had: a count keeps its colour through the series."""

    @property
    def newest(self) -> View | None:
        """The last frame."""

    @property
    def rows(self) -> NDArray[np.void]:
        """Numbers of all frames in the order of time, of `gui.history.SERIES_DTYPE`."""

    def between(self, start: float, end: float) -> NDArray[np.void]:
        """Return the rows received from `start` to `end` [Unix s]."""

    def at(self, t: float | None) -> View | None:
        """Return the frame nearest in time to `t` [Unix s]; the newest for None."""

    def recent(self, view: View, n: int) -> list[View]:
        """Return up to `n` frames that end with `view`, oldest first."""

    def step(self, t: float, frames: int) -> float:
        """Return the time of the frame that lies `frames` after the one at `t`; the outermost beyond."""

    def columns(self, since: float) -> Iterator[tuple[ViewHeader, NDArray[np.void]]]:
        """Go through the columns of analysed frames later than `since` [Unix s], oldest first."""
