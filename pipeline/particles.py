"""From a restored picture to the particles in it: where they are, how large, and their outlines.

Pure functions on arrays of NumPy or CuPy: the array module and its ``ndimage`` are handed in, and what was
found comes to the host in one piece. The restoration puts a particle on a pedestal that grows with its
thickness, so a picture smoothed over the fringes is a map of thickness, and a particle is where that is more
than two layers of atoms.
"""

from dataclasses import dataclass
from importlib import import_module
from math import pi
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocess import Array, to_host
from pipeline.views import binned
from streamer.records import OUTLINE_POINTS

__all__ = [
    "EDGE_A",
    "SMOOTHING_A",
    "FoundParticles",
    "find_particles",
    "ndimage_for",
    "thickness_A",
    "usual_value",
]

EDGE_A = 5.0
"""Thickness from which on a pixel belongs to a particle [Å]; more than two layers of gold's {100}."""
SMOOTHING_A = 2.5
"""Standard deviation of the window that thickness is averaged in [Å]. Of gold's widest fringes, {111} at
2.35 Å, exp(-2 π² 2.5² / 2.35²) = 10⁻¹⁰ is left. With `EDGE_A`, areas agree best with the true ones
(``python -m benchmarks.particle_finder``)."""

_COARSE_A = 0.45  # pixels up to this size are enough for that window
_SAMPLE_PX = 20_000  # pixels that the level and its spread are estimated from
_SHARE = 4  # the shortest interval that holds one value in four: a particle may fill half of the picture
_SHORTEST_IN_SIGMA = 0.637  # length of that interval of a normal distribution, 2 · Φ⁻¹(0.625)
_SIGNIFICANT = 6.0  # standard deviations of the background
_MOST = 64  # particles of a frame; of more, the largest
_EIGHT = np.ones((3, 3), np.int8)  # neighbours share a side or a corner


@dataclass(frozen=True, slots=True)
class FoundParticles:
    """The particles of one picture, in its pixels and the order of their first rows; on the host.

    Attributes
    ----------
    y, x : numpy.ndarray of float32, shape (n,)
        Centres of area [px].
    area : numpy.ndarray of float32, shape (n,)
        [px].
    axes : numpy.ndarray of float32, shape (n, 2)
        Long and short axis of the ellipse of equal second moments [px].
    touches_border : numpy.ndarray of bool, shape (n,)
    outline : numpy.ndarray of float32, shape (n, OUTLINE_POINTS, 2)
        Corners (y, x) [px] at equal steps of the angle.
    labels : numpy.ndarray of uint8, shape (H // bin_px, W // bin_px)
        1 to n where there is a particle, else 0; without particles, of shape (0, 0).
    bin_px : int
        Side of one of its pixels [px of the picture].
    """

    y: NDArray[np.float32]
    x: NDArray[np.float32]
    area: NDArray[np.float32]
    axes: NDArray[np.float32]
    touches_border: NDArray[np.bool_]
    outline: NDArray[np.float32]
    labels: NDArray[np.uint8]
    bin_px: int

    def __len__(self) -> int:
        return len(self.area)


def ndimage_for(xp: ModuleType) -> Any:
    """Return ``scipy.ndimage`` or its counterpart for an array module."""
    return import_module("scipy.ndimage" if xp is np else f"{xp.__name__}x.scipy.ndimage")


def find_particles(
    picture: Array,
    pixel_size_A: float,
    pedestal_per_A: float,
    size_nm: tuple[float, float],
    xp: ModuleType = np,
    ndimage: Any = None,
) -> FoundParticles:
    """Find the particles of a picture.

    Parameters
    ----------
    picture : array of float32, shape (H, W)
        What the restoration made; of one level where there is no particle.
    pixel_size_A : float
        Of `picture` [Å].
    pedestal_per_A : float
        By how much an ångström of the particle raises the picture.
    size_nm : tuple of float
        Smallest and largest diameter of the circle of equal area [nm]; others are passed over.
    xp : module
        NumPy or CuPy, whichever `picture` lives in.
    ndimage : module, optional
        What `ndimage_for` returns; found anew if it is not given.

    Notes
    -----
    Particles are connected pixels of more than `EDGE_A`, or than six standard deviations of the background
    where that is more. Holes belong to the particle around them. Particles that overlap are one.
    """
    ndimage = ndimage or ndimage_for(xp)
    bin_px = max(1, int(_COARSE_A / pixel_size_A))
    coarse_A = bin_px * pixel_size_A
    thickness = thickness_A(picture, pedestal_per_A, bin_px, SMOOTHING_A / coarse_A, ndimage, xp)
    _, spread = usual_value(thickness, xp)
    mask = _without_holes(thickness > max(EDGE_A, _SIGNIFICANT * spread), xp, ndimage)
    labels, n_labels = ndimage.label(mask, xp.asarray(_EIGHT))
    return _measured(labels, int(n_labels), bin_px, _limits_px(size_nm, coarse_A), xp)


def thickness_A(
    picture: Array, pedestal_per_A: float, bin_px: int, sigma_px: float, ndimage: Any, xp: ModuleType = np
) -> Array:
    """Return the thickness of the particles [Å] in a Gaussian window, shape (H // bin_px, W // bin_px).

    Parameters
    ----------
    picture : array of float32, shape (H, W)
    pedestal_per_A : float
        By how much an ångström raises it.
    bin_px : int
        Side of the squares of `picture` that become a pixel.
    sigma_px : float
        Of the window, in these pixels.
    """
    coarse = binned(picture, bin_px, xp)
    level, _ = usual_value(coarse, xp)
    smooth = ndimage.gaussian_filter(coarse - np.float32(level), sigma_px, mode="nearest")
    return smooth / np.float32(pedestal_per_A)


