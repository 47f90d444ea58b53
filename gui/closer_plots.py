"""What has been followed, as plots: a chosen column's counts, the atoms in a region. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from gui.format import NOTHING, number_text, value_text
from gui.series import Curve, Plot, decimated, known_curves

__all__ = ["column_plots", "region_plots"]

Rows = NDArray[np.float64]


def column_plots(
    rows: Rows, span: tuple[float, float], t_zero: float, t_cursor: float | None, n_points: int
) -> tuple[Plot, ...]:
    """Make the plots of a column's counts and their probabilities, of single frames and fused.

    Parameters
    ----------
    rows : numpy.ndarray of float64, shape (n, 5)
        From `gui.following.ColumnFollower`.
    span : tuple of float
        Part that is on screen [Unix s].
    t_zero : float
        Time that the axis calls zero [Unix s].
    t_cursor : float or None
        Where values are read [Unix s]; None: at the end.
    n_points : int
        Points a curve may have.
    """
    if not len(rows):
        return ()
    count, probability, fused, fused_probability = _at(rows, t_cursor)
    shown = _within(rows, span)
    x = shown[:, 0] - t_zero
    counts = known_curves(
        _steps("single", x, shown[:, 1], _count_text(count), n_points),
        _steps("fused", x, shown[:, 3], _count_text(fused), n_points),
    )
    probabilities = known_curves(
        Curve("single", *decimated(x, shown[:, 2], n_points), reading=_probability_text(probability)),
        Curve("fused", *decimated(x, shown[:, 4], n_points), reading=_probability_text(fused_probability)),
    )
    plots = (
        Plot("column count", "Chosen column", counts, _around(shown[:, (1, 3)]), 2),
        Plot("column probability", "Probability of the count", probabilities, (0.0, 1.0)),
    )
    return tuple(plot for plot in plots if plot.curves)


def region_plots(
    rows: Rows, span: tuple[float, float], t_zero: float, t_cursor: float | None, n_points: int
) -> tuple[Plot, ...]:
    """Make the plots of the atoms and columns in a region; parameters as of `column_plots`.

    `rows`, shape (n, 4), are from `gui.following.RegionFollower`.
    """
    if not len(rows):
        return ()
    atoms, columns, fused = (_number_text(value) for value in _at(rows, t_cursor))
    shown = _within(rows, span)
    x = shown[:, 0] - t_zero
    of_atoms = known_curves(
        _steps("single", x, shown[:, 1], atoms, n_points), _steps("fused", x, shown[:, 3], fused, n_points)
    )
    of_columns = known_curves(_steps("", x, shown[:, 2], columns, n_points))
    plots = (
        Plot("region atoms", "Atoms in the region", of_atoms, least_span=2.0),
        Plot("region columns", "Columns in it", of_columns, least_span=2.0),
    )
    return tuple(plot for plot in plots if plot.curves)


def _within(rows: Rows, span: tuple[float, float]) -> Rows:
    """Leave out what is not on screen, but one row on either side of it."""
    first, last = rows[:, 0].searchsorted(span)
    return rows[max(0, first - 1) : last + 1]


def _at(rows: Rows, t: float | None) -> list[float]:
    """Return the values, without the time, at the cursor."""
    index = -1 if t is None else int(np.argmin(np.abs(rows[:, 0] - t)))
    values: list[float] = rows[index, 1:].tolist()
    return values


def _number_text(value: float) -> str:
    return number_text(round(value)) if math.isfinite(value) else NOTHING


def _count_text(count: float) -> str:
    if not math.isfinite(count):
        return NOTHING
    return f"{count:.0f} atom{'' if count == 1 else 's'}" if count else "gone"


def _probability_text(probability: float) -> str:
    return value_text(probability, 2) if math.isfinite(probability) else NOTHING


def _around(counts: Rows) -> tuple[float, float] | None:
    known = counts[np.isfinite(counts)]
    return (float(known.min()) - 1.0, float(known.max()) + 1.0) if known.size else None


def _steps(name: str, x: Rows, y: Rows, reading: str, n_points: int) -> Curve:
    """Whole numbers change from one frame to the next, not in between."""
    x, y = decimated(x, y, max(4, n_points // 2))
    return Curve(name, np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], reading=reading)
