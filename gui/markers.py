"""Columns as marks: a colour for each count, whether it is sure, what is written on it. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gui.colours import count_scale_length
from gui.counting import counted
from gui.geometry import neighbour_distance_px
from gui.settings import Settings

__all__ = ["Markers", "resolve_markers"]


@dataclass(frozen=True, slots=True, eq=False)
class Markers:
    """Columns as they are drawn.

    Attributes
    ----------
    columns : numpy.ndarray of COLUMN_DTYPE
    colour : numpy.ndarray of intp, shape (n,)
        Row of `gui.colours.count_colours(n_colours)`; -1 for a column of no atoms, or of an unknown number.
    sure : numpy.ndarray of bool, shape (n,)
        Whether the count is probable enough for a filled disc.
    unknown : numpy.ndarray of bool, shape (n,)
        Whether there is no count of the kind that is shown.
    histogram : numpy.ndarray of intp, shape (n_colours,)
        Columns of each count.
    spacing_px : float
        Median distance of neighbours; NaN if unknown.
    """

    columns: NDArray[np.void]
    colour: NDArray[np.intp]
    sure: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    n_colours: int
    histogram: NDArray[np.intp]
    spacing_px: float

    @property
    def n_unsure(self) -> int:
        """Columns that are drawn as open rings."""
        return int((~self.sure).sum())

    def texts(self) -> list[str]:
        """Return what is written on each mark: the count, "?" where it is unknown."""
        known = zip((self.colour + 1).tolist(), self.unknown.tolist(), strict=True)
        return ["?" if unknown else str(count) for count, unknown in known]


def resolve_markers(columns: NDArray[np.void], settings: Settings, largest_count: int) -> Markers:
    """Give each column its colour and decide whether its count is sure."""
    counts = counted(columns, settings.counts)
    n_colours = count_scale_length(max(largest_count, int(counts.count.max(initial=0))))
    histogram = np.bincount(counts.count, minlength=n_colours + 1)[1:]
    sure = counts.known & (counts.count > 0) & (counts.probability >= settings.sure_probability)
    spacing_px = neighbour_distance_px(columns)
    return Markers(columns, counts.count - 1, sure, ~counts.known, n_colours, histogram, spacing_px)
