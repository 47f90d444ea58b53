"""States of one particle while it gains and loses atoms: what the demonstration's movie plays.

``python -m simulator.make_demo_states`` computes the states with multislice (ceria's in ten seconds, gold's
in two minutes) and writes ``simulator/data/ceria_110_movie.h5`` or ``gold-columns_110_movie.h5``, which are
part of the repository, so that a demonstration need not wait. :func:`load_states` reads them; it needs
neither abTEM nor ASE.

Layout (S states, P waves a state, waves on a square of n × n pixels):

================  ===============  =====================================================================
path              shape, type      content
================  ===============  =====================================================================
``/waves_real``   (S, P, n, n) f2  real part of the exit wave, incident wave 1; axes (state, P, y, x)
``/waves_imag``   (S, P, n, n) f2  imaginary part
``/columns``      (rows,)          ``state, column_id, y_A, x_A, count``: truth, one row a column and state
================  ===============  =====================================================================

Attributes of the file: ``pixel_size_A`` of the stored waves (coarser than that of the images: the stored wave
ends at 1.67 1/Å), ``energy_eV``, ``settings`` (the particle's, JSON). Positions are in Å from the centre of
the top left pixel, after the tilt. Between two states three atoms leave the surface and three arrive. The
waves are those of the thermally averaged potential, so that P is 1 and unchanged columns look unchanged.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from simulator.waves import resample

MATERIALS = ("ceria", "gold-columns")
"""What there are movies of."""
FILES = {name: Path(__file__).parent / "data" / f"{name}_110_movie.h5" for name in MATERIALS}
IMAGE_PIXEL_SIZE_A = 0.2

ROW_DTYPE = np.dtype([("state", "i2"), ("column_id", "i4"), ("y_A", "f4"), ("x_A", "f4"), ("count", "i2")])


@dataclass(frozen=True, slots=True)
class DemoStates:
    """The states as they are played.

    ``waves`` (S, P, h, w) complex64 at ``pixel_size_A`` (0.2 Å), vacuum 1: an image of a state is
    ``image_intensity(waves[s], pixel_size_A, optics, numpy)``, and outside the square an image is 1.
    ``columns`` has rows of :data:`ROW_DTYPE`; pixel position = ``y_A / pixel_size_A``.
    """

    waves: NDArray[np.complex64]
    columns: NDArray[np.void]
    pixel_size_A: float

    def columns_of(self, state: int) -> NDArray[np.void]:
        """Return the truth of one state."""
        return np.asarray(self.columns[self.columns["state"] == state])


def load_states(material: str = "ceria") -> DemoStates:
    """Read the states of one of :data:`MATERIALS`, and resample the waves to the images' pixel size."""
    with h5py.File(FILES[material], "r") as file:
        waves = file["waves_real"][:].astype(np.float32) + 1j * file["waves_imag"][:].astype(np.float32)
        columns, stored_pixel_size_A = file["columns"][:], float(file.attrs["pixel_size_A"])
    pixels = round(waves.shape[-1] * stored_pixel_size_A / IMAGE_PIXEL_SIZE_A)
    return DemoStates(resample(waves, pixels), columns, IMAGE_PIXEL_SIZE_A)
