"""Gold nanoparticles of six shapes, 4 to 8 nm, in any orientation.

The shapes are those that gold takes (Marks & Peng, J. Phys.: Condens. Matter 28 (2016) 053001), built by
``ase.cluster``. Which sizes exist is up to the lattice, so a drawn particle is the one nearest to a drawn
diameter, the diameter being the largest distance of two atoms. No corner is perfect: a share of the
worst-bound atoms is missing.

Lengths are in Å, z is the beam's direction. The lattice constant is 4.078 Å, gold at room temperature
(ICDD PDF 04-0784).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from ase.cluster import Decahedron, FaceCenteredCubic, Icosahedron, Octahedron
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

LATTICE_CONSTANT_A = 4.078
NEIGHBOUR_A = LATTICE_CONSTANT_A / np.sqrt(2.0)
DIAMETERS_A = (40.0, 80.0)
"""Smallest and largest diameter of a particle [Å]."""

SHAPES = (
    "truncated octahedron",
    "octahedron",
    "cuboctahedron",
    "cube",
    "Marks decahedron",
    "icosahedron",
)
"""The classes, in the order of the classifier's logits."""

CORNER_BONDS = 6
"""An atom with at most this many neighbours (12 in the bulk) sits on a corner or a sharp edge."""

Parameters = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GoldSettings:
    """Everything that determines one particle.

    ``shape`` is one of :data:`SHAPES`, ``parameters`` what its builder takes (:func:`build_shape`),
    ``rotation`` a unit quaternion (x, y, z, w), ``missing_share`` the share of corner atoms that are missing.
    """

    shape: str
    parameters: Parameters
    rotation: tuple[float, float, float, float]
    missing_share: float
    seed: int


@dataclass(frozen=True, slots=True)
class GoldParticle:
    """Atoms about the middle of their extent, and what they follow from; ``diameter_A`` before the loss."""

    atoms: Atoms
    diameter_A: float
    settings: GoldSettings


def truncated_octahedra() -> Iterator[Parameters]:
    """Yield (length, cutoff): between a fifth and three eighths of an edge is cut at each end.

    A third is the regular one; at a half the {111} faces become triangles and it is a cuboctahedron.
    """
    for length, cutoff in product(range(8, 30), range(2, 10)):
        if 0.22 <= cutoff / (length - 1) <= 0.375:
            yield length, cutoff


def marks_decahedra() -> Iterator[Parameters]:
    """Yield (p, q, r) of decahedra with visible {100} faces and re-entrant edges, neither flat nor long."""
    for p, q, r in product(range(3, 15), range(2, 11), range(1, 4)):
        width, height = 2 * (p + r), p + q + 2 * r - 2  # in neighbours' distances, roughly
        if 0.6 <= height / width <= 1.2 and r <= p / 2:
            yield p, q, r


def cubes() -> Iterator[Parameters]:
    """Yield (lattice constants on the edge, {111} layers): sharp, or with the corners slightly cut."""
    for edge in range(5, 14):
        yield from ((edge, layers) for layers in range(int(1.3 * edge), int(1.5 * edge) + 1))


PARAMETERS: dict[str, Callable[[], Iterator[Parameters]]] = {
    "truncated octahedron": truncated_octahedra,
    "octahedron": lambda: ((length, 0) for length in range(8, 30)),
    "cuboctahedron": lambda: ((2 * cutoff + 1, cutoff) for cutoff in range(5, 20)),
    "cube": cubes,
    "Marks decahedron": marks_decahedra,
    "icosahedron": lambda: ((shells,) for shells in range(5, 20)),
}


def build_shape(shape: str, parameters: Parameters) -> Atoms:
    """Build the perfect particle with ASE.

    Octahedra take (length, cutoff), decahedra (p, q, r), icosahedra the number of shells, all as in
    ``ase.cluster``; cubes (edge in lattice constants, layers of {111}).
    """
    if shape == "icosahedron":
        return relaxed_icosahedron(*parameters)
    if shape == "cube":
        return ase_cluster(FaceCenteredCubic, [(1, 0, 0), (1, 1, 1)], parameters)
    return ase_cluster(Decahedron if shape == "Marks decahedron" else Octahedron, *parameters)


def ase_cluster(builder: Any, *parameters: Any) -> Atoms:
    """Return the atoms of one of ASE's builders, about their middle."""
    atoms = builder("Au", *parameters, latticeconstant=LATTICE_CONSTANT_A)
    return Atoms(atoms.symbols, positions=atoms.positions - atoms.positions.mean(0))


def relaxed_icosahedron(shells: int) -> Atoms:
    """Build an icosahedron whose bonds are on average as long as in the bulk.

    ASE makes the radial bonds as long as the bulk's; the tangential ones are then 5.15 % longer (Mackay, Acta
    Cryst. 15 (1962) 916), and each of the twenty tetrahedra has as many of the one kind as of the other.
    """
    atoms = ase_cluster(Icosahedron, shells)
    atoms.positions /= (1.0 + 1.0515) / 2.0
    return atoms


