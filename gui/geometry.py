"""Where things lie: linked zoom, scale bar, neighbours. Lengths in recorded pixels, images (y, x)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from gui.settings import Corners, Region

__all__ = [
    "ScaleBar",
    "fitting_rectangle",
    "nearest_column",
    "neighbour_distance_px",
    "particle_region",
    "scale_bar",
    "whole_frame",
]

_A_PER_NM = 10.0
_FEWEST_COLUMNS = 8
_AIR = 1.25
_ENOUGH_FOR_A_MEDIAN = 400
_ISOLATED = 3.0  # times the median distance to the nearest neighbour


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar of a round length: how long on screen, and what is written beside it."""

    length_screen_px: float
    text: str


def whole_frame(height: int, width: int) -> Region:
    """Return the region that shows all of a frame; pixel centres lie at whole numbers."""
    return Region((height - 1) / 2, (width - 1) / 2, float(max(height, width)))


def particle_region(columns: NDArray[np.void], whole: Region, now: Region | None) -> Region | None:
    """Find a region that shows all columns, with air around them.

    Returns
    -------
    Region or None
        `now` as long as it still fits, so that the picture does not swim; None where the particle fills the
        frame; a few columns are no particle.
    """
    if len(columns) < _FEWEST_COLUMNS:
        return now
    distances = _to_nearest_px(columns)
    columns = columns[distances <= _ISOLATED * np.median(distances)]  # a false column far out is no particle
    (y0, x0), (y1, x1) = ([float(f(columns[axis])) for axis in ("y", "x")] for f in (np.min, np.max))
    wanted = Region((y0 + y1) / 2, (x0 + x1) / 2, _AIR * max(y1 - y0, x1 - x0, 1.0))
    if wanted.extent_px > 0.85 * whole.extent_px:
        return None
    if now is not None and 0.85 < now.extent_px / wanted.extent_px < 1.3:
        reach = 0.08 * wanted.extent_px
        if abs(now.y - wanted.y) < reach and abs(now.x - wanted.x) < reach:
            return now
    return wanted


def fitting_rectangle(
    region: Region, screen_height: float, screen_width: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Find what a panel shows so that all of `region` is visible and pixels are square.

    Returns
    -------
    y_range, x_range : tuple of float
        In recorded pixels.
    """
    per_pixel = region.extent_px / max(1.0, min(screen_height, screen_width))
    half_y, half_x = per_pixel * screen_height / 2, per_pixel * screen_width / 2
    return (region.y - half_y, region.y + half_y), (region.x - half_x, region.x + half_x)


def scale_bar(pixel_size_A: float, screen_px_per_px: float, available_screen_px: float) -> ScaleBar:
    """Choose the longest bar of 1, 2 or 5 times a power of ten that takes at most a third of the width.

    Parameters
    ----------
    pixel_size_A : float
        Of the recorded frame [Å]; NaN if unknown, then the bar is in pixels.
    screen_px_per_px : float
        Magnification on the screen.
    available_screen_px : float
        Width of the panel.
    """
    known = math.isfinite(pixel_size_A) and pixel_size_A > 0
    per_screen_px = (pixel_size_A / _A_PER_NM if known else 1.0) / screen_px_per_px
    longest = per_screen_px * available_screen_px / 3
    decade = 10.0 ** math.floor(math.log10(longest))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= longest * (1 + 1e-9))
    return ScaleBar(length / per_screen_px, _length_text(length) if known else f"{length:g} px")


def _length_text(length_nm: float) -> str:
    if length_nm >= 1000:
        return f"{length_nm / 1000:g} µm"
    return f"{length_nm:g} nm" if length_nm >= 0.1 else f"{length_nm * 1000:g} pm"


def neighbour_distance_px(columns: NDArray[np.void]) -> float:
    """Return the median distance of columns to their nearest neighbour [px]; NaN for fewer than two.

    Of several hundred columns, evenly picked ones are asked: their median is as good.
    """
    if len(columns) < 2:
        return math.nan
    return float(np.median(_to_nearest_px(columns, -(-len(columns) // _ENOUGH_FOR_A_MEDIAN))))


def _to_nearest_px(columns: NDArray[np.void], step: int = 1) -> NDArray[np.float64]:
    """Return how far every `step`-th column's nearest neighbour is."""
    positions = np.stack([columns["y"], columns["x"]], axis=1)
    return np.asarray(KDTree(positions).query(positions[::step], k=2)[0])[:, 1]


def nearest_column(columns: NDArray[np.void], y: float, x: float, within_px: float) -> int | None:
    """Return the index of the column nearest to (y, x) [px], or None if all are farther than `within_px`."""
    if not len(columns):
        return None
    squared = (columns["y"] - y) ** 2 + (columns["x"] - x) ** 2
    index = int(np.argmin(squared))
    return index if squared[index] <= within_px**2 else None


def inside(corners: Corners, y: NDArray[np.floating], x: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which points lie inside a polygon, by counting crossings of a ray to the right (even-odd rule).

    Parameters
    ----------
    corners : tuple of (y, x)
        The polygon's corners in order [px].
    y, x : numpy.ndarray of float, shape (n,)
        The points [px].
    """
    odd = np.zeros(len(y), bool)
    for (y0, x0), (y1, x1) in zip(corners, corners[1:] + corners[:1], strict=True):
        crosses = (y0 > y) != (y1 > y)
        if y1 != y0:
            odd ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return odd
