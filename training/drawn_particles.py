"""Restored pictures of gold particles as they should look, drawn from the atoms alone: any number of them.

A shape is recognised in every orientation only if many have been seen, and multislice takes a second for
each. What a restored picture shows of a particle is mainly its thickness (the pedestal of
``training/gold_data.py``) and its fringes, and both follow roughly from the projected density of the atoms:
so half of the patches that the shape network learns from are drawn that way, every one of a particle of its
own, in an orientation of its own, with the faults that a restoration has: wrong by a factor, blurred, uneven.
Nothing is ever judged on them.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial.transform import Rotation

from pipeline.particle_networks import PATCH_PX
from simulator.gold import CORNER_BONDS, SHAPES, Parameters, bonds, build_shape, draw_gold
from simulator.gold_dataset import ATOM_VOLUME_A3
from training.gold_data import PEDESTAL_PER_A

__all__ = ["drawn_patch"]

PATCH_PIXEL_A = 0.8
_FINE = 2
"""The density is drawn on a grid so much finer than the patch's."""
_SMOOTH_A = 2.0
_ATOM_A = 0.5
"""Width (standard deviation) of an atom at the resolution of the best focus."""
_CENTRE_A = 1.6
_FRINGES = (0.004, 0.05)
"""What an ångström of density above its local mean adds, in units of the vacuum level."""
_MOST_FRINGE = 0.6
_EDGE_A = 15.0
_FACTOR = 0.15
_BLUR_A = (0.0, 0.5)
_UNEVEN = (0.0, 0.12)
_UNEVEN_PX = 10


def drawn_patch(label: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one patch.

    Parameters
    ----------
    label : int
        Index into ``simulator.gold.SHAPES``.

    Returns
    -------
    numpy.ndarray of float32, shape (128, 128)
        As ``pipeline.patches.cut_patches`` cuts them: pixels of 0.8 Å, vacuum 1.
    """
    density_A = projected_density_A(particle_positions_A(label, rng), rng)
    pixel_A = PATCH_PIXEL_A / _FINE
    thickness_A = gaussian_filter(density_A, _SMOOTH_A / pixel_A)
    atoms_A = gaussian_filter(density_A, _ATOM_A / pixel_A)
    fringes = _MOST_FRINGE * np.tanh(rng.uniform(*_FRINGES) * (atoms_A - thickness_A) / _MOST_FRINGE)
    fringes *= thickness_A / (thickness_A + _EDGE_A)  # no dark rim
    factor = PEDESTAL_PER_A * (1.0 + _FACTOR * rng.standard_normal())
    picture = factor * thickness_A * uneven(len(density_A), rng) + fringes
    picture = gaussian_filter(picture, rng.uniform(*_BLUR_A) / pixel_A)
    binned = picture.reshape(PATCH_PX, _FINE, PATCH_PX, _FINE).mean((1, 3))
    return np.asarray(1.0 + binned, dtype=np.float32)


def particle_positions_A(label: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the atoms (n, 3) of a particle of a shape, of any size and orientation, some corners missing."""
    settings = draw_gold(SHAPES[label], int(rng.integers(2**32)))
    positions, corners = perfect(settings.shape, settings.parameters)
    missing = rng.choice(corners, round(settings.missing_share * len(corners)), replace=False)
    turned = Rotation.from_quat(settings.rotation).apply(np.delete(positions, missing, axis=0))
    return np.asarray(turned - (turned.max(0) + turned.min(0)) / 2.0)


@lru_cache(maxsize=512)
def perfect(shape: str, parameters: Parameters) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the atoms of a perfect particle, and which of them are corners."""
    positions = build_shape(shape, parameters).positions
    return positions, np.flatnonzero(bonds(positions) <= CORNER_BONDS)


def projected_density_A(positions_A: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return atoms an area times an atom's volume [Å], the particle nearly in the middle of the patch."""
    count, step_A = PATCH_PX * _FINE, PATCH_PIXEL_A / _FINE
    edges = (np.arange(count + 1) - 0.5 * count) * step_A
    place_A = positions_A[:, :2] + rng.normal(0.0, _CENTRE_A, 2)
    atoms, _, _ = np.histogram2d(place_A[:, 1], place_A[:, 0], bins=(edges, edges))
    return np.asarray(atoms * (ATOM_VOLUME_A3 / step_A**2))


def uneven(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return factors (size, size) about 1 that change over some ångströms."""
    coarse = rng.standard_normal((_UNEVEN_PX, _UNEVEN_PX))
    return np.asarray(1.0 + rng.uniform(*_UNEVEN) * zoom(coarse, size / _UNEVEN_PX, order=1))
