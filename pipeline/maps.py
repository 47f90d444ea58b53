"""Maps that are stored with a result, in the pixels of the recorded frame."""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocess import Array

__all__ = ["atom_count_map", "to_frame_grid"]

_RADIUS_A = 0.6


def atom_count_map(
    columns: NDArray[np.void], shape: tuple[int, int], pixel_size_A: float
) -> NDArray[np.float16]:
    """Draw each column's count as a disc of 0.6 Å radius, 0 elsewhere.

    Parameters
    ----------
    columns : numpy.ndarray of COLUMN_DTYPE, shape (n,)
    shape : tuple of int
        (H, W) of the frame [px].
    pixel_size_A : float
        Of the frame [Å].
    """
    atoms = np.zeros(shape, np.float16)
    radius_px = _RADIUS_A / pixel_size_A + 1e-6
    reach = np.arange(-int(radius_px), int(radius_px) + 1)
    dy, dx = (d.ravel()[:, None] for d in np.meshgrid(reach, reach, indexing="ij"))
    near = (dy**2 + dx**2 <= radius_px**2).ravel()
    rows = np.rint(columns["y"]).astype(int) + dy[near]
    places = np.rint(columns["x"]).astype(int) + dx[near]  # (disc, n)
    inside = (rows >= 0) & (rows < shape[0]) & (places >= 0) & (places < shape[1])
    atoms[rows[inside], places[inside]] = np.broadcast_to(columns["count"], rows.shape)[inside]
    return atoms


def to_frame_grid(image: Array, shape: tuple[int, int], xp: ModuleType = np) -> Array:
    """Interpolate an image (h, w) of `xp` bilinearly at the pixels of a frame of `shape` (H, W).

    Frame pixel y lies at image pixel y · h / H, as in `pipeline.preprocess.resample_to`. An image of that
    shape is returned as it is.
    """
    if image.shape == shape:
        return image
    for axis, (old, new) in enumerate(zip(image.shape, shape, strict=True)):
        place = xp.arange(new, dtype=xp.float32) * old / new
        lower = xp.minimum(place.astype(int), old - 2)
        share = (place - lower).astype(xp.float32)
        share = share[:, None] if axis == 0 else share
        image = xp.take(image, lower, axis) * (1 - share) + xp.take(image, lower + 1, axis) * share
    return image
