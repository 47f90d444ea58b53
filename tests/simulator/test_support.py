"""Particle and membrane computed apart against the multislice through both."""

import abtem
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from simulator.carbon import CarbonSettings, build_carbon
from simulator.gold import build_shape
from simulator.multislice import MultisliceSettings, exit_waves
from simulator.optics import Optics, image_intensity
from simulator.support import membrane_distance_A, propagated, supported

GRID = MultisliceSettings(pixels=192, oversampling=1.5, slice_thickness_A=2.0)
CARBON_A = 20.0
GAP_A = 2.0


@pytest.fixture(autouse=True)
def _quiet() -> None:
    abtem.config.set({"diagnostics.progress_bar": False})


def picture(wave: np.ndarray, overfocus_A: float) -> np.ndarray:
    """Return the image of a wave (h, w)."""
    return image_intensity(wave[None], GRID.pixel_size_A, Optics(overfocus_A, convergence_mrad=0.15), np)


@pytest.mark.parametrize("carbon_first", [True, False])
def test_the_product_stands_for_the_multislice_through_both(carbon_first: bool) -> None:
    gold = build_shape("truncated octahedron", (10, 3))
    gold.positions = Rotation.from_rotvec([0.4, 0.2, 0.1]).apply(gold.positions)
    carbon = build_carbon(CarbonSettings(GRID.field_A, CARBON_A, seed=3))
    carbon.positions[:, :2] -= GRID.field_A / 2
    alone = [exit_waves(atoms, GRID, 0)[0] for atoms in (gold, carbon)]
    z = gold.positions[:, 2]
    lift = z.min() - GAP_A - carbon.positions[:, 2].max() if carbon_first else z.max() + GAP_A
    carbon.positions[:, 2] += lift
    both = Atoms([*gold.symbols, *carbon.symbols], positions=np.vstack([gold.positions, carbon.positions]))
    full = exit_waves(both, GRID, 0)[0]
    if not carbon_first:  # back to the particle's exit surface, from which the focus counts
        full = propagated(full, -(CARBON_A + GAP_A), GRID.pixel_size_A, np)
    travel_A = membrane_distance_A(carbon_first, float(np.ptp(z)), CARBON_A)
    joined = supported(*alone, travel_A, GRID.pixel_size_A, np)
    for overfocus_A in (20.0, 51.0, 90.0):
        true, product = picture(full, overfocus_A), picture(joined, overfocus_A)
        naive = picture(alone[0] * alone[1], overfocus_A)
        error = (true - product).std() / true.std()
        assert error < 0.13
        assert error < 0.5 * (true - naive).std() / true.std()


def test_travelling_there_and_back_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    wave = (1 + 0.1 * rng.normal(size=(32, 32)) + 0.1j * rng.normal(size=(32, 32))).astype(np.complex64)
    back = propagated(propagated(wave, 50.0, 0.2, np), -50.0, 0.2, np)
    assert back == pytest.approx(wave, abs=1e-5)


def test_travelling_is_a_change_of_overfocus() -> None:
    """A wave that has travelled on by d looks as the lens sees it with C10 larger by d."""
    rng = np.random.default_rng(0)
    wave = (1 + 0.1j * rng.normal(size=(64, 64))).astype(np.complex64)
    coherent = Optics(60.0, focal_spread_A=0.0, convergence_mrad=0.0)
    less = Optics(20.0, focal_spread_A=0.0, convergence_mrad=0.0)
    on = image_intensity(propagated(wave, 40.0, 0.2, np)[None], 0.2, less, np)
    assert on == pytest.approx(image_intensity(wave[None], 0.2, coherent, np), abs=1e-4)
