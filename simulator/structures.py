"""Nanoparticles as atomic models, with the number of metal atoms in every column as truth.

A particle is a set of sites of a crystal (``simulator/crystals.py``): a polyhedron of {111}, {100} and {110}
faces, cut to a thickness that may be a wedge or a saw-tooth along the beam, with surface vacancies and
adatoms. Everything follows from a :class:`ParticleSettings` record, and that record from one seed.

Frames of reference: z is the beam direction (the zone axis before the tilt), images are (y, x), lengths are
in Å.
"""

import json
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simulator.crystals import ZONE_AXES, Crystal, crystal_of

MAX_COUNT = 12
"""Largest number of atoms in a column that the labels (and the networks' classes) can express."""

COLUMN_DTYPE = np.dtype([("y_A", "f4"), ("x_A", "f4"), ("count", "i2"), ("column_id", "i4")])


@dataclass(frozen=True, slots=True)
class ParticleSettings:
    """Everything that determines one particle.

    Distances are in Å, angles in degrees. ``face_distances_A`` are the distances of the {111}, {100} and
    {110} faces (8, 6 and 12 of them, in the order of :func:`face_normals`) from the centre. ``material`` is
    one of ``simulator.crystals.CRYSTALS``.
    """

    zone_axis: str
    radius_A: float
    face_distances_A: tuple[float, ...]
    thickness_low_A: float
    thickness_high_A: float
    wedge_angle_deg: float
    saw_amplitude_A: float
    saw_period_A: float
    top_fraction: float
    centre_A: tuple[float, float, float]
    vacancy_fraction: float
    adatom_fraction: float
    tilt_x_deg: float
    tilt_y_deg: float
    rotation_deg: float
    seed: int
    material: str = "ceria"

    @property
    def crystal(self) -> Crystal:
        """What the particle consists of."""
        return crystal_of(self.material)

    @property
    def period_A(self) -> float:
        """Distance of neighbouring atoms in a column [Å]."""
        return self.crystal.period_A(self.zone_axis)

    def as_json(self) -> str:
        """Return the settings as they are stored; ceria, of which the first files are, is not named."""
        values = asdict(self)
        if self.material == "ceria":
            del values["material"]
        return json.dumps(values)


@dataclass(frozen=True, slots=True)
class Particle:
    """An atomic model and its truth.

    ``atoms`` are centred on x = y = 0; ``columns`` has one row a column of the metal (:data:`COLUMN_DTYPE`):
    mean projected position after the tilt [Å] from that centre, number of atoms, and an id that names the
    lattice site of the column (stable while a particle gains and loses atoms).
    """

    atoms: Atoms
    columns: NDArray[np.void]
    settings: ParticleSettings


@dataclass(frozen=True, slots=True)
class Lattice:
    """Sites of a crystal in the beam's frame before any tilt [Å]; shapes (n, 3) and (m, 3), m 0 in metals."""

    metal_A: NDArray[np.float64]
    oxygen_A: NDArray[np.float64]


def face_normals() -> NDArray[np.float64]:
    """Return the unit normals of the 8 {111}, 6 {100} and 12 {110} faces, shape (26, 3)."""
    signs = [s for s in product((-1, 0, 1), repeat=3) if any(s)]
    family = {3: 0, 1: 1, 2: 2}  # number of non-zero indices -> order {111}, {100}, {110}
    signs.sort(key=lambda s: (family[int(np.count_nonzero(s))], s))
    normals = np.array(signs, dtype=float)
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def draw_settings(
    seed: int,
    max_radius_A: float = 24.0,
    max_tilt_deg: float = 1.0,
    zone_axis: str | None = None,
    material: str = "ceria",
) -> ParticleSettings:
    """Draw a varied particle from a seed, of the training data's zone axes or of the one asked for.

    The ratios of the face distances scatter around the crystal's relative surface energies of {111}, {100}
    and {110}, widely enough that each family may dominate or vanish, and close enough that columns grow from
    the edge inwards. A third are cut to a wedge, a few carry saw-teeth. No column is cut higher than the
    crystal's ``most_periods``. (Slabs of one thickness, tried before, leave nothing in the picture to count
    from: focus and thickness are then told apart badly.)
    """
    crystal = crystal_of(material)
    rng = np.random.default_rng(seed)
    drawn_axis = str(rng.choice(["110", "100"], p=[0.6, 0.4]))
    zone_axis = zone_axis or drawn_axis
    period = crystal.period_A(zone_axis)
    radius = rng.uniform(9.0, max_radius_A)
    energies = np.repeat(crystal.surface_energies, [8, 6, 12]) * np.repeat(
        rng.uniform(0.6, 1.0, 3), [8, 6, 12]
    )
    distances = 0.8 * radius * energies / energies.min() * rng.uniform(0.8, 1.05, 26)
    along_beam = np.abs(face_normals() @ ZONE_AXES[zone_axis][2])
    distances *= 1.0 + along_beam * rng.uniform(*crystal.lengthened)
    low = high = crystal.most_periods * period
    if rng.random() < 0.35:
        low, high = np.sort(rng.uniform(2.0, 12.0, 2)) * period
    saw = rng.random() < 0.15
    tilt, azimuth = rng.uniform(0.0, max_tilt_deg), rng.uniform(0.0, 2 * np.pi)
    return ParticleSettings(
        zone_axis=zone_axis,
        radius_A=float(radius),
        face_distances_A=tuple(float(d) for d in distances),
        thickness_low_A=float(low),
        thickness_high_A=float(high),
        wedge_angle_deg=float(rng.uniform(0.0, 360.0)),
        saw_amplitude_A=float(rng.uniform(0.5, 1.5) * period) if saw else 0.0,
        saw_period_A=float(rng.uniform(8.0, 24.0)),
        top_fraction=float(rng.uniform(0.2, 0.8)),
        centre_A=(float(rng.uniform(0, 5.4)), float(rng.uniform(0, 5.4)), float(rng.uniform(0, 5.4))),
        vacancy_fraction=float(rng.choice([0.0, 0.01, 0.03])),
        adatom_fraction=float(rng.choice([0.0, 0.01, 0.03])),
        tilt_x_deg=float(tilt * np.cos(azimuth)),
        tilt_y_deg=float(tilt * np.sin(azimuth)),
        rotation_deg=float(rng.uniform(0.0, 360.0)),
        seed=seed,
        material=material,
    )