def diameter_A(positions_A: NDArray[np.float64]) -> float:
    """Return the largest distance of two of the positions (n, 3)."""
    return float(pdist(positions_A[ConvexHull(positions_A).vertices]).max())


@cache
def sizes(shape: str) -> tuple[tuple[float, Parameters], ...]:
    """Return diameter [Å] and parameters of all particles of a shape within :data:`DIAMETERS_A`."""
    built = ((diameter_A(build_shape(shape, p).positions), p) for p in PARAMETERS[shape]())
    return tuple(sorted(pair for pair in built if DIAMETERS_A[0] <= pair[0] <= DIAMETERS_A[1]))


def draw_gold(shape: str, seed: int) -> GoldSettings:
    """Draw a particle of a shape: uniform in diameter, uniform on the sphere of orientations."""
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(*DIAMETERS_A)
    by_distance = sorted((abs(diameter - wanted), parameters) for diameter, parameters in sizes(shape))
    near = [parameters for off, parameters in by_distance if off <= by_distance[0][0] + 1.0]
    x, y, z, w = Rotation.random(rng=rng).as_quat()
    return GoldSettings(
        shape=shape,
        parameters=near[int(rng.integers(len(near)))],
        rotation=(float(x), float(y), float(z), float(w)),
        missing_share=float(rng.uniform(0.0, 0.4)),
        seed=seed,
    )


def build_gold(settings: GoldSettings) -> GoldParticle:
    """Build the particle of a record, turned and about the middle of its extent."""
    perfect = build_shape(settings.shape, settings.parameters)
    kept = without_corners(perfect.positions, settings.missing_share, np.random.default_rng(settings.seed))
    turned = Rotation.from_quat(settings.rotation).apply(kept)
    turned -= (turned.max(0) + turned.min(0)) / 2.0
    atoms = Atoms("Au" * len(turned), positions=turned)
    return GoldParticle(atoms, diameter_A(perfect.positions), settings)


def without_corners(
    positions_A: NDArray[np.float64], share: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Leave out a share of the atoms with at most :data:`CORNER_BONDS` neighbours."""
    corners = np.flatnonzero(bonds(positions_A) <= CORNER_BONDS)
    missing = rng.choice(corners, round(share * len(corners)), replace=False)
    return np.delete(positions_A, missing, axis=0)


def bonds(positions_A: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count each atom's nearest neighbours, shape (n,)."""
    tree = cKDTree(positions_A)
    within = tree.query_ball_point(positions_A, 1.15 * NEIGHBOUR_A, return_length=True)
    return np.asarray(within, dtype=np.intp) - 1


AXES: dict[str, NDArray[np.float64]] = {
    "fcc": np.array([p for p in product((-1, 0, 1), repeat=3) if any(p)], dtype=float),
    "decahedron": np.array(
        [(0, 0, 1), *((np.cos(k * np.pi / 10), np.sin(k * np.pi / 10), 0) for k in range(20))], dtype=float
    ),
}
"""Axes of high symmetry (not normalised) in the frames of ASE's particles."""


def icosahedral_axes() -> NDArray[np.float64]:
    """Return the six five-fold, ten three-fold and fifteen two-fold axes, both ways, not normalised."""
    golden = (1.0 + np.sqrt(5.0)) / 2.0
    corners = np.array(
        [
            c
            for s, t in product((-1, 1), repeat=2)
            for c in ((s * golden, 0, t), (s, t * golden, 0), (0, s, t * golden))
        ]
    )
    edges = np.array(
        [(a, b) for a, b in product(range(12), repeat=2) if np.isclose(pdist(corners[[a, b]]), 2.0).any()]
    )
    faces = [
        corners[[a, b, c]].sum(0)
        for a, b, c in product(range(12), repeat=3)
        if a < b < c and np.allclose(pdist(corners[[a, b, c]]), 2.0)
    ]
    return np.vstack([corners, corners[edges].sum(1), faces])


def axis_distance_deg(settings: GoldSettings) -> float:
    """Return the angle between the beam and the nearest axis of high symmetry [degrees].

    Those are ⟨100⟩, ⟨110⟩ and ⟨111⟩ of single crystals, the five-fold axis of a decahedron and the directions
    along and between its twin planes, and all rotation axes of an icosahedron.
    """
    if settings.shape == "icosahedron":
        axes = icosahedral_axes()
    else:
        axes = AXES["decahedron" if settings.shape == "Marks decahedron" else "fcc"]
    turned = Rotation.from_quat(settings.rotation).apply(axes / np.linalg.norm(axes, axis=1, keepdims=True))
    return float(np.rad2deg(np.arccos(np.clip(np.abs(turned[:, 2]).max(), 0.0, 1.0))))
