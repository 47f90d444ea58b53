"""A chosen column, or a region, followed through the frames a window remembers. No Qt."""

import math
import time
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gui.counting import any_fused, fused_or_nan
from gui.geometry import inside, nearest_column
from gui.past import Past
from gui.settings import Chosen, Corners
from streamer.window_link import ViewHeader

__all__ = [
    "ColumnFollower",
    "RegionFollower",
    "chosen_column",
    "expected_place",
    "find_chosen",
]

_SAME_COLUMN_A = 1.0  # farther from its place than this, it is another column
_SAME_COLUMN_PX = 8.0  # the same where the pixel size is unknown
_MOST_ROWS = 131_072

_What = TypeVar("_What")


def chosen_column(header: ViewHeader, column: np.void) -> Chosen:
    """Take from `column`, one element of COLUMN_DTYPE, what is needed to find it in other frames."""
    return Chosen(
        float(column["y"]), float(column["x"]), int(column["track_id"]), header.drift_y_px, header.drift_x_px
    )


def expected_place(chosen: Chosen, header: ViewHeader) -> tuple[float, float]:
    """Return where the column should be (y, x) [px], the particle's drift taken into account."""
    dy, dx = header.drift_y_px - chosen.drift_y_px, header.drift_x_px - chosen.drift_x_px
    return chosen.y + (dy if math.isfinite(dy) else 0.0), chosen.x + (dx if math.isfinite(dx) else 0.0)


def find_chosen(chosen: Chosen, header: ViewHeader, columns: NDArray[np.void]) -> int | None:
    """Return the column's index in another frame, by its track, else by its place; None if it is gone."""
    if chosen.track_id >= 0:
        same = np.flatnonzero(columns["track_id"] == chosen.track_id)
        if same.size:
            return int(same[0])
    known = math.isfinite(header.pixel_size_A) and header.pixel_size_A > 0
    within_px = _SAME_COLUMN_A / header.pixel_size_A if known else _SAME_COLUMN_PX
    return nearest_column(columns, *expected_place(chosen, header), within_px)


class _Follower(Generic[_What]):
    """Rows of numbers, one a remembered frame, of something that may be chosen anew.

    Each call takes in only frames that are new, and no more of them than fit into a time; the rest waits for
    the next call. Of too many rows every second one of the older half is forgotten.
    """

    n_fields: int

    def __init__(self) -> None:
        self._chosen: _What | None = None
        self._clear()

    def _clear(self) -> None:
        self._rows = np.empty((256, self.n_fields))
        self._n = 0
        self._last_t = -math.inf

    def follow(self, chosen: _What | None, history: Past, budget_s: float = math.inf) -> NDArray[np.float64]:
        """Return rows of `n_fields` values, the first of them t [Unix s]; valid until the next call."""
        if chosen != self._chosen or history.t_first > self._last_t:
            self._chosen = chosen
            self._clear()
        if chosen is not None:
            deadline = time.perf_counter() + budget_s
            for header, columns in history.columns(self._last_t):
                self._add((header.t_received, *self._values(chosen, header, columns)))
                if time.perf_counter() > deadline:
                    break
        return self._rows[: self._n]

    def _values(self, chosen: _What, header: ViewHeader, columns: NDArray[np.void]) -> tuple[float, ...]:
        raise NotImplementedError

    def _add(self, row: tuple[float, ...]) -> None:
        if self._n == len(self._rows):
            self._make_room()
        self._rows[self._n] = row
        self._n += 1
        self._last_t = row[0]

    def _make_room(self) -> None:
        if self._n < _MOST_ROWS:
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            return
        half = self._n // 2
        kept = np.r_[0:half:2, half : self._n]
        self._rows[: len(kept)] = self._rows[kept]
        self._n = len(kept)


class ColumnFollower(_Follower[Chosen]):
    """(t [Unix s], count, probability, fused count, its probability) of the chosen column in each frame.

    A frame without the column counts 0, NaN, and says nothing of the fused count: NaN, NaN.
    """

    n_fields = 5

    def _values(self, chosen: Chosen, header: ViewHeader, columns: NDArray[np.void]) -> tuple[float, ...]:
        index = find_chosen(chosen, header, columns)
        if index is None:
            return 0.0, math.nan, math.nan, math.nan
        column = columns[index]
        return float(column["count"]), float(column["probability"]), *fused_or_nan(column)


class RegionFollower(_Follower[Corners]):
    """(t [Unix s], atoms, columns, atoms by fused counts) inside a polygon; the last NaN where unknown."""

    n_fields = 4

    def _values(self, chosen: Corners, header: ViewHeader, columns: NDArray[np.void]) -> tuple[float, ...]:
        within = inside(chosen, columns["y"], columns["x"])
        atoms, fused = (float(columns[k][within].sum(dtype=np.int64)) for k in ("count", "fused_count"))
        return atoms, float(within.sum()), fused if any_fused(columns) else math.nan
