"""Time series as curves of a bounded number of points. Pure functions of the history's rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gui.format import amount_text, value_text
from gui.settings import CountsFrom

__all__ = [
    "PLOT_SPECS",
    "Curve",
    "Plot",
    "PlotSpec",
    "accumulated_dose",
    "decimated",
    "known_curves",
    "named_readings",
    "resolve_plots",
]

_NM_PER_A = 0.1
_INSTEAD = {"atoms": "particles", "columns": "sizes"}  # where particles are classified
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """What one plot shows: a row's fields turned into values, and how they are written.

    `spreads` names, for each curve, the field of its standard deviation; empty: it has none. `least_span` is
    the shortest range of the value axis. Of rows in which the field `known` is not known, nothing is drawn.
    """

    title: str
    unit: str
    digits: int
    names: tuple[str, ...]
    values: Callable[[NDArray[np.void], float], tuple[Values, ...]]
    stretch: int = 1
    limits: tuple[float, float] | None = None
    spreads: tuple[str, ...] = ()
    least_span: float = 1e-3
    known: str = "n_columns"


def _fields(*names: str) -> Callable[[NDArray[np.void], float], tuple[Values, ...]]:
    return lambda rows, pixel_size_A: tuple(rows[name].astype(np.float64) for name in names)


def _drift_nm(rows: NDArray[np.void], pixel_size_A: float) -> tuple[Values, ...]:
    scale = pixel_size_A * _NM_PER_A
    return rows["drift_y_px"] * scale, rows["drift_x_px"] * scale


def _dose(rows: NDArray[np.void], pixel_size_A: float) -> tuple[Values, ...]:
    """Return the counts of an area [1/Å²]; NaN where the pixel size is not known."""
    area_A2 = pixel_size_A**2 if pixel_size_A > 0 else np.nan
    return (rows["mean_counts"] / area_A2,)


def accumulated_dose(rows: NDArray[np.void], t: float | None, pixel_size_A: float) -> float:
    """Add up the dose [counts/Å²] from the series' first frame to the one at `t` [Unix s]; None: the newest.

    A frame that was not shown is taken to be like the next that was.
    """
    seen = rows if t is None else rows[: int(rows["t"].searchsorted(t, side="right"))]
    seen = seen[np.isfinite(seen["mean_counts"])]
    frames = np.diff(np.maximum.accumulate(seen["frame_id"]), prepend=-1)  # a late one was counted already
    return float((_dose(seen, pixel_size_A)[0] * frames).sum()) if len(seen) else float("nan")


PLOT_SPECS = {
    "atoms": PlotSpec(
        "Total atoms", "", 1, ("single", "fused"), _fields("total_atoms", "fused_atoms"), stretch=2,
        spreads=("total_atoms_std", "fused_atoms_std"),
    ),
    "columns": PlotSpec("Columns", "", 0, ("",), _fields("n_columns"), least_span=4.0),
    "unfamiliarity": PlotSpec("Unlike training data", "", 2, ("",), _fields("ood_score"), limits=(0.0, 1.0)),
    "drift": PlotSpec("Drift", "nm", 2, ("y", "x"), _drift_nm),
    "dose": PlotSpec("Dose a frame", "counts/Å²", 1, ("",), _dose, known="mean_counts"),
    "signal": PlotSpec(
        "Mean signal", "counts/px", 3, ("",), _fields("mean_counts"), known="mean_counts"
    ),
    "particles": PlotSpec(
        "Particles", "", 0, ("all", "unsure"), _fields("n_particles", "n_unsure"), stretch=2, least_span=4.0
    ),
    "sizes": PlotSpec("Mean size", "nm", 2, ("",), _fields("particle_size_nm"), least_span=0.2),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A line of a plot; `low` and `high` bound the band of one standard deviation, where there is one.

    `reading` is the value at the cursor, in words.
    """

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    reading: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """One plot: a title, and its curves against time [s]."""

    name: str
    title: str
    curves: tuple[Curve, ...]
    limits: tuple[float, float] | None = None
    stretch: int = 1
    least_span: float = 1e-3

    @property
    def shape(self) -> tuple[str, tuple[bool, ...], int]:
        """Name, which curves have a band, stretch: what a widget must know; data come and go without it."""
        return self.name, tuple(curve.low is not None for curve in self.curves), self.stretch

    @property
    def reading(self) -> str:
        """The values at the cursor, with the curves' names where there are several."""
        return "  ".join(named_readings(self.curves))