def usual_value(values: Array, xp: ModuleType = np) -> tuple[float, float]:
    """Return the commonest value and its spread (as a standard deviation), whatever else there is.

    From the shortest interval that holds a quarter of a sample of the values: a mode (Rousseeuw & Leroy,
    Robust Regression and Outlier Detection (1987), section 4.3: with a half, the "shorth").
    """
    step = max(1, round((values.size / _SAMPLE_PX) ** 0.5))
    ordered = xp.sort(values[::step, ::step].ravel())
    n_inside = max(1, ordered.size // _SHARE)
    lengths = ordered[n_inside:] - ordered[:-n_inside]
    first = int(lengths.argmin())
    return float(ordered[first + n_inside // 2]), float(lengths[first]) / _SHORTEST_IN_SIGMA


def _without_holes(mask: Array, xp: ModuleType, ndimage: Any) -> Array:
    """Fill what is not connected with the edge of the picture."""
    outside, n_labels = ndimage.label(~mask)
    open_ones = xp.zeros(int(n_labels) + 1, bool)
    open_ones[_edge_of(outside, xp)] = True
    open_ones[0] = False
    return ~open_ones[outside]


def _edge_of(labels: Array, xp: ModuleType) -> Array:
    return xp.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])


def _limits_px(size_nm: tuple[float, float], pixel_size_A: float) -> tuple[float, float]:
    """Return the smallest and largest area [px]."""
    low, high = (pi / 4 * (10 * size / pixel_size_A) ** 2 for size in size_nm)
    return low, high


def _measured(
    labels: Array, n_labels: int, bin_px: int, limits_px: tuple[float, float], xp: ModuleType
) -> FoundParticles:
    """Measure the labelled areas within the limits; pixels of labels become those of the picture."""
    table = _table(labels, n_labels, xp) if n_labels else np.empty((7, 0))
    kept = _kept(table[0], limits_px)
    area, touches, *moments = table[:, kept]
    numbers = np.zeros(n_labels + 1, np.uint8)
    numbers[kept + 1] = np.arange(1, len(kept) + 1)
    picture = to_host(xp.asarray(numbers)[labels], xp) if len(kept) else np.zeros((0, 0), np.uint8)
    centre, axes = _ellipses(area, np.array(moments).reshape(5, -1))
    outlines = [_outline(picture, i + 1, centre[:, i]) for i in range(len(kept))]
    shift = (bin_px - 1) / 2  # whole numbers are the centres of pixels
    y_px, x_px = (bin_px * centre + shift).astype(np.float32)
    return FoundParticles(
        y_px,
        x_px,
        (bin_px**2 * area).astype(np.float32),
        (bin_px * axes.T).astype(np.float32),
        touches > 0,
        np.array(outlines, np.float32).reshape(len(kept), OUTLINE_POINTS, 2) * bin_px + np.float32(shift),
        picture,
        bin_px,
    )


def _table(labels: Array, n_labels: int, xp: ModuleType) -> NDArray[np.float64]:
    """Return area, whether the edge is touched and the sums of y, x, yy, xx and yx of each area, (7, n).

    There must be one: CuPy's ``bincount`` takes no empty array.
    """
    inside = xp.flatnonzero(labels)
    label = labels.ravel()[inside]
    y, x = (v.astype(xp.float64) for v in (inside // labels.shape[1], inside % labels.shape[1]))
    # Powers of places up to thousands of pixels lose nothing that matters in double precision.
    sums = [xp.bincount(label, weights=w, minlength=n_labels + 1) for w in (y, x, y * y, x * x, y * x)]
    touches = xp.zeros(n_labels + 1, bool)
    touches[_edge_of(labels, xp)] = True
    area = xp.bincount(label, minlength=n_labels + 1)
    table: NDArray[np.float64] = to_host(xp.stack([area, touches, *sums]).astype(xp.float64), xp)
    return table[:, 1:]


def _kept(area: NDArray[np.float64], limits_px: tuple[float, float]) -> NDArray[np.intp]:
    fitting = np.flatnonzero((area >= limits_px[0]) & (area <= limits_px[1]))
    return np.sort(fitting[np.argsort(-area[fitting], kind="stable")[:_MOST]])


def _ellipses(
    area: NDArray[np.float64], moments: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres (2, n) and long and short axes (2, n) of the ellipses of equal moments [px].

    An ellipse's variance along an axis is a sixteenth of its length squared; a pixel's own is 1/12.
    """
    y, x, yy, xx, yx = moments / area
    yy, xx, yx = yy - y * y + 1 / 12, xx - x * x + 1 / 12, yx - y * x
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    return np.stack([y, x]), 4 * np.sqrt(np.stack([middle + half, np.maximum(middle - half, 0)]))


def _outline(labels: NDArray[np.uint8], label: int, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the farthest places of an area in equal steps of the angle around its centre, (n, 2)."""
    y, x = (v - c for v, c in zip(np.nonzero(labels == label), centre, strict=True))
    turn = np.rint(np.arctan2(y, x) / (2 * pi) * OUTLINE_POINTS).astype(int) % OUTLINE_POINTS
    radius = np.zeros(OUTLINE_POINTS)
    np.maximum.at(radius, turn, np.hypot(y, x))
    angle = 2 * pi * np.arange(OUTLINE_POINTS) / OUTLINE_POINTS
    seen = radius > 0
    radius = np.interp(angle, angle[seen], radius[seen], period=2 * pi) + 0.5  # to the pixels' edge
    return np.asarray(centre + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1))