def with_tilt(settings: ParticleSettings, tilt_deg: float) -> ParticleSettings:
    """Return the same particle tilted by an angle, in the direction in which it is tilted."""
    azimuth = np.arctan2(settings.tilt_y_deg, settings.tilt_x_deg)
    x, y = float(tilt_deg * np.cos(azimuth)), float(tilt_deg * np.sin(azimuth))
    return replace(settings, tilt_x_deg=x, tilt_y_deg=y)


def build_particle(settings: ParticleSettings) -> Particle:
    """Build the atomic model of a particle and count its columns."""
    rng = np.random.default_rng([settings.seed, 1])
    lattice = make_lattice(settings)
    kept = inside_particle(lattice.metal_A, settings)
    kept = add_and_remove_surface_atoms(lattice.metal_A, kept, settings, rng)
    kept = without_too_high(lattice.metal_A, kept, settings)
    return particle_from_sites(lattice, kept, settings)


def particle_from_sites(lattice: Lattice, kept: NDArray[np.bool_], settings: ParticleSettings) -> Particle:
    """Build the particle whose metal atoms are the lattice sites marked in ``kept``, shape (n,)."""
    metal = lattice.metal_A[kept]
    oxygen = bonded_oxygen(lattice.oxygen_A, metal, settings.crystal)
    matrix = orientation_matrix(settings)
    columns = count_columns(metal, metal @ matrix.T, settings)
    symbols = [settings.crystal.metal] * len(metal) + ["O"] * len(oxygen)
    return Particle(Atoms(symbols, positions=np.vstack([metal, oxygen]) @ matrix.T), columns, settings)


def make_lattice(settings: ParticleSettings) -> Lattice:
    """Return the sites within reach of a particle, in the beam's frame, shifted by ``-centre_A``."""
    crystal = settings.crystal
    cell = crystal.cell()
    half = int(np.ceil(1.25 * (settings.radius_A * 1.3 + 40.0) / crystal.lattice_constant_A))
    steps = np.arange(-half, half) * crystal.lattice_constant_A
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions = (offsets + cell.positions).reshape(-1, 3)  # (cells * atoms, 3)
    positions = positions @ ZONE_AXES[settings.zone_axis].T - np.asarray(settings.centre_A)
    near = np.hypot(positions[:, 0], positions[:, 1]) < settings.radius_A * 1.05 + 6.0
    near &= np.abs(positions[:, 2]) < 62.0
    is_metal = np.tile(cell.symbols == crystal.metal, len(offsets))
    return Lattice(positions[near & is_metal], positions[near & ~is_metal])


def inside_particle(sites_A: NDArray[np.float64], settings: ParticleSettings) -> NDArray[np.bool_]:
    """Mark the sites inside the faces, inside the radius and between the lower and upper surface."""
    normals = face_normals() @ ZONE_AXES[settings.zone_axis].T
    inside = np.all(sites_A @ normals.T <= np.asarray(settings.face_distances_A), axis=1)
    inside &= np.hypot(sites_A[:, 0], sites_A[:, 1]) <= settings.radius_A * 1.05
    thickness = local_thickness(sites_A[:, 0], sites_A[:, 1], settings)
    inside &= sites_A[:, 2] <= settings.top_fraction * thickness
    inside &= sites_A[:, 2] > (settings.top_fraction - 1.0) * thickness
    return np.asarray(inside)


def local_thickness(
    x_A: NDArray[np.float64], y_A: NDArray[np.float64], settings: ParticleSettings
) -> NDArray[np.float64]:
    """Return the thickness [Å] that the wedge and saw-tooth surfaces leave at projected positions."""
    angle = np.deg2rad(settings.wedge_angle_deg)
    along = x_A * np.cos(angle) + y_A * np.sin(angle)
    fraction = np.clip(0.5 + 0.5 * along / settings.radius_A, 0.0, 1.0)
    wedge = settings.thickness_low_A + (settings.thickness_high_A - settings.thickness_low_A) * fraction
    saw = settings.saw_amplitude_A * (np.mod(along / settings.saw_period_A, 1.0) - 0.5)
    limit = settings.crystal.most_periods * settings.period_A
    return np.asarray(np.clip(wedge + saw, 0.0, limit))


