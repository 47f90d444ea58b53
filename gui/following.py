"""A chosen column, or a region, followed through the frames a window remembers. No Qt."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gui.counting import any_fused, fused_or_nan
from gui.format import NOTHING, number_text, value_text
from gui.geometry import inside, nearest_column
from gui.past import Past
from gui.series import Curve, Plot, known_curves
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
_NOT_FOUND = (0.0, math.nan, math.nan, math.nan)


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
        """Return rows of (t [Unix s], count, probability, fused count, its probability).

        A frame without the column counts 0, NaN, and says nothing of the fused count: NaN, NaN.
        """
        if chosen != self._chosen or history.t_first > self._followed.last_t:
            self._chosen, self._followed = chosen, _Followed()
        if chosen is not None:
            for header, columns in history.columns(self._followed.last_t):
                index = find_chosen(chosen, header, columns)
                found = _NOT_FOUND if index is None else _counts_of(columns[index])
                self._followed.values.append((header.t_received, *found))
                self._followed.last_t = header.t_received
        return self._followed.array(5)


class RegionFollower:
    """Columns and atoms inside a polygon, in every frame remembered."""

    def __init__(self) -> None:
        self._corners: Corners | None = None
        self._followed = _Followed()

    def follow(self, corners: Corners | None, history: Past) -> NDArray[np.float64]:
        """Return rows of (t [Unix s], atoms, columns, atoms by fused counts); the last NaN where unknown."""
        if corners != self._corners or history.t_first > self._followed.last_t:
            self._corners, self._followed = corners, _Followed()
        if corners is not None:
            for header, columns in history.columns(self._followed.last_t):
                within = inside(corners, columns["y"], columns["x"])
                atoms = float(columns["count"][within].sum(dtype=np.int64))
                fused = float(columns["fused_count"][within].sum(dtype=np.int64))
                fused = fused if any_fused(columns) else math.nan
                self._followed.values.append((header.t_received, atoms, float(within.sum()), fused))
                self._followed.last_t = header.t_received
        return self._followed.array(4)


def column_plots(rows: NDArray[np.float64], t_zero: float, t_cursor: float | None) -> tuple[Plot, ...]:
    """Make the plots of a `ColumnFollower`'s rows: count and probability, of single frames and fused."""
    if not len(rows):
        return ()
    x = rows[:, 0] - t_zero
    _, *now = _at(rows, t_cursor)
    counts = (
        _steps(x, rows[:, k], name, _count_text(now[k - 1])) for k, name in ((1, "single"), (3, "fused"))
    )
    probabilities = (
        Curve(name, x, rows[:, k], reading=_probability_text(now[k - 1]))
        for k, name in ((2, "single"), (4, "fused"))
    )
    plots = (
        Plot("column count", "Chosen column", known_curves(*counts), _around(rows[:, (1, 3)]), 2),
        Plot("column probability", "Probability of the count", known_curves(*probabilities), (0.0, 1.0)),
    )
    return tuple(plot for plot in plots if plot.curves)


def region_plots(rows: NDArray[np.float64], t_zero: float, t_cursor: float | None) -> tuple[Plot, ...]:
    """Make the plots of a `RegionFollower`'s rows."""
    if not len(rows):
        return ()
    x = rows[:, 0] - t_zero
    _, *now = _at(rows, t_cursor)
    atoms, columns, fused = (number_text(round(v)) if math.isfinite(v) else NOTHING for v in now)
    of_atoms = known_curves(_steps(x, rows[:, 1], "single", atoms), _steps(x, rows[:, 3], "fused", fused))
    return (
        Plot("region atoms", "Atoms in the region", of_atoms),
        Plot("region columns", "Columns in it", (_steps(x, rows[:, 2], "", columns),)),
    )


def _counts_of(column: np.void) -> tuple[float, ...]:
    return float(column["count"]), float(column["probability"]), *fused_or_nan(column)


def _count_text(count: float) -> str:
    if not math.isfinite(count):
        return NOTHING
    return f"{count:.0f} atom{'' if count == 1 else 's'}" if count else "gone"


def _probability_text(probability: float) -> str:
    return value_text(probability, 2) if math.isfinite(probability) else NOTHING


def _around(counts: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.nanmin(counts)) - 1.0, float(np.nanmax(counts)) + 1.0


def _steps(x: NDArray[np.float64], y: NDArray[np.float64], name: str, reading: str) -> Curve:
    """Whole numbers change from one frame to the next, not in between."""
    return Curve(name, np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], reading=reading)


def _at(rows: NDArray[np.float64], t: float | None) -> tuple[float, ...]:
    index = -1 if t is None else int(np.argmin(np.abs(rows[:, 0] - t)))
    return tuple(rows[index].tolist())