def resolve_plots(
    rows: NDArray[np.void],
    names: tuple[str, ...],
    t_zero: float,
    t_cursor: float | None,
    pixel_size_A: float,
    n_points: int,
    counts: CountsFrom = CountsFrom.SINGLE,
    *,
    of_particles: bool = False,
    dose: float = float("nan"),
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
    counts : CountsFrom
        Which of the two totals has its band drawn.
    of_particles : bool
        Particles are classified here, not atoms counted: their number and size take the places.
    dose : float
        So far [counts/Å²], to be written beside that of one frame; NaN: unknown.
    """
    if of_particles:
        names = tuple(_INSTEAD.get(name, name) for name in names)
    plots = [
        _plot(name, PLOT_SPECS[name], rows, t_zero, t_cursor, pixel_size_A, n_points, counts)
        for name in names
    ]
    return tuple(_with_sum(plot, dose) for plot in plots if plot.curves)


def _with_sum(plot: Plot, dose: float) -> Plot:
    if plot.name != "dose" or not np.isfinite(dose):
        return plot
    (curve,) = plot.curves
    return replace(plot, curves=(replace(curve, reading=f"{curve.reading}   Σ {amount_text(dose)}"),))


def known_curves(*curves: Curve) -> tuple[Curve, ...]:
    """Leave out what is nowhere known."""
    return tuple(curve for curve in curves if np.isfinite(curve.y).any())


def named_readings(curves: tuple[Curve, ...]) -> list[str]:
    """Return each curve's value at the cursor, with its name where there are several."""
    return [f"{c.name} {c.reading}".strip() if len(curves) > 1 else c.reading for c in curves]


def _plot(
    name: str,
    spec: PlotSpec,
    rows: NDArray[np.void],
    t_zero: float,
    t_cursor: float | None,
    pixel_size_A: float,
    n: int,
    counts: CountsFrom,
) -> Plot:
    known = np.isfinite(rows[spec.known])
    rows = rows if known.all() else rows[known]
    x, cursor = rows["t"] - t_zero, _cursor_row(rows, t_cursor)
    spreads: list[Values | None] = [rows[field].astype(np.float64) for field in spec.spreads]
    spreads = spreads or [None] * len(spec.names)
    banded = list(CountsFrom).index(counts)
    curves = [
        _curve(spec, label, x, y, spread, cursor, n, has_band=index == banded)
        for index, (label, y, spread) in enumerate(
            zip(spec.names, spec.values(rows, pixel_size_A), spreads, strict=True)
        )
    ]
    return Plot(name, spec.title, known_curves(*curves), spec.limits, spec.stretch, spec.least_span)


def _reading(spec: PlotSpec, value: float, spread: float | None) -> str:
    text = value_text(value, spec.digits)
    if spread is not None and np.isfinite(spread):
        text += f" ± {value_text(spread, spec.digits)}"
    return f"{text} {spec.unit}".strip()


def _curve(
    spec: PlotSpec,
    name: str,
    x: Values,
    y: Values,
    spread: Values | None,
    cursor: int | None,
    n: int,
    *,
    has_band: bool,
) -> Curve:
    at = None if cursor is None or spread is None else float(spread[cursor])
    reading = "" if cursor is None else _reading(spec, float(y[cursor]), at)
    if spread is None or not has_band:
        return Curve(name, *decimated(x, y, n), reading=reading)
    spread = np.nan_to_num(spread)
    low, high = (_means(x, y + sign * spread, n)[1] for sign in (-1, 1))
    return Curve(name, *_means(x, y, n), low, high, reading)


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
