"""Gold particles: sizes and faces as geometry has them, no orientation preferred, everything from a seed."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from simulator.gold import (
    DIAMETERS_A,
    LATTICE_CONSTANT_A,
    NEIGHBOUR_A,
    SHAPES,
    GoldSettings,
    axis_distance_deg,
    bonds,
    build_gold,
    build_shape,
    diameter_A,
    draw_gold,
    sizes,
)

UPRIGHT = (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("shape", "parameters", "atoms", "diameter_A_expected"),
    [
        # Magic numbers: n(2n² + 1)/3; 16n³ + 15n² + 6n + 1 with n = 3; (10n³ + 15n² + 11n + 3)/3 with n = 5
        ("octahedron", (11, 0), 891, 10 * LATTICE_CONSTANT_A),
        ("truncated octahedron", (10, 3), 586, LATTICE_CONSTANT_A * np.sqrt(6**2 + 3**2)),
        ("cuboctahedron", (11, 5), 561, 10 * NEIGHBOUR_A),
        ("icosahedron", (6,), 561, 10 * NEIGHBOUR_A / 1.02575),
        ("cube", (6, 9), 1099, 6 * LATTICE_CONSTANT_A * np.sqrt(3)),
    ],
)
def test_atoms_and_diameters_are_those_of_the_polyhedra(
    shape: str, parameters: tuple[int, ...], atoms: int, diameter_A_expected: float
) -> None:
    built = build_shape(shape, parameters)
    assert len(built) == atoms
    assert diameter_A(built.positions) == pytest.approx(diameter_A_expected, rel=1e-3)


def face_normals(shape: str, parameters: tuple[int, ...]) -> set[tuple[int, int, int]]:
    """Return the families (sorted whole numbers) of the convex hull's faces of a single crystal."""
    hull = ConvexHull(build_shape(shape, parameters).positions)
    scaled = np.abs(hull.equations[:, :3]) / np.abs(hull.equations[:, :3]).max(1, keepdims=True)
    return {tuple(int(i) for i in np.sort(np.rint(normal))) for normal in scaled}


def test_single_crystals_have_their_faces() -> None:
    assert face_normals("octahedron", (11, 0)) == {(1, 1, 1)}
    assert face_normals("cube", (6, 9)) == {(0, 0, 1)}
    assert face_normals("truncated octahedron", (10, 3)) == {(1, 1, 1), (0, 0, 1)}
    assert face_normals("cuboctahedron", (11, 5)) == {(1, 1, 1), (0, 0, 1)}


def test_twinned_particles_have_their_five_fold_axes() -> None:
    for shape, parameters in (("Marks decahedron", (6, 4, 2)), ("icosahedron", (7,))):
        positions = build_shape(shape, parameters).positions
        axis = np.array([0.0, 0.0, 1.0]) if shape == "Marks decahedron" else np.array([1.618034, 0.0, 1.0])
        turn = Rotation.from_rotvec(2 * np.pi / 5 * axis / np.linalg.norm(axis))
        turned = turn.apply(positions)
        distances = np.linalg.norm(turned[:, None] - positions[None], axis=-1).min(1)
        assert distances.max() < 0.01


def test_a_decahedron_has_re_entrant_edges() -> None:
    """Along a twin plane the surface lies deeper than on either side of it."""
    positions = build_shape("Marks decahedron", (6, 4, 2)).positions
    radius, angle = np.hypot(positions[:, 0], positions[:, 1]), np.arctan2(positions[:, 1], positions[:, 0])

    def reach(at: float) -> float:
        return float(radius[np.abs(np.angle(np.exp(1j * (angle - at)))) < 0.04].max())

    twin = np.pi / 2  # of ASE's decahedron; the others follow every 72 degrees
    beside = max(reach(twin + side * step) for side in (-1, 1) for step in (0.1, 0.15, 0.2, 0.25, 0.3))
    assert beside > reach(twin) + 2.0


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_comes_in_several_sizes_of_4_to_8_nm(shape: str) -> None:
    diameters = [diameter for diameter, _ in sizes(shape)]
    assert len(diameters) >= 6
    assert min(diameters) >= DIAMETERS_A[0]
    assert max(diameters) <= DIAMETERS_A[1]
    assert min(diameters) < 46.0
    assert max(diameters) > 72.0


def test_a_particle_follows_from_its_seed_and_lies_about_the_middle() -> None:
    first, again, other = (build_gold(draw_gold("cube", seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.atoms.positions, again.atoms.positions)
    assert first.settings == again.settings != other.settings
    positions = first.atoms.positions
    assert positions.max(0) == pytest.approx(-positions.min(0))
    assert diameter_A(positions) <= first.diameter_A + 1e-6


def test_only_corner_atoms_are_missing() -> None:
    whole = GoldSettings("octahedron", (11, 0), UPRIGHT, 0.0, 1)
    less = GoldSettings("octahedron", (11, 0), UPRIGHT, 0.5, 1)
    corners = (bonds(build_shape("octahedron", (11, 0)).positions) <= 6).sum()
    assert corners == 6
    assert len(build_gold(whole).atoms) - len(build_gold(less).atoms) == 3


def test_orientations_are_uniform_on_the_sphere() -> None:
    beams = np.array(
        [Rotation.from_quat(draw_gold("octahedron", s).rotation).inv().apply([0, 0, 1]) for s in range(600)]
    )
    # Each component of a uniform direction is uniform in -1..1: mean 0, mean square 1/3.
    assert np.abs(beams.mean(0)).max() < 4 * np.sqrt(1 / 3 / 600)
    assert (beams**2).mean(0) == pytest.approx([1 / 3] * 3, abs=4 * np.sqrt(4 / 45 / 600))


def test_distance_to_the_nearest_axis() -> None:
    tilt = 0.1
    turned = tuple(float(q) for q in Rotation.from_rotvec([tilt, 0, 0]).as_quat())
    for shape in ("cube", "Marks decahedron"):
        parameters = sizes(shape)[0][1]
        assert axis_distance_deg(GoldSettings(shape, parameters, UPRIGHT, 0.0, 0)) == pytest.approx(
            0.0, abs=1e-4
        )
        assert axis_distance_deg(GoldSettings(shape, parameters, turned, 0.0, 0)) == pytest.approx(
            np.rad2deg(tilt)
        )
    two_fold = axis_distance_deg(GoldSettings("icosahedron", (9,), UPRIGHT, 0.0, 0))
    assert two_fold == pytest.approx(0.0, abs=1e-4)
