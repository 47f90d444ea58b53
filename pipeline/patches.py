"""The surroundings of a particle as the shape network sees them: the same in training and live.

Everything runs on the array module that is handed in.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from pipeline.particle_networks import PATCH_PX
from pipeline.preprocess import Array, resample_to

__all__ = ["cut_patches"]


def cut_patches(
    picture: Array,
    y: NDArray[np.floating],
    x: NDArray[np.floating],
    pixel_size_A: float,
    target_A: float,
    fill: float,
    xp: ModuleType = np,
) -> Array:
    """Cut squares around places, at another pixel size.

    Parameters
    ----------
    picture : array of float32, shape (H, W)
    y, x : numpy.ndarray, shape (n,)
        Centres [px of `picture`]; each comes to lie within half a pixel of the patch's own, (64, 64).
    pixel_size_A, target_A : float
        Of the picture and of the patches [Å].
    fill : float
        What lies outside the picture.

    Returns
    -------
    array of float32, shape (n, 1, 128, 128), C-contiguous.
    """
    resampled = resample_to(picture[None], pixel_size_A, target_A, xp)[0]
    scale = [new / old for new, old in zip(resampled.shape, picture.shape, strict=True)]
    half = PATCH_PX // 2
    padded = xp.pad(xp.asarray(resampled, xp.float32), half, constant_values=fill)
    patches = xp.empty((len(y), 1, PATCH_PX, PATCH_PX), xp.float32)
    for place, (row, column) in enumerate(zip(np.rint(y * scale[0]), np.rint(x * scale[1]), strict=True)):
        patches[place, 0] = padded[int(row) : int(row) + PATCH_PX, int(column) : int(column) + PATCH_PX]
    return patches
