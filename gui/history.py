"""What a window remembers, within fixed bounds: numbers of every frame, columns of most, pictures of some.

When one of them outgrows its share of memory, every second one of the older half is forgotten: the past is
kept from its beginning, and thins out with age.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gui.particles import mean_size_nm
from streamer.window_link import View, ViewHeader

__all__ = ["SERIES_DTYPE", "History", "Limits", "series_row"]

SERIES_DTYPE = np.dtype(
    [
        ("frame_id", "i8"),
        ("t", "f8"),  # received [Unix s]
        ("total_atoms", "f8"),
        ("total_atoms_std", "f8"),
        ("fused_atoms", "f8"),  # from all frames so far; NaN: columns are not followed
        ("fused_atoms_std", "f8"),
        ("n_columns", "f8"),  # NaN, as all results: in a file, of frames that were not analysed
        ("ood_score", "f8"),
        ("drift_y_px", "f8"),
        ("drift_x_px", "f8"),
        ("mean_counts", "f8"),  # per pixel; NaN: in a file, of frames that were not looked at
        ("n_particles", "f8"),
        ("n_unsure", "f8"),  # particles whose shape is not said
        ("particle_size_nm", "f8"),  # mean; NaN: there is none
    ]
)
"""One shown frame's numbers."""

_REORDERED_FRAMES = 256  # results of several analysers arrive out of order by at most this many

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on memory: 200 000 rows are 20 MB, more than two hours at 25 pictures a second."""

    rows: int = 200_000
    column_bytes: int = 96 * 2**20
    picture_bytes: int = 384 * 2**20


@dataclass(slots=True)
class _Thinning(Generic[_Item]):
    """Items in the order of their times, thinned when they outgrow `limit_bytes`."""

    limit_bytes: int
    size_of: Callable[[_Item], int]
    times: list[float] = field(default_factory=list)
    items: list[_Item] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, t: float, item: _Item) -> None:
        place = bisect_right(self.times, t)
        self.times.insert(place, t)
        self.items.insert(place, item)
        self.n_bytes += self.size_of(item)
        while self.n_bytes > self.limit_bytes and len(self.items) > 2:
            self._thin()

    def _thin(self) -> None:
        old = slice(1, max(2, len(self.items) // 2), 2)
        self.n_bytes -= sum(self.size_of(item) for item in self.items[old])
        del self.times[old], self.items[old]

    def nearest(self, t: float) -> _Item | None:
        if not self.items:
            return None
        right = bisect_left(self.times, t)
        candidates = range(max(0, right - 1), min(len(self.times), right + 1))
        return self.items[min(candidates, key=lambda i: abs(self.times[i] - t))]


class History:
    """The shown frames of one series.

    A frame of another series that was published later starts a new history; a frame of an older series that
    arrives late is not added. A frame that was received after another run was started begins a new history
    too, and so does a frame id far below the newest that was received later.

    Attributes
    ----------
    run_started : float
        When the run was started that is shown now [Unix s]; NaN if that is not known.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self.run_started = float("nan")
        self._clear()

    def _clear(self) -> None:
        self._rows = np.zeros(min(1024, self._limits.rows), SERIES_DTYPE)
        self._n_rows = 0
        self._columns: _Thinning[tuple[ViewHeader, NDArray[np.void]]] = _Thinning(
            self._limits.column_bytes, lambda item: item[1].nbytes + 400
        )
        self._views: _Thinning[View] = _Thinning(
            self._limits.picture_bytes, lambda view: view.raw.nbytes + view.denoised.nbytes
        )
        self._looked_at: tuple[float, View | None] = (float("nan"), None)
        self.newest: View | None = None
        self.largest_count = 0
        self.t_first = float("nan")  # when the series' first frame known here was received [Unix s]

    def add(self, view: View) -> bool:
        """Take in a frame; returns whether it began a new series."""
        newest = self.newest
        if newest is not None and newest.header.series_id != view.header.series_id:
            if view.header.t_published < newest.header.t_published:
                return False
        new_series = newest is not None and _begins_anew(newest.header, view.header, self.run_started)
        if new_series:
            self._clear()
        if newest is None or new_series or view.header.frame_id > newest.header.frame_id:
            self.newest = view
        self.t_first = min(view.header.t_received, self.t_first if self._n_rows else float("inf"))
        most = max(int(view.columns[name].max(initial=0)) for name in ("count", "fused_count"))
        self.largest_count = max(self.largest_count, most)
        self._add_row(series_row(view))
        self._columns.add(view.header.t_received, (view.header, view.columns))
        self._views.add(view.header.t_received, view)
        return new_series

    @property
    def rows(self) -> NDArray[np.void]:
        """Numbers of all frames in the order of their times, of SERIES_DTYPE; valid until the next `add`."""
        return self._rows[: self._n_rows]

    def between(self, start: float, end: float) -> NDArray[np.void]:
        """Return the rows received from `start` to `end` [Unix s]; valid until the next `add`."""
        first, last = self.rows["t"].searchsorted((start, end))
        return self.rows[first:last]

    @property
    def picture_bytes(self) -> int:
        """Memory that pictures take now [bytes]."""
        return self._views.n_bytes

    def at(self, t: float | None) -> View | None:
        """Return the kept frame nearest in time to `t` [Unix s]; the newest for None.

        As long as the same time is asked for, the frame is the same, even if it has been forgotten meanwhile.
        """
        if t is None:
            return self.newest
        if self._looked_at[0] != t:
            self._looked_at = t, self._views.nearest(t)
        return self._looked_at[1]

    def recent(self, view: View, n: int) -> list[View]:
        """Return up to `n` kept frames that end with `view`, oldest first."""
        end = bisect_left(self._views.times, view.header.t_received)
        return [*self._views.items[max(0, end - n + 1) : end], view]

    def step(self, t: float, frames: int) -> float:
        """Return the time of the kept frame that lies `frames` after the one at `t` (before, if negative)."""
        times = self._views.times
        nearest = self._views.nearest(t)
        if nearest is None:
            return t
        place = bisect_left(times, nearest.header.t_received) + frames
        return times[min(max(place, 0), len(times) - 1)]

    def columns(self, since: float = -np.inf) -> Iterator[tuple[ViewHeader, NDArray[np.void]]]:
        """Go through the kept columns of frames later than `since` [Unix s], oldest first."""
        yield from self._columns.items[bisect_right(self._columns.times, since) :]

    def _add_row(self, row: NDArray[np.void]) -> None:
        if self._n_rows == len(self._rows):
            self._make_room()
        place = self._n_rows
        while place and self._rows["t"][place - 1] > row["t"]:
            self._rows[place] = self._rows[place - 1]
            place -= 1
        self._rows[place] = row
        self._n_rows += 1

    def _make_room(self) -> None:
        if len(self._rows) < self._limits.rows:
            grown = min(2 * len(self._rows), self._limits.rows)
            self._rows = np.concatenate([self._rows, np.zeros(grown - len(self._rows), SERIES_DTYPE)])
        else:
            half = self._n_rows // 2
            kept = self._rows[np.r_[0:half:2, half : self._n_rows]]
            self._rows[: len(kept)] = kept
            self._n_rows = len(kept)


def _begins_anew(newest: ViewHeader, header: ViewHeader, run_started: float) -> bool:
    of_another_run = newest.t_received < run_started <= header.t_received
    if of_another_run or header.series_id != newest.series_id:
        return True
    return header.frame_id < newest.frame_id - _REORDERED_FRAMES and header.t_received > newest.t_received


def series_row(view: View) -> NDArray[np.void]:
    """Take from `view` the numbers that are kept of every frame, as a scalar of SERIES_DTYPE."""
    h, particles = view.header, view.particles
    return np.array(
        (
            h.frame_id, h.t_received, h.total_atoms, h.total_atoms_std, h.fused_atoms, h.fused_atoms_std,
            len(view.columns), h.ood_score, h.drift_y_px, h.drift_x_px, h.mean_counts, len(particles),
            int((particles["shape"] < 0).sum()), mean_size_nm(particles),
        ),
        SERIES_DTYPE,
    )  # fmt: skip
