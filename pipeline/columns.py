"""From the networks' maps to a table of atomic columns with counts and probabilities.

Pure functions on arrays of NumPy or CuPy: the array module is handed in, and only the finished table is
brought to the host. All work after the first scan is done on the few pixels above the threshold: a frame of
512 x 512 px with a thousand columns takes about a millisecond.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.records import COLUMN_DTYPE

__all__ = ["ColumnHeights", "count_distributions", "find_columns", "find_peaks", "measure_columns"]

_RING = ((0, 1), (0, -1), (1, 0), (-1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_FIT_PASSES = 2
_PARABOLOID = (
    np.array(
        [  # gradient y and x, second derivatives yy, xx and xy: least squares on a 3 x 3 px grid
            [-3, -3, -3, 0, 0, 0, 3, 3, 3],
            [-3, 0, 3, -3, 0, 3, -3, 0, 3],
            [6, 6, 6, -12, -12, -12, 6, 6, 6],
            [6, -12, 6, 6, -12, 6, 6, -12, 6],
            [4.5, 0, -4.5, 0, 0, 0, -4.5, 0, 4.5],
        ]
    )
    / 18
)
_TINY = 1e-6  # keeps the logarithm of a probability finite
_UNTRACKED = -1


@dataclass(frozen=True, slots=True)
class ColumnHeights:
    """The columns of one frame, or of a part of it.

    Attributes
    ----------
    table : numpy.ndarray of COLUMN_DTYPE, shape (n,)
    expected_atoms, variance : numpy.ndarray of float32, shape (n,)
        Mean and variance of each column's distribution over counts.
    probabilities : numpy.ndarray of float32, shape (n, K)
        Those distributions, of 1 … K atoms.
    """

    table: NDArray[np.void]
    expected_atoms: NDArray[np.float32]
    variance: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def total_atoms(self) -> float:
        """Expected number of atoms in all columns."""
        return float(self.expected_atoms.sum())

    @property
    def total_atoms_std(self) -> float:
        """Standard deviation of the total if the columns' errors are independent of one another."""
        return float(np.sqrt(self.variance.sum()))


def find_columns(
    column_probability: NDArray[np.float32],
    count_logits: NDArray[np.float32],
    threshold: float,
    min_distance_px: float,
    xp: ModuleType = np,
) -> NDArray[np.void]:
    """Return the table of `measure_columns` alone, shape (n,), COLUMN_DTYPE."""
    return measure_columns(column_probability, count_logits, threshold, min_distance_px, xp).table


def measure_columns(
    column_probability: NDArray[np.float32],
    count_logits: NDArray[np.float32],
    threshold: float,
    min_distance_px: float,
    xp: ModuleType = np,
) -> ColumnHeights:
    """Find the columns of one frame and count their atoms.

    Parameters
    ----------
    column_probability : array of float32, shape (H, W)
        0 to 1, peaked at column centres.
    count_logits : array of float32, shape (K, H / s, W / s)
        Class k stands for k + 1 atoms; s is a whole number.
    threshold : float
        Lowest peak value that counts as a column.
    min_distance_px : float
        Of two peaks closer than this [px] only the higher is kept.
    xp : module
        NumPy or CuPy, whichever the maps live in.

    Notes
    -----
    A count's probability is the softmax of the logits, interpolated bilinearly at the sub-pixel centre.
    """
    y, x, detection = find_peaks(column_probability, threshold, min_distance_px, xp)
    step = column_probability.shape[0] // count_logits.shape[1]
    at = ((y + 0.5) / step - 0.5, (x + 0.5) / step - 0.5)  # pixels of the coarse map span `step` fine ones
    probabilities = count_distributions(count_logits, *at, xp)
    atoms = xp.arange(1, probabilities.shape[1] + 1, dtype=xp.float32)
    mean = probabilities @ atoms
    variance = xp.maximum(probabilities @ atoms**2 - mean**2, 0.0)
    to_host = getattr(xp, "asnumpy", np.asarray)
    return ColumnHeights(
        _table(y, x, detection, probabilities, xp), to_host(mean), to_host(variance), to_host(probabilities)
    )


def find_peaks(
    image: Any, threshold: float, min_distance_px: float, xp: ModuleType = np
) -> tuple[Any, Any, Any]:
    """Return sub-pixel y, x [px] and value of the local maxima of `image` at or above `threshold`.

    A maximum on the outermost row or column of pixels is left out: nothing shows that it is one.
    """
    pixels = _local_maxima(image, threshold, xp)
    pixels = _highest_of_close(image, pixels, min_distance_px, xp)
    row, column = pixels // image.shape[1], pixels % image.shape[1]
    y, x = _refine(image, row, column, xp)
    return y, x, image.ravel()[pixels]


