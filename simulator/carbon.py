"""Amorphous carbon membranes: atoms at random with the bonds and the density of amorphous carbon.

Atoms thrown at random with no more than a smallest distance give the right density but the wrong grain of the
picture; models with realistic bonds differ from them in HRTEM (Ricolleau et al., J. Appl. Phys. 114 (2013)
213504). Melting and quenching takes hours, so the atoms thrown here are moved until each has about three
neighbours at bond length and the next ones at the distance that angles of 120° give: the first two peaks of
amorphous carbon's pair distribution, at 1.4 to 1.5 Å and 2.5 Å (Robertson, Mater. Sci. Eng. R 37 (2002) 129,
section 4).

The density is 2.0 g/cm³, between glassy (1.5) and tetrahedral carbon (3.2); evaporated films have 1.8 to 2.1
(Robertson, table 1).
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

DENSITY_G_PER_CM3 = 2.0
ATOMS_PER_A3 = DENSITY_G_PER_CM3 / 12.011 * 0.602214
"""Atoms in a cubic ångström: Avogadro's number over the molar mass, 0.1003."""
SMALLEST_DISTANCE_A = 1.4
BOND_A = 1.46
"""Mean of the bonds of graphite (1.42) and diamond (1.54), three parts to one."""
SECOND_A = 2.5
BONDS = 3


@dataclass(frozen=True, slots=True)
class CarbonSettings:
    """A membrane, periodic along x and y: side and thickness [Å], rounds of relaxation, seed."""

    side_A: float = 102.4
    thickness_A: float = 60.0
    rounds: int = 15
    seed: int = 0


def build_carbon(settings: CarbonSettings) -> Atoms:
    """Build a membrane; x and y from 0 to the side, z from 0 to the thickness."""
    rng = np.random.default_rng(settings.seed)
    box = np.array([settings.side_A, settings.side_A, settings.thickness_A])
    positions = thrown(round(ATOMS_PER_A3 * float(box.prod())), box, rng)
    for _ in range(settings.rounds):
        positions = inside(positions + 0.5 * corrections(positions, box), box)
    positions = apart(positions, box)
    return Atoms("C" * len(positions), positions=positions, cell=box, pbc=(True, True, False))


def thrown(count: int, box_A: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Throw points into a box, none nearer to another than 1 Å (the relaxation parts them further)."""
    points = np.empty((0, 3))
    while len(points) < count:
        points = np.vstack([points, rng.uniform(0.0, 1.0, (count - len(points), 3)) * box_A])
        pairs = tree_of(points, box_A).query_pairs(1.0, output_type="ndarray")
        points = np.delete(points, np.unique(pairs.max(1)) if len(pairs) else [], axis=0)
    return points


def tree_of(points_A: NDArray[np.float64], box_A: NDArray[np.float64]) -> cKDTree:
    """Return the search tree of points in a box that repeats along x and y."""
    return cKDTree(inside(points_A, box_A), boxsize=box_A * (1.0, 1.0, 0.0))


def inside(points_A: NDArray[np.float64], box_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points moved into the box: along x and y by whole boxes, along z to its surface."""
    moved = points_A.copy()
    moved[:, :2] = np.mod(np.mod(moved[:, :2], box_A[:2]), box_A[:2])  # twice: -1e-17 becomes the side
    moved[:, 2] = np.clip(moved[:, 2], 0.0, box_A[2])
    return moved


def pairs_within(
    points_A: NDArray[np.float64], box_A: NDArray[np.float64], reach_A: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return pairs (m, 2) within a distance, the unit vectors (m, 3) from first to second, the distances."""
    pairs = tree_of(points_A, box_A).query_pairs(reach_A, output_type="ndarray")
    vectors = points_A[pairs[:, 1]] - points_A[pairs[:, 0]]
    vectors[:, :2] -= box_A[:2] * np.rint(vectors[:, :2] / box_A[:2])
    distances = np.linalg.norm(vectors, axis=1)
    return pairs, vectors / np.maximum(distances, 1e-6)[:, None], distances


def corrections(points_A: NDArray[np.float64], box_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how each atom should move: bonds to their length, all other neighbours out of the way."""
    pairs, units, distances = pairs_within(points_A, box_A, SECOND_A)
    bonded = nearest_few(pairs, distances, len(points_A))
    wanted = np.where(bonded, BOND_A, SECOND_A)
    return moves(pairs, units, np.where(bonded, 1.0, 0.35) * (wanted - distances), len(points_A))


def nearest_few(pairs: NDArray[np.intp], distances_A: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Mark the pairs (m,) in which each is among the other's three nearest."""
    order = np.argsort(distances_A, kind="stable")
    both = np.concatenate([pairs[order, 0], pairs[order, 1]])
    rank_in = np.argsort(np.concatenate([np.arange(len(order))] * 2), kind="stable")
    atoms = both[rank_in]  # ends of the pairs, shortest pair first
    by_atom = np.argsort(atoms, kind="stable")
    first = np.searchsorted(atoms[by_atom], np.arange(count))
    rank = np.empty(len(atoms), dtype=np.intp)
    rank[by_atom] = np.arange(len(atoms)) - first[atoms[by_atom]]
    ranks = np.empty(len(atoms), dtype=np.intp)
    ranks[rank_in] = rank
    near = np.maximum(ranks[: len(order)], ranks[len(order) :]) < BONDS
    marked = np.empty(len(order), dtype=bool)
    marked[order] = near
    return marked


def moves(
    pairs: NDArray[np.intp], units: NDArray[np.float64], lengthen_A: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Sum the moves (count, 3) that lengthen each pair by half the amount at either end."""
    half = 0.5 * units * lengthen_A[:, None]
    sums = [
        np.bincount(pairs[:, 1], half[:, axis], count) - np.bincount(pairs[:, 0], half[:, axis], count)
        for axis in range(3)
    ]
    return np.stack(sums, axis=1)


def apart(points_A: NDArray[np.float64], box_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Push atoms apart until none are nearer than the smallest distance; the last few are taken out."""
    for _ in range(20):
        pairs, units, distances = pairs_within(points_A, box_A, SMALLEST_DISTANCE_A)
        if len(pairs) == 0:
            return points_A
        lengthen = SMALLEST_DISTANCE_A + 0.02 - distances
        points_A = inside(points_A + moves(pairs, units, lengthen, len(points_A)), box_A)
    return np.delete(
        points_A, np.unique(pairs_within(points_A, box_A, SMALLEST_DISTANCE_A)[0].max(1)), axis=0
    )
