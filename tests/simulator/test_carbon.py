"""Membranes: density, bonds and randomness of amorphous carbon."""

import numpy as np
import pytest

from simulator.carbon import (
    ATOMS_PER_A3,
    SMALLEST_DISTANCE_A,
    CarbonSettings,
    build_carbon,
    pairs_within,
)

SMALL = CarbonSettings(side_A=32.0, thickness_A=25.0, seed=1)
BOX = np.array([32.0, 32.0, 25.0])


@pytest.fixture(scope="module")
def distances() -> tuple[int, np.ndarray]:
    """Return the number of atoms and all distances of pairs up to 3.5 Å, across the periodic sides too."""
    atoms = build_carbon(SMALL)
    return len(atoms), pairs_within(atoms.positions, BOX, 3.5)[2]


def test_density_is_two_grams_a_cubic_centimetre() -> None:
    atoms = build_carbon(SMALL)
    grams = len(atoms) * 12.011 / 6.02214e23
    assert grams / (BOX.prod() * 1e-24) == pytest.approx(2.0, rel=0.01)
    thirds = np.histogram(atoms.positions[:, 2], 3)[0]
    assert thirds == pytest.approx([len(atoms) / 3] * 3, rel=0.1)


def test_no_two_atoms_are_nearer_than_a_bond(distances: tuple[int, np.ndarray]) -> None:
    assert distances[1].min() >= SMALLEST_DISTANCE_A


def test_neighbours_are_at_bond_length_and_at_the_distance_of_bond_angles(
    distances: tuple[int, np.ndarray],
) -> None:
    """A peak within 1.4 to 1.6 Å of two to four neighbours, a gap about 2 Å, a peak near 2.5 Å."""
    count, pairs = distances
    edges = np.array([1.4, 1.6, 1.9, 2.2, 2.4, 2.6])
    inside = np.histogram(pairs, edges)[0] * 2 / count
    shells = 4 / 3 * np.pi * np.diff(edges**3) * ATOMS_PER_A3
    assert 2.0 < inside[0] < 4.0
    assert inside[1] + inside[2] < 0.15 * shells[1:3].sum()
    assert inside[4] > 1.2 * shells[4]


def test_a_membrane_follows_from_its_seed() -> None:
    small = CarbonSettings(side_A=16.0, thickness_A=20.0, seed=2)
    first, again = build_carbon(small), build_carbon(small)
    other = build_carbon(CarbonSettings(side_A=16.0, thickness_A=20.0, seed=3))
    assert np.array_equal(first.positions, again.positions)
    assert not np.allclose(first.positions[:50], other.positions[:50])