def add_and_remove_surface_atoms(
    sites_A: NDArray[np.float64],
    kept: NDArray[np.bool_],
    settings: ParticleSettings,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return ``kept`` with surface vacancies taken out, adatoms put on, and lone atoms removed."""
    neighbours = neighbour_pairs(sites_A, settings.crystal)
    bonds = coordination(neighbours, kept)
    surface = np.flatnonzero(kept & (bonds <= 9))
    hollows = np.flatnonzero(~kept & (bonds >= 3))
    result = kept.copy()
    result[choose(rng, surface, settings.vacancy_fraction)] = False
    result[choose(rng, hollows, settings.adatom_fraction)] = True
    for _ in range(3):
        result &= coordination(neighbours, result) >= 3
    return result


def without_too_high(
    sites_A: NDArray[np.float64], kept: NDArray[np.bool_], settings: ParticleSettings
) -> NDArray[np.bool_]:
    """Return ``kept`` without the topmost atoms of columns that are higher than the labels go."""
    chosen = np.flatnonzero(kept)
    ids = column_ids(sites_A[chosen], settings)
    order = np.lexsort((sites_A[chosen, 2], ids))
    sorted_ids = ids[order]
    rank = np.arange(len(ids)) - np.searchsorted(sorted_ids, sorted_ids)
    result = kept.copy()
    result[chosen[order[rank >= MAX_COUNT]]] = False
    return result


def choose(rng: np.random.Generator, candidates: NDArray[np.intp], fraction: float) -> NDArray[np.intp]:
    """Choose a fraction of the candidates without replacement."""
    return rng.choice(candidates, size=round(fraction * len(candidates)), replace=False)


def neighbour_pairs(sites_A: NDArray[np.float64], crystal: Crystal) -> NDArray[np.intp]:
    """Return the pairs of neighbouring metal sites, shape (pairs, 2)."""
    return np.asarray(cKDTree(sites_A).query_pairs(crystal.neighbour_A, output_type="ndarray"))


def coordination(pairs: NDArray[np.intp], kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Count each site's occupied neighbours (12 inside the bulk), shape (n,)."""
    left, right = pairs[:, 0], pairs[:, 1]
    counts = np.bincount(left[kept[right]], minlength=len(kept))
    return np.asarray(counts + np.bincount(right[kept[left]], minlength=len(kept)))


def bonded_oxygen(
    oxygen_A: NDArray[np.float64], metal_A: NDArray[np.float64], crystal: Crystal
) -> NDArray[np.float64]:
    """Return the oxygen sites that at least two of their four metal neighbours hold."""
    near = cKDTree(metal_A).query_ball_point(oxygen_A, crystal.oxygen_bond_A, return_length=True)
    return np.asarray(oxygen_A[np.asarray(near) >= 2])


def orientation_matrix(settings: ParticleSettings) -> NDArray[np.float64]:
    """Return the rotation (3, 3) from the beam's frame before the tilt to the image's frame."""
    ax, ay, az = np.deg2rad([settings.tilt_x_deg, settings.tilt_y_deg, settings.rotation_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
    about_y = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
    about_z = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def count_columns(
    lattice_A: NDArray[np.float64], image_A: NDArray[np.float64], settings: ParticleSettings
) -> NDArray[np.void]:
    """Group metal atoms by their projected lattice site and count each group.

    Parameters
    ----------
    lattice_A
        Positions (n, 3) before the tilt [Å]; atoms of one column share x and y.
    image_A
        Positions (n, 3) of the same atoms after the tilt and rotation [Å].
    settings
        Zone axis and origin of the lattice.

    Returns
    -------
    Rows of :data:`COLUMN_DTYPE`, one a column.
    """
    ids = column_ids(lattice_A, settings)
    unique, group, counts = np.unique(ids, return_inverse=True, return_counts=True)
    columns = np.zeros(len(unique), COLUMN_DTYPE)
    columns["column_id"], columns["count"] = unique, counts
    columns["x_A"] = np.bincount(group, image_A[:, 0]) / counts
    columns["y_A"] = np.bincount(group, image_A[:, 1]) / counts
    return columns


def column_ids(lattice_A: NDArray[np.float64], settings: ParticleSettings) -> NDArray[np.int64]:
    """Return an id for each atom's column: its projected site on the axis' grid."""
    step_x_A, step_y_A = settings.crystal.steps_A(settings.zone_axis)
    nx = np.rint((lattice_A[:, 0] + settings.centre_A[0]) / step_x_A).astype(np.int64)
    ny = np.rint((lattice_A[:, 1] + settings.centre_A[1]) / step_y_A).astype(np.int64)
    return (ny + 500) * 1000 + nx + 500
