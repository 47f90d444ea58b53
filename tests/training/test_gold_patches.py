"""The shape network learns from patches that lie about the particle, as the live program cuts them."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is optional at run time")

from pipeline.particle_networks import PATCH_PX
from pipeline.patches import cut_patches
from simulator.gold import LATTICE_CONSTANT_A, SHAPES
from training.drawn_particles import drawn_patch, particle_positions_A, projected_density_A
from training.gold_pools import BINNING, CENTRE_SIGMA_PX, centre_of, patch_about


@pytest.mark.parametrize("corner", [(100, 200), (250, 4)])
def test_a_patch_has_its_particle_where_the_live_program_has_it_but_for_the_finders_error(
    corner: tuple[int, int],
) -> None:
    rows, columns = (slice(start, start + BINNING) for start in corner)
    picture, thickness = np.ones((512, 512), np.float32), np.zeros((512, 512), np.float32)
    picture[rows, columns], thickness[rows, columns] = 3.0, 10.0
    centre = centre_of(thickness)
    assert centre == pytest.approx(np.array(corner) + (BINNING - 1) / 2)
    (live,) = cut_patches(picture, centre[:1], centre[1:], BINNING)[:, 0]
    patches = [patch_about(picture, centre, np.random.default_rng(seed)) for seed in range(400)]
    places = np.array([np.unravel_index(patch.argmax(), patch.shape) for patch in patches])
    where = np.array(np.unravel_index(live.argmax(), live.shape))
    assert places.mean(0) == pytest.approx(where, abs=0.6)
    assert places.std(0) == pytest.approx([CENTRE_SIGMA_PX / BINNING] * 2, rel=0.25)


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
