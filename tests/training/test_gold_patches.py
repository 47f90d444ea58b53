"""The shape network sees the same patches in training and live."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is optional at run time")

from pipeline.particle_networks import PATCH_PX
from pipeline.patches import cut_patches
from simulator.gold import LATTICE_CONSTANT_A, SHAPES
from training import gold_pools
from training.drawn_particles import drawn_patch, particle_positions_A, projected_density_A


@pytest.mark.parametrize("centre", [(64.0, 64.0), (3.0, 100.0), (127.0, 0.0)])
def test_patches_of_training_and_of_the_live_program_are_equal(centre: tuple[float, float]) -> None:
    restored = (1 + 0.1 * np.random.default_rng(4).standard_normal((512, 512))).astype(np.float32)
    trained_on = gold_pools.cut(restored, np.array(centre))
    binning = gold_pools.BINNING
    y, x = ((np.array([c]) + 0.5) * binning - 0.5 for c in centre)
    live = cut_patches(restored, y, x, binning)
    assert gold_pools.PATCH_PX == PATCH_PX
    np.testing.assert_allclose(live[0, 0], trained_on, rtol=1e-6)


@pytest.mark.parametrize("label", range(6))
def test_a_drawn_patch_shows_the_particles_gold(label: int) -> None:
    """The pedestal's integral is the number of atoms times an atom's volume, whatever the orientation."""
    positions = particle_positions_A(label, np.random.default_rng(label))
    density_A = projected_density_A(positions, np.random.default_rng(1))
    side_A = PATCH_PX * 0.8 / len(density_A)
    assert density_A.sum() * side_A**2 == pytest.approx(len(positions) * LATTICE_CONSTANT_A**3 / 4)
    patches = [drawn_patch(label, np.random.default_rng(seed)) for seed in range(4)]
    assert {patch.shape for patch in patches} == {(PATCH_PX, PATCH_PX)}
    thickness_A = [(patch.mean() - 1) * (PATCH_PX * 0.8) ** 2 / 0.01 for patch in patches]
    smallest, largest = 4 / 3 * np.pi * 10.0**3, 4 / 3 * np.pi * 45.0**3  # [Å^3]
    assert all(smallest < volume < largest for volume in thickness_A)
    np.testing.assert_allclose([patch[0, 0] for patch in patches], 1.0, atol=1e-3)


def test_drawn_particles_lie_in_all_orientations() -> None:
    """The shadow of a cube is a square down one axis, and a hexagon down another."""
    rng = np.random.default_rng(5)
    label = SHAPES.index("cube")
    extents = np.array([np.ptp(particle_positions_A(label, rng), axis=0) for _ in range(60)])
    shares = extents / np.linalg.norm(extents, axis=1, keepdims=True)
    assert np.all(np.abs(shares.mean(0) - 3**-0.5) < 0.05)
    assert np.all(shares.std(0) > 0.01)
