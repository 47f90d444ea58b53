"""Exit waves: where the atoms are, how many electrons there are, and that a seed repeats them."""

import abtem
import numpy as np
import pytest
from ase import Atoms

from simulator.multislice import DEBYE_WALLER_B_A2, MultisliceSettings, displaced, exit_waves
from simulator.waves import pack, resample, unpack

SMALL = MultisliceSettings(pixels=48, oversampling=2.0, phonons=2)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    abtem.config.set({"diagnostics.progress_bar": False})


def test_an_atom_shows_at_its_place_in_y_and_x() -> None:
    """The phase is largest at (y, x) = (24 + 10, 24 - 5) pixels, for an atom at y = 2 Å, x = -1 Å."""
    wave = exit_waves(Atoms("Ce", positions=[(-1.0, 2.0, 0.0)]), SMALL, seed=1).mean(0)
    peak = np.unravel_index(np.argmax(np.angle(wave)), wave.shape)
    assert np.hypot(peak[0] - 34, peak[1] - 19) <= 1.5


def test_scattering_keeps_the_electrons_and_a_heavier_column_scatters_more() -> None:
    columns = [Atoms(f"Ce{n}", positions=[(0, 0, 3.8 * k) for k in range(n)]) for n in (1, 3)]
    waves = [exit_waves(column, SMALL, seed=1) for column in columns]
    assert [(np.abs(w) ** 2).mean() for w in waves] == pytest.approx([1.0, 1.0], abs=0.01)
    scattered = [(np.abs(w - 1) ** 2).mean() for w in waves]
    assert scattered[1] > 2 * scattered[0]


def test_a_seed_repeats_the_wave_and_phonons_differ() -> None:
    atoms = Atoms("CeO", positions=[(0, 0, 0), (2.0, 0, 0)])
    before = atoms.positions.copy()
    first, again = exit_waves(atoms, SMALL, seed=3), exit_waves(atoms, SMALL, seed=3)
    assert np.array_equal(first, again)
    assert not np.allclose(first[0], first[1], atol=1e-3)
    assert np.array_equal(atoms.positions, before)


def test_thermal_displacements_have_the_debye_waller_width() -> None:
    atoms = Atoms("Ce4000", positions=np.zeros((4000, 3)))
    moved = displaced(atoms, np.random.default_rng(0)).positions
    assert moved.var() == pytest.approx(DEBYE_WALLER_B_A2["Ce"] / (8 * np.pi**2), rel=0.05)


def test_resampling_up_and_down_returns_the_wave() -> None:
    rng = np.random.default_rng(0)
    wave = resample((rng.normal(size=(2, 16, 16)) + 0j).astype(np.complex64), 14)
    assert resample(resample(wave, 40), 14) == pytest.approx(wave, abs=1e-5)


def test_packed_waves_come_back_within_half_precision() -> None:
    wave = np.array([1.0 + 0.5j, -2.25 + 1e-3j], np.complex64)
    assert unpack(pack(wave)) == pytest.approx(wave, rel=1e-3)
