"""Time series as curves of a bounded number of points. Pure functions of the history's rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gui.format import value_text

__all__ = ["PLOT_SPECS", "Curve", "Plot", "PlotSpec", "decimated", "resolve_plots"]

_NM_PER_A = 0.1
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """What one plot shows: a row's fields turned into values, and how they are written."""

    title: str
    unit: str
    digits: int
    names: tuple[str, ...]
    values: Callable[[NDArray[np.void], float], tuple[Values, ...]]
    stretch: int = 1
    limits: tuple[float, float] | None = None
    spread: str = ""


def _field(name: str) -> Callable[[NDArray[np.void], float], tuple[Values, ...]]:
    return lambda rows, pixel_size_A: (rows[name].astype(np.float64),)


def _drift_nm(rows: NDArray[np.void], pixel_size_A: float) -> tuple[Values, ...]:
    scale = pixel_size_A * _NM_PER_A
    return rows["drift_y_px"] * scale, rows["drift_x_px"] * scale


PLOT_SPECS = {
    "atoms": PlotSpec(
        "Total atoms", "", 1, ("",), _field("total_atoms"), stretch=2, spread="total_atoms_std"
    ),
    "columns": PlotSpec("Columns", "", 0, ("",), _field("n_columns")),
    "unfamiliarity": PlotSpec("Unlike training data", "", 2, ("",), _field("ood_score"), limits=(0.0, 1.0)),
    "drift": PlotSpec("Drift", "nm", 2, ("y", "x"), _drift_nm),
    "signal": PlotSpec("Mean signal", "counts/px", 3, ("",), _field("mean_counts")),
}


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A line of a plot; `low` and `high` bound the band of one standard deviation, where there is one."""

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """One plot: title with the values at the cursor, and its curves against time [s]."""

    name: str
    title: str
    reading: str
    curves: tuple[Curve, ...]
    limits: tuple[float, float] | None = None
    stretch: int = 1

    @property
    def shape(self) -> tuple[str, int, bool, int]:
        """What a widget must know to make room for the plot; data come and go without it changing."""
        return self.name, len(self.curves), self.curves[0].low is not None, self.stretch


def resolve_plots(
    rows: NDArray[np.void],
    names: tuple[str, ...],
    t_zero: float,
    t_cursor: float | None,
    pixel_size_A: float,
    n_points: int,
) -> tuple[Plot, ...]:
    """Make the plots that `names` asks for, but none of values that are nowhere known.

    Parameters
    ----------
    rows : numpy.ndarray of gui.history.SERIES_DTYPE
        The part of the history that is on screen, in the order of time.
    t_zero : float
        Time that the axis calls zero [Unix s].
    t_cursor : float or None
        Where values are read [Unix s]; None: at the end.
    n_points : int
        Points a curve may have; about the width of the plot on screen.
    """
    cursor = _cursor_row(rows, t_cursor)
    x = rows["t"] - t_zero
    plots = (_plot(name, PLOT_SPECS[name], rows, x, cursor, pixel_size_A, n_points) for name in names)
    return tuple(plot for plot in plots if any(np.isfinite(curve.y).any() for curve in plot.curves))


def _plot(
    name: str,
    spec: PlotSpec,
    rows: NDArray[np.void],
    x: Values,
    cursor: int | None,
    pixel_size_A: float,
    n: int,
) -> Plot:
    values = spec.values(rows, pixel_size_A)
    spread = rows[spec.spread].astype(np.float64) if spec.spread else None
    curves = tuple(_curve(label, x, y, spread, n) for label, y in zip(spec.names, values, strict=True))
    reading = "" if cursor is None else _reading(spec, [y[cursor] for y in values])
    if cursor is not None and spread is not None:
        reading += f" ± {value_text(float(spread[cursor]), spec.digits)}"
    return Plot(name, spec.title, reading, curves, spec.limits, spec.stretch)


def _reading(spec: PlotSpec, values: list[float]) -> str:
    texts = [
        f"{label} {value_text(float(v), spec.digits)}".strip()
        for label, v in zip(spec.names, values, strict=True)
    ]
    return "  ".join(texts) + (f" {spec.unit}" if spec.unit else "")


def _curve(name: str, x: Values, y: Values, spread: Values | None, n: int) -> Curve:
    if spread is None:
        return Curve(name, *decimated(x, y, n))
    spread = np.nan_to_num(spread)
    return Curve(name, *_means(x, y, n), *(_means(x, y + sign * spread, n)[1] for sign in (-1, 1)))


def _cursor_row(rows: NDArray[np.void], t_cursor: float | None) -> int | None:
    if not len(rows):
        return None
    if t_cursor is None:
        return len(rows) - 1
    return int(np.argmin(np.abs(rows["t"] - t_cursor)))


def decimated(x: Values, y: Values, n_points: int) -> tuple[Values, Values]:
    """Reduce a curve to about `n_points` and lose no extreme: each bin gives its lowest and highest."""
    if len(x) <= n_points:
        return x, y
    edges = _edges(len(x), n_points // 2)
    low, high = np.fmin.reduceat(y, edges), np.fmax.reduceat(y, edges)
    return np.repeat(x[edges], 2), np.stack([low, high], axis=1).ravel()


def _means(x: Values, y: Values, n_points: int) -> tuple[Values, Values]:
    if len(x) <= n_points:
        return x, y
    edges = _edges(len(x), n_points)
    sizes = np.diff([*edges, len(x)])
    return np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes


def _edges(n: int, n_bins: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, n, max(1, n_bins), endpoint=False).astype(np.intp))
