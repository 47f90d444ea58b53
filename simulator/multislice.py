"""Exit waves of atomic models: abTEM multislice at 300 keV with frozen phonons.

The wave is computed on a fine grid and stored on a coarser one: Fourier-cropped to 0.2 Å a pixel, which keeps
spatial frequencies up to 2.5 1/Å, twice what the optics pass (the intensity reaches twice as far as the
wave). The incident wave is 1, so that an image's intensity is in units of the vacuum level.

Thermal motion: isotropic and independent, with B(Ce) = 0.25 Å² and B(O) = 0.45 Å², rounded values for ceria
near room temperature; B(O) > B(Ce) at every temperature (neutron powder diffraction, Yashima et al., Chem.
Phys. Lett. 372 (2003) 784). B(Au) = 0.63 Å² at 293 K from the Debye temperature of 165 K (Kittel,
Introduction to Solid State Physics, 8th ed., table 5.1) in the classical limit <u²> = 3 ħ² T / m k Θ².
B(C) = 0.5 Å² is between graphite's along and across its planes; in amorphous carbon disorder exceeds it
anyway. <u²> along one direction = B / 8π². Two treatments:

- ``phonons = 0``: one wave through the thermally averaged potential (Debye-Waller factors). It leaves out
  thermal diffuse scattering; the intensity at tall columns comes out 2 % too high.
- ``phonons = P``: an image is the mean intensity over P sets of displaced atoms (frozen phonons, Loane et
  al., Acta Cryst. A47 (1991) 267). Right on average, but P = 2 scatters by 3 to 4 % at columns of seven to
  nine atoms, as much as one atom more or less changes them; a camera averages over many more in one frame.
  (Measured on particles at 0.8° of tilt against 24 sets.)
"""

from dataclasses import dataclass, replace
from typing import Any

import abtem
import numpy as np
from abtem.parametrizations import LobatoParametrization
from ase import Atoms
from numpy.typing import NDArray

from simulator.waves import resample

ENERGY_EV = 300e3
DEBYE_WALLER_B_A2 = {"Ce": 0.25, "O": 0.45, "Au": 0.63, "C": 0.5}


@dataclass(frozen=True, slots=True)
class MultisliceSettings:
    """Grid of the calculation and of the stored wave.

    ``pixels`` × ``pixel_size_A`` is the side of the square field of view; the fine grid has
    ``pixels * oversampling`` points a side.
    """

    pixels: int = 288
    pixel_size_A: float = 0.2
    oversampling: float = 5 / 3
    slice_thickness_A: float = 1.4
    phonons: int = 0

    @property
    def field_A(self) -> float:
        """Side of the field of view [Å]."""
        return self.pixels * self.pixel_size_A


def exit_waves(atoms: Atoms, settings: MultisliceSettings, seed: int) -> NDArray[np.complex64]:
    """Compute the exit waves of a particle that is centred on x = y = 0.

    Parameters
    ----------
    atoms
        Positions in Å; the beam runs along z. Everything must lie within the field of view.
    settings
        Grids, and number of frozen-phonon configurations P (0: the averaged potential, one wave).
    seed
        Of the thermal displacements; without effect for the averaged potential.

    Returns
    -------
    Complex waves (P, pixels, pixels), axes (phonon, y, x); the particle's origin is the centre of pixel
    ``pixels // 2``. The incident wave is 1; the object's mean phase is left in.
    """
    if settings.phonons == 0:
        return waves_of([atoms], settings, averaged_potential())
    rng = np.random.default_rng([seed, 2])
    return waves_of([displaced(atoms, rng) for _ in range(settings.phonons)], settings)


def waves_in_smallest_box(
    atoms: Atoms, settings: MultisliceSettings, seed: int, boxes_px: tuple[int, ...], margin_A: float
) -> NDArray[np.complex64]:
    """Compute exit waves as :func:`exit_waves` in the smallest box that fits, with vacuum around it.

    ``boxes_px`` are the sides of boxes in rising order, few since the FFT is planned anew for each;
    ``margin_A`` is the vacuum that a box must leave, both sides together. Without boxes it is the field.
    """
    extent_A = 2.0 * float(np.abs(atoms.positions[:, :2]).max()) + margin_A
    fitting = [px for px in boxes_px if extent_A <= px * settings.pixel_size_A and px < settings.pixels]
    inner = replace(settings, pixels=fitting[0]) if fitting else settings
    edge = (settings.pixels - inner.pixels) // 2
    around = ((0, 0), (edge, edge), (edge, edge))
    return np.pad(exit_waves(atoms, inner, seed), around, constant_values=1.0)


def averaged_potential() -> LobatoParametrization:
    """Return the atoms' potentials, blurred by their thermal motion."""
    return LobatoParametrization(sigmas={symbol: sigma_A(symbol) for symbol in DEBYE_WALLER_B_A2})


def waves_of(
    configurations: list[Atoms], settings: MultisliceSettings, potentials: LobatoParametrization | None = None
) -> NDArray[np.complex64]:
    """Compute the exit wave of each set of (already displaced) atoms, shape (P, pixels, pixels)."""
    potentials = potentials or LobatoParametrization()
    fine = [one_wave(place_in_box(atoms, settings), settings, potentials) for atoms in configurations]
    return np.stack([resample(wave, settings.pixels) for wave in fine])


def place_in_box(atoms: Atoms, settings: MultisliceSettings) -> Atoms:
    """Return the atoms in the calculation's box, with 2 Å of vacuum above and below."""
    boxed = Atoms(atoms)
    boxed.positions[:, :2] += settings.field_A / 2
    boxed.positions[:, 2] -= boxed.positions[:, 2].min() - 2.0
    boxed.cell = [settings.field_A, settings.field_A, boxed.positions[:, 2].max() + 2.0]
    return boxed


def displaced(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return the atoms with Gaussian thermal displacements."""
    moved = Atoms(atoms)
    moved.positions += rng.normal(size=moved.positions.shape) * thermal_sigma_A(atoms)[:, None]
    return moved


def thermal_sigma_A(atoms: Atoms) -> NDArray[np.float64]:
    """Return the standard deviation of each atom's displacement along one direction [Å]."""
    return np.array([sigma_A(symbol) for symbol in atoms.symbols])


def sigma_A(symbol: str) -> float:
    """Return the standard deviation of an element's displacement along one direction [Å]."""
    return float(np.sqrt(DEBYE_WALLER_B_A2[symbol] / (8 * np.pi**2)))


def one_wave(
    atoms: Atoms, settings: MultisliceSettings, potentials: LobatoParametrization
) -> NDArray[np.complex64]:
    """Run abTEM's multislice for one set of positions; returns the fine grid, axes (y, x).

    FFTW's plans are estimated, not measured: which plan is the fastest differs from process to process, and
    with it the last bits of the wave. A wave takes two thirds longer with it.
    """
    abtem.config.set({"diagnostics.progress_bar": False, "fftw.planning_effort": "FFTW_ESTIMATE"})
    gpts = round(settings.pixels * settings.oversampling)
    potential = abtem.Potential(
        atoms, gpts=gpts, slice_thickness=settings.slice_thickness_A, parametrization=potentials
    )
    plane: Any = abtem.PlaneWave(energy=ENERGY_EV)
    wave = plane.multislice(potential, lazy=False)
    return np.asarray(wave.array, dtype=np.complex64).T  # abTEM's axes are (x, y)