def count_distributions(count_logits: Any, y: Any, x: Any, xp: ModuleType = np) -> Any:
    """Return the probabilities (n, K) of 1 … K atoms at positions `y`, `x` (n,) in pixels of the logits."""
    n_classes, height, width = count_logits.shape
    flat = count_logits.reshape(n_classes, height * width)
    top = xp.clip(xp.floor(y).astype(xp.int64), 0, height - 2)
    left = xp.clip(xp.floor(x).astype(xp.int64), 0, width - 2)
    fy = xp.clip(y - top, 0.0, 1.0).astype(xp.float32)
    fx = xp.clip(x - left, 0.0, 1.0).astype(xp.float32)
    corner = top * width + left
    logits = flat[:, corner] * ((1 - fy) * (1 - fx)) + flat[:, corner + 1] * ((1 - fy) * fx)
    logits += flat[:, corner + width] * (fy * (1 - fx)) + flat[:, corner + width + 1] * (fy * fx)
    weights = xp.exp(logits - logits.max(axis=0, keepdims=True)).T  # (n, K)
    return weights / weights.sum(axis=1, keepdims=True)


def _local_maxima(image: Any, threshold: float, xp: ModuleType) -> Any:
    """Return flat indices of pixels that none of the eight neighbours exceeds; of equal ones the first."""
    height, width = image.shape
    flat = image.ravel()
    pixels = xp.flatnonzero(flat >= threshold)
    row, column = pixels // width, pixels % width
    pixels = pixels[(row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)]
    for dy, dx in _RING:
        step = dy * width + dx
        value, other = flat[pixels], flat[pixels + step]
        pixels = pixels[value >= other if step > 0 else value > other]  # the list shrinks at each step
    return pixels


def _highest_of_close(image: Any, pixels: Any, distance_px: float, xp: ModuleType) -> Any:
    """Of peaks closer than `distance_px` keep the highest, of equal ones the first."""
    height, width = image.shape
    reach = max(int(np.ceil(distance_px)) - 1, 0)
    padded_width = width + 2 * reach
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    steps = (dy * padded_width + dx)[(dy**2 + dx**2 < distance_px**2) & ((dy != 0) | (dx != 0))]
    steps = xp.asarray(steps)[:, None]
    value = image.ravel()[pixels]
    peaks = xp.full((height + 2 * reach) * padded_width, -xp.inf, xp.float32)
    place = (pixels // width + reach) * padded_width + pixels % width + reach
    peaks[place] = value
    others = peaks[place + steps]  # (neighbours, n)
    return pixels[xp.all((value > others) | ((value == others) & (steps > 0)), axis=0)]


def _refine(image: Any, row: Any, column: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Return the vertex of a parabola through the logarithms of 3 x 3 px: exact for a Gaussian peak.

    Where the vertex lies nearer to another pixel (flat or noisy tops) the fit is repeated there; where the
    logarithms are not those of a maximum the pixel's own centre stays.
    """
    row0, column0 = row, column
    for _ in range(_FIT_PASSES):
        dy, dx = _vertex(_neighbourhood(image, row, column, xp), xp)
        y, x = row + dy, column + dx
        row = xp.clip(xp.rint(y).astype(row.dtype), xp.maximum(row0 - 1, 1), row0 + 1)
        row = xp.minimum(row, image.shape[0] - 2)
        column = xp.clip(xp.rint(x).astype(row.dtype), xp.maximum(column0 - 1, 1), column0 + 1)
        column = xp.minimum(column, image.shape[1] - 2)
    return y, x


def _neighbourhood(image: Any, row: Any, column: Any, xp: ModuleType) -> Any:
    """Return the logarithms of the 3 x 3 px around each peak, shape (9, n), row by row."""
    width = image.shape[1]
    steps = xp.asarray([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])[:, None]
    return xp.log(xp.maximum(image.ravel()[row * width + column + steps], _TINY))


def _vertex(logs: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Return the vertex (y, x) [px] of the paraboloid nearest to `logs` (9, n), at most 1 px away."""
    gy, gx, hyy, hxx, hxy = xp.asarray(_PARABOLOID, xp.float32) @ logs
    determinant = hyy * hxx - hxy**2
    peaked = (hyy < 0) & (hxx < 0) & (determinant > 0)
    scale = xp.where(peaked, -1.0 / xp.where(peaked, determinant, 1.0), 0.0)
    dy = scale * (hxx * gy - hxy * gx)
    dx = scale * (hyy * gx - hxy * gy)
    return xp.clip(dy, -1.0, 1.0), xp.clip(dx, -1.0, 1.0)


def _table(y: Any, x: Any, detection: Any, probabilities: Any, xp: ModuleType) -> NDArray[np.void]:
    to_host = getattr(xp, "asnumpy", np.asarray)
    best = probabilities.argmax(axis=1)
    table = np.empty(len(best), COLUMN_DTYPE)
    table["y"], table["x"], table["detection"] = to_host(y), to_host(x), to_host(detection)
    table["count"] = to_host(best) + 1
    table["probability"] = to_host(probabilities.max(axis=1))
    table["track_id"] = _UNTRACKED
    table["fused_count"], table["fused_probability"] = 0, np.nan
    return table
