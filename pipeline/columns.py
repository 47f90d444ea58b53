"""From the networks' maps to a table of atomic columns with counts and probabilities.

Pure functions on arrays of NumPy or CuPy: the array module is handed in, and only the finished table is
brought to the host, in one piece. All work after the first scan is done on the few pixels above the
threshold: a frame of 512 x 512 px with a thousand columns takes about a millisecond. The frames of a batch
are measured together: on a GPU a call costs the same for one frame as for many.
"""

from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocess import to_host
from streamer.records import COLUMN_DTYPE

__all__ = [
    "ColumnHeights",
    "count_distributions",
    "find_columns",
    "find_peaks",
    "measure_batch",
    "measure_columns",
]

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
    """Return `measure_batch` of one frame: maps of shape (H, W) and (K, H / s, W / s)."""
    frame = column_probability[None], count_logits[None]
    return measure_batch(*frame, threshold, min_distance_px, xp)[0]


def measure_batch(
    column_probability: Any, count_logits: Any, threshold: float, min_distance_px: float, xp: ModuleType = np
) -> list[ColumnHeights]:
    """Find the columns of each frame of a batch and count their atoms.

    Parameters
    ----------
    column_probability : array of float32, shape (N, H, W)
        0 to 1, peaked at column centres.
    count_logits : array of float32, shape (N, K, H / s, W / s)
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
    frame, y, x, detection = _find_peaks(column_probability, threshold, min_distance_px, xp)
    step = column_probability.shape[1] // count_logits.shape[2]
    at = ((y + 0.5) / step - 0.5, (x + 0.5) / step - 0.5)  # pixels of the coarse map span `step` fine ones
    probabilities = _distributions(count_logits, frame, *at, xp)
    atoms = xp.arange(1, probabilities.shape[1] + 1, dtype=xp.float32)
    mean = probabilities @ atoms
    variance = xp.maximum(probabilities @ atoms**2 - mean**2, 0.0)
    best, probability = probabilities.argmax(axis=1) + 1, probabilities.max(axis=1)
    columns = (frame, y, x, best, probability, detection, mean, variance)
    found = xp.concatenate(
        [xp.stack([xp.asarray(v, dtype=xp.float64) for v in columns]), probabilities.T]
    )  # (8 + K, n), in the order of frames
    return _by_frame(to_host(found, xp), len(column_probability))


def find_peaks(
    image: Any, threshold: float, min_distance_px: float, xp: ModuleType = np
) -> tuple[Any, Any, Any]:
    """Return sub-pixel y, x [px] and value of the local maxima of `image` (H, W) at or above `threshold`.

    A maximum on the outermost row or column of pixels is left out: nothing shows that it is one.
    """
    return _find_peaks(image[None], threshold, min_distance_px, xp)[1:]


def _find_peaks(
    images: Any, threshold: float, min_distance_px: float, xp: ModuleType
) -> tuple[Any, Any, Any, Any]:
    """Return index of the frame, y, x and value of the peaks of `images` (N, H, W), in the frames' order."""
    _, height, width = images.shape
    pixels = _local_maxima(images, threshold, xp)
    pixels = _highest_of_close(images, pixels, min_distance_px, xp)
    frame = pixels // (height * width)
    y, x = _refine(images, frame, pixels // width % height, pixels % width, xp)
    return frame, y, x, images.ravel()[pixels]


def count_distributions(count_logits: Any, y: Any, x: Any, xp: ModuleType = np) -> Any:
    """Return the probabilities (n, K) of 1 … K atoms at positions `y`, `x` (n,) in pixels of the logits."""
    return _distributions(count_logits[None], xp.zeros(len(y), xp.int64), y, x, xp)


def _distributions(count_logits: Any, frame: Any, y: Any, x: Any, xp: ModuleType) -> Any:
    """Return the same for positions in several frames' logits, shape (N, K, h, w)."""
    n_frames, n_classes, height, width = count_logits.shape
    flat = count_logits.reshape(n_frames, n_classes, height * width)
    top = xp.clip(xp.floor(y).astype(xp.int64), 0, height - 2)
    left = xp.clip(xp.floor(x).astype(xp.int64), 0, width - 2)
    fy = xp.clip(y - top, 0.0, 1.0).astype(xp.float32)
    fx = xp.clip(x - left, 0.0, 1.0).astype(xp.float32)
    corner = top * width + left
    fy, fx = fy[:, None], fx[:, None]
    logits = flat[frame, :, corner] * ((1 - fy) * (1 - fx)) + flat[frame, :, corner + 1] * ((1 - fy) * fx)
    logits += flat[frame, :, corner + width] * (fy * (1 - fx))
    logits += flat[frame, :, corner + width + 1] * (fy * fx)
    weights = xp.exp(logits - logits.max(axis=1, keepdims=True))  # (n, K)
    return weights / weights.sum(axis=1, keepdims=True)


def _local_maxima(images: Any, threshold: float, xp: ModuleType) -> Any:
    """Return flat indices of pixels that none of the eight neighbours exceeds; of equal ones the first."""
    _, height, width = images.shape
    flat = images.ravel()
    pixels = xp.flatnonzero(flat >= threshold)
    row, column = pixels // width % height, pixels % width
    pixels = pixels[(row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)]
    for dy, dx in _RING:
        step = dy * width + dx
        value, other = flat[pixels], flat[pixels + step]
        pixels = pixels[value >= other if step > 0 else value > other]  # the list shrinks at each step
    return pixels


def _highest_of_close(images: Any, pixels: Any, distance_px: float, xp: ModuleType) -> Any:
    """Of peaks of a frame closer than `distance_px` keep the highest, of equal ones the first."""
    n_frames, height, width = images.shape
    reach = max(int(np.ceil(distance_px)) - 1, 0)
    padded_height, padded_width = height + 2 * reach, width + 2 * reach
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    steps = (dy * padded_width + dx)[(dy**2 + dx**2 < distance_px**2) & ((dy != 0) | (dx != 0))]
    steps = xp.asarray(steps)[:, None]
    value = images.ravel()[pixels]
    peaks = xp.full(n_frames * padded_height * padded_width, -xp.inf, xp.float32)
    row = pixels // (height * width) * padded_height + pixels // width % height + reach
    place = row * padded_width + pixels % width + reach
    peaks[place] = value
    others = peaks[place + steps]  # (neighbours, n)
    return pixels[xp.all((value > others) | ((value == others) & (steps > 0)), axis=0)]


def _refine(images: Any, frame: Any, row: Any, column: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Return the vertex of a parabola through the logarithms of 3 x 3 px: exact for a Gaussian peak.

    Where the vertex lies nearer to another pixel (flat or noisy tops) the fit is repeated there; where the
    logarithms are not those of a maximum the pixel's own centre stays.
    """
    _, height, width = images.shape
    row0, column0 = row, column
    for _ in range(_FIT_PASSES):
        dy, dx = _vertex(_neighbourhood(images, (frame * height + row) * width + column, xp), xp)
        y, x = row + dy, column + dx
        row = xp.clip(xp.rint(y).astype(row.dtype), xp.maximum(row0 - 1, 1), row0 + 1)
        row = xp.minimum(row, height - 2)
        column = xp.clip(xp.rint(x).astype(row.dtype), xp.maximum(column0 - 1, 1), column0 + 1)
        column = xp.minimum(column, width - 2)
    return y, x


def _neighbourhood(images: Any, pixels: Any, xp: ModuleType) -> Any:
    """Return the logarithms of the 3 x 3 px around each of `pixels`, shape (9, n), row by row."""
    width = images.shape[2]
    steps = xp.asarray([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])[:, None]
    return xp.log(xp.maximum(images.ravel()[pixels + steps], _TINY))


def _vertex(logs: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Return the vertex (y, x) [px] of the paraboloid nearest to `logs` (9, n), at most 1 px away."""
    gy, gx, hyy, hxx, hxy = xp.asarray(_PARABOLOID, xp.float32) @ logs
    determinant = hyy * hxx - hxy**2
    peaked = (hyy < 0) & (hxx < 0) & (determinant > 0)
    scale = xp.where(peaked, -1.0 / xp.where(peaked, determinant, 1.0), 0.0)
    dy = scale * (hxx * gy - hxy * gx)
    dx = scale * (hyy * gx - hxy * gy)
    return xp.clip(dy, -1.0, 1.0), xp.clip(dx, -1.0, 1.0)


def _by_frame(found: NDArray[np.float64], n_frames: int) -> list[ColumnHeights]:
    """Split the rows `measure_batch` has put together, shape (8 + K, n), into one table a frame."""
    frame, y, x, count, probability, detection, mean, variance = found[:8]
    table = np.empty(found.shape[1], COLUMN_DTYPE)
    table["y"], table["x"], table["detection"] = y, x, detection
    table["count"], table["probability"], table["track_id"] = count, probability, _UNTRACKED
    table["fused_count"], table["fused_probability"] = 0, np.nan
    edges = np.searchsorted(frame, np.arange(n_frames + 1))
    rest = [np.asarray(values, np.float32) for values in (mean, variance, found[8:].T)]
    return [ColumnHeights(table[a:b], *(values[a:b] for values in rest)) for a, b in pairwise(edges)]
