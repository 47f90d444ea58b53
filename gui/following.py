"""A chosen column, or a region, followed through the frames a window remembers. No Qt."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gui.format import NOTHING, number_text, value_text
from gui.geometry import inside, nearest_column
from gui.past import Past
from gui.series import Curve, Plot
from gui.settings import Chosen, Corners
from streamer.link import ViewHeader

__all__ = [
    "ColumnFollower",
    "RegionFollower",
    "chosen_column",
    "column_plots",
    "expected_place",
    "find_chosen",
    "region_plots",
]

_SAME_COLUMN_A = 1.0  # farther from its place than this, it is another column
_SAME_COLUMN_PX = 8.0  # the same where the pixel size is unknown


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


@dataclass(slots=True)
class _Followed:
    """Values of the frames gone through so far; each call of a follower adds only the new ones."""

    last_t: float = -math.inf
    values: list[tuple[float, ...]] = field(default_factory=list)

    def array(self, n_fields: int) -> NDArray[np.float64]:
        return np.array(self.values, np.float64).reshape(-1, n_fields)


class ColumnFollower:
    """The chosen column's count and its probability in every frame remembered."""

    def __init__(self) -> None:
        self._chosen: Chosen | None = None
        self._followed = _Followed()

    def follow(self, chosen: Chosen | None, history: Past) -> NDArray[np.float64]:
        """Return rows of (t [Unix s], count, probability); a frame without the column counts 0, NaN."""
        if chosen != self._chosen or history.t_first > self._followed.last_t:
            self._chosen, self._followed = chosen, _Followed()
        if chosen is not None:
            for header, columns in history.columns(self._followed.last_t):
                index = find_chosen(chosen, header, columns)
                found = (0.0, math.nan) if index is None else columns[["count", "probability"]][index].item()
                self._followed.values.append((header.t_received, *found))
                self._followed.last_t = header.t_received
        return self._followed.array(3)


class RegionFollower:
    """Columns and atoms inside a polygon, in every frame remembered."""

    def __init__(self) -> None:
        self._corners: Corners | None = None
        self._followed = _Followed()

    def follow(self, corners: Corners | None, history: Past) -> NDArray[np.float64]:
        """Return rows of (t [Unix s], atoms, columns)."""
        if corners != self._corners or history.t_first > self._followed.last_t:
            self._corners, self._followed = corners, _Followed()
        if corners is not None:
            for header, columns in history.columns(self._followed.last_t):
                within = inside(corners, columns["y"], columns["x"])
                atoms = float(columns["count"][within].sum(dtype=np.int64))
                self._followed.values.append((header.t_received, atoms, float(within.sum())))
                self._followed.last_t = header.t_received
        return self._followed.array(3)


def column_plots(rows: NDArray[np.float64], t_zero: float, t_cursor: float | None) -> tuple[Plot, ...]:
    """Make the plots of a `ColumnFollower`'s rows."""
    if not len(rows):
        return ()
    x = rows[:, 0] - t_zero
    _, count, probability = _at(rows, t_cursor)
    reading = f"{count:.0f} atoms" if count else "gone"
    return (
        Plot("column count", "Chosen column", reading, (_steps(x, rows[:, 1]),), _around(rows[:, 1]), 2),
        Plot(
            "column probability",
            "Probability of the count",
            value_text(probability, 2) if math.isfinite(probability) else NOTHING,
            (Curve("", x, rows[:, 2]),),
            (0.0, 1.0),
        ),
    )


def region_plots(rows: NDArray[np.float64], t_zero: float, t_cursor: float | None) -> tuple[Plot, ...]:
    """Make the plots of a `RegionFollower`'s rows."""
    if not len(rows):
        return ()
    x = rows[:, 0] - t_zero
    _, atoms, columns = _at(rows, t_cursor)
    return (
        Plot("region atoms", "Atoms in the region", number_text(round(atoms)), (_steps(x, rows[:, 1]),)),
        Plot("region columns", "Columns in it", number_text(round(columns)), (_steps(x, rows[:, 2]),)),
    )


def _around(counts: NDArray[np.float64]) -> tuple[float, float]:
    return float(counts.min()) - 1.0, float(counts.max()) + 1.0


def _steps(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Whole numbers change from one frame to the next, not in between."""
    return Curve("", np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1])


def _at(rows: NDArray[np.float64], t: float | None) -> tuple[float, ...]:
    index = -1 if t is None else int(np.argmin(np.abs(rows[:, 0] - t)))
    return tuple(rows[index].tolist())
