"""The surroundings of a particle as the shape network sees them: the same in training and live.

Everything runs on the array module that is handed in.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from pipeline.particle_networks import PATCH_PX, SHAPE_ORIENTATIONS
from pipeline.particles import FoundParticles
from pipeline.preprocess import Array
from pipeline.views import binned

__all__ = [
    "RESTORED_LEVEL",
    "cut_patches",
    "in_all_orientations",
    "mean_of_orientations",
    "without_neighbours",
]

RESTORED_LEVEL = 1.0
"""What a restored picture is where there is no particle, and what lies beyond its edge."""

_MARGIN_PX = 5  # around a neighbour, of the patch: its edge is soft


def cut_patches(
    picture: Array,
    y: NDArray[np.floating],
    x: NDArray[np.floating],
    binning: int,
    fill: float = RESTORED_LEVEL,
    xp: ModuleType = np,
) -> Array:
    """Cut squares around places out of a picture.

    Parameters
    ----------
    picture : array of float32, shape (H, W)
    y, x : numpy.ndarray, shape (n,)
        Centres [px of `picture`]; each comes to lie within half a pixel of the patch's own, (64, 64).
    binning : int
        A pixel of a patch is the mean of so many squared of the picture.
    fill : float
        What lies outside the picture.

    Returns
    -------
    array of float32, shape (n, 1, 128, 128), C-contiguous.
    """
    half = PATCH_PX // 2
    padded = xp.pad(binned(picture, binning, xp), half, constant_values=fill)
    patches = xp.empty((len(y), 1, PATCH_PX, PATCH_PX), xp.float32)
    for place, (top, left) in enumerate(zip(_corner(y, binning), _corner(x, binning), strict=True)):
        part = padded[top : top + PATCH_PX, left : left + PATCH_PX]
        patches[place, 0] = fill
        patches[place, 0, : part.shape[0], : part.shape[1]] = part
    return patches


def in_all_orientations(patches: Array, xp: ModuleType = np) -> Array:
    """Turn and mirror patches.

    What the shape network says of a patch differs between its orientations by the network's own error alone,
    most of which their mean leaves out (docs/evaluation/gold.md).

    Parameters
    ----------
    patches : array of float32, shape (n, 1, P, P)

    Returns
    -------
    array of float32, shape (8 n, 1, P, P), C-contiguous
        Those in one orientation after those in another; put together by `mean_of_orientations`.
    """
    turned = [xp.rot90(patches, quarters, (2, 3)) for quarters in range(SHAPE_ORIENTATIONS // 2)]
    return xp.ascontiguousarray(xp.concatenate([*turned, *(each[..., ::-1] for each in turned)]))


def mean_of_orientations(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean (n, K) of the logits (8 n, K) of patches `in_all_orientations`."""
    return np.asarray(logits.reshape(SHAPE_ORIENTATIONS, -1, logits.shape[1]).mean(0), np.float32)


def without_neighbours(
    patches: Array, found: FoundParticles, binning: int, fill: float = RESTORED_LEVEL, xp: ModuleType = np
) -> Array:
    """Fill other particles than a patch's own: the network has learnt from single ones.

    Parameters
    ----------
    patches : array of float32, shape (n, 1, 128, 128)
        Of `found`'s particles, in their order; changed in place, and returned.
    found : FoundParticles
    binning : int
        As in `cut_patches`.
    """
    if len(found) < 2:
        return patches
    here = np.arange(PATCH_PX) - PATCH_PX // 2
    for place in range(len(found)):
        rows, columns = (
            np.floor(binning * (_corner(v[place : place + 1], binning)[0] + here + 0.5) / found.bin_px)
            for v in (found.y, found.x)
        )
        others = _others(found.labels, place + 1, rows.astype(np.intp), columns.astype(np.intp))
        if others.any():
            patches[place, 0][xp.asarray(others)] = fill
    return patches


def _others(
    labels: NDArray[np.uint8], own: int, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return where in a patch there are other particles, with a margin."""
    height, width = labels.shape
    patch = labels[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    others = inside & (patch > 0) & (patch != own)
    if not others.any():
        return np.asarray(others)
    return np.asarray(binary_dilation(others, iterations=_MARGIN_PX) & (patch != own))


def _corner(place_px: NDArray[np.floating], binning: int) -> NDArray[np.intp]:
    """Return the first row or column of a patch in the padded picture, which is that of its middle before."""
    middle = np.rint((np.asarray(place_px, np.float64) + 0.5) / binning - 0.5)
    return np.asarray(np.maximum(middle, 0), np.intp)
