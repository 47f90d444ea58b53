"""Compute the demonstrations' states; see ``demo_states``.

``python -m simulator.make_demo_states`` computes ceria's, with ``--material gold-columns`` gold's. The walk
is random but gentle: in each step a few atoms at the ends of columns leave, and as many arrive where three or
more neighbours hold them. Nothing about it is kinetics; it gives a movie with a known truth.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from simulator.crystals import Crystal
from simulator.dataset import GRIDS, in_field
from simulator.demo_states import FILES, ROW_DTYPE
from simulator.multislice import ENERGY_EV, MultisliceSettings, exit_waves
from simulator.structures import (
    Particle,
    ParticleSettings,
    coordination,
    draw_settings,
    inside_particle,
    make_lattice,
    neighbour_pairs,
    particle_from_sites,
)
from simulator.waves import resample

STATES = 20
MOVES = 3
"""Atoms that leave and arrive between two states."""
FIELD_PIXELS = 240
STORED_PIXELS = 160
SEED = 20

_SIZES_A = {
    "ceria": (19.5, (18.0, 21.0, 20.0), (6.0, 36.0)),
    "gold-columns": (17.0, (17.0, 19.0, 17.5), (1.0, 32.0)),
}
"""Radius, distances of the {111}, {100} and {110} faces, lowest and highest thickness [Å], by material."""


def demo_settings(material: str = "ceria") -> ParticleSettings:
    """Return the particle: [110], 3.5 to 4 nm, thin on one side, with 0.4 degrees of tilt."""
    radius_A, distances_A, (low_A, high_A) = _SIZES_A[material]
    return replace(
        draw_settings(SEED, material=material),
        zone_axis="110",
        radius_A=radius_A,
        face_distances_A=tuple(float(d) for d in np.repeat(distances_A, [8, 6, 12])),
        thickness_low_A=low_A,
        thickness_high_A=high_A,
        wedge_angle_deg=200.0,
        saw_amplitude_A=0.0,
        top_fraction=0.5,
        vacancy_fraction=0.02,
        adatom_fraction=0.02,
        tilt_x_deg=0.35,
        tilt_y_deg=-0.2,
        rotation_deg=15.0,
        seed=SEED,
    )


def walk(
    sites_A: NDArray[np.float64], kept: NDArray[np.bool_], crystal: Crystal, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return the occupied sites (n,) of every state."""
    pairs = neighbour_pairs(sites_A, crystal)
    states = [kept]
    while len(states) < STATES:
        states.append(next_state(states[-1], pairs, rng))
    return states


def next_state(
    kept: NDArray[np.bool_], pairs: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Take the loosest surface atoms away and put as many where most neighbours hold them."""
    bonds = coordination(pairs, kept) + rng.uniform(0.0, 3.0, len(kept))
    leaving = np.argsort(np.where(kept, bonds, np.inf))[:MOVES]
    arriving = np.argsort(np.where(kept, -np.inf, bonds))[-MOVES:]
    result = kept.copy()
    result[leaving], result[arriving] = False, True
    return result


def state_rows(state: int, particle: Particle, grid: MultisliceSettings) -> NDArray[np.void]:
    """Return the truth of one state as rows of the file."""
    columns = in_field(particle.columns, grid)
    rows = np.zeros(len(columns), ROW_DTYPE)
    rows["state"] = state
    for name in ("column_id", "y_A", "x_A", "count"):
        rows[name] = columns[name]
    return rows


def make_particles(settings: ParticleSettings) -> list[Particle]:
    """Build the particle in every state."""
    lattice = make_lattice(settings)
    kept = inside_particle(lattice.metal_A, settings)
    occupied = walk(lattice.metal_A, kept, settings.crystal, np.random.default_rng(SEED))
    return [particle_from_sites(lattice, kept, settings) for kept in occupied]


def all_rows(particles: list[Particle], grid: MultisliceSettings) -> NDArray[np.void]:
    """Return the truth of all states."""
    return np.concatenate([state_rows(state, particle, grid) for state, particle in enumerate(particles)])


def grid_of(material: str) -> MultisliceSettings:
    """Return the grid that a material's waves are computed on."""
    return replace(GRIDS[material], pixels=FIELD_PIXELS)


def make_states(material: str, path: Path) -> None:
    """Compute all states and write the file."""
    settings, grid = demo_settings(material), grid_of(material)
    particles = make_particles(settings)
    states = tqdm(particles, unit="state", disable=None)
    waves = [exit_waves(particle.atoms, grid, SEED) for particle in states]
    rows = all_rows(particles, grid)
    write(path, resample(np.stack(waves), STORED_PIXELS), rows, grid, settings)


def write(
    path: Path,
    waves: NDArray[np.complex64],
    rows: NDArray[np.void],
    grid: MultisliceSettings,
    settings: ParticleSettings,
) -> None:
    """Write the file described in ``demo_states``."""
    path.parent.mkdir(exist_ok=True)
    packing = {"compression": "gzip", "shuffle": True}
    with h5py.File(path, "w") as file:
        file.create_dataset("waves_real", data=waves.real.astype(np.float16), **packing)
        file.create_dataset("waves_imag", data=waves.imag.astype(np.float16), **packing)
        file.create_dataset("columns", data=rows)
        file.attrs["pixel_size_A"] = grid.field_A / STORED_PIXELS
        file.attrs["energy_eV"] = ENERGY_EV
        file.attrs["settings"] = settings.as_json()


def main() -> None:
    """Compute the states of the material that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m simulator.make_demo_states")
    parser.add_argument("--material", choices=tuple(FILES), default="ceria", help="default: ceria")
    material = parser.parse_args().material
    make_states(material, FILES[material])


if __name__ == "__main__":
    main()
