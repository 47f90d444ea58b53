"""Carbon films that fill a field: their exit waves, their place in a data set, how one is laid to a particle.

A film is periodic, so it can be moved by any number of pixels, turned by quarters and mirrored: a few serve
for any number of pictures. ``simulator/support.py`` says how a particle's wave and a film's become one.
"""

from dataclasses import replace

import h5py
import numpy as np
from numpy.typing import NDArray

from simulator.carbon import CarbonSettings, build_carbon
from simulator.multislice import MultisliceSettings, exit_waves
from simulator.wave_file import create_waves

__all__ = ["create_films", "film_wave", "laid", "split_of_films"]

_SLICE_A = 3.0  # carbon's atoms are light


def film_wave(thickness_A: float, seed: int, grid: MultisliceSettings) -> NDArray[np.complex64]:
    """Build a film that fills the field of a grid, and compute its exit wave (h, w)."""
    atoms = build_carbon(CarbonSettings(grid.field_A, thickness_A, seed=seed))
    atoms.positions[:, :2] -= grid.field_A / 2.0
    coarse = replace(grid, oversampling=1.0, slice_thickness_A=max(_SLICE_A, grid.slice_thickness_A))
    return np.asarray(exit_waves(atoms, coarse, seed)[0])


def create_films(file: h5py.File, count: int, grid: MultisliceSettings) -> None:
    """Create the empty datasets of films in a new data set, and fix their split."""
    carbon = file.create_group("carbon")
    create_waves(carbon, count, (grid.pixels, grid.pixels, 2))
    carbon.create_dataset("thickness_A", (count,), np.float32)
    carbon.create_dataset("split", data=split_of_films(count))


def split_of_films(count: int) -> NDArray[np.uint8]:
    """Return the split of films: of eleven, one is for validation and two are for the test."""
    return np.array([{3: 1, 5: 2, 8: 2}.get(i % 11, 0) for i in range(count)], np.uint8)


def laid(wave: NDArray[np.complex64], rng: np.random.Generator) -> NDArray[np.complex64]:
    """Return a film's wave (n, n), moved, turned by quarters and mirrored at random."""
    y, x = (int(shift) for shift in rng.integers(wave.shape[0], size=2))
    moved = np.rot90(np.roll(wave, (y, x), (0, 1)), int(rng.integers(4)))
    return moved.T if rng.integers(2) else moved
