"""Compute the demonstration's states (``python -m simulator.make_demo_states``); see ``demo_states``.

The walk is random but gentle: in each step a few atoms at the ends of columns leave, and as many arrive where
three or more neighbours hold them. Nothing about it is kinetics; it gives a movie with a known truth.
"""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from simulator.crystals import CRYSTALS
from simulator.dataset import in_field
from simulator.demo_states import FILE, ROW_DTYPE
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
STORED_PIXELS = 160
SEED = 20


def demo_settings() -> ParticleSettings:
    """Return the particle: [110], about 4 nm, thin on one side, with 0.4 degrees of tilt."""
    faces = np.repeat([18.0, 21.0, 20.0], [8, 6, 12])
    return replace(
        draw_settings(SEED),
        zone_axis="110",
        radius_A=19.5,
        face_distances_A=tuple(float(d) for d in faces),
        thickness_low_A=6.0,
        thickness_high_A=36.0,
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
    sites_A: NDArray[np.float64], kept: NDArray[np.bool_], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return the occupied sites (n,) of every state."""
    pairs = neighbour_pairs(sites_A, CRYSTALS["ceria"])
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


def make_states(path: Path = FILE) -> None:
    """Compute all states and write the file."""
    settings, grid = demo_settings(), MultisliceSettings(pixels=240)
    lattice = make_lattice(settings)
    kept = inside_particle(lattice.metal_A, settings)
    occupied = walk(lattice.metal_A, kept, np.random.default_rng(SEED))
    particles = [particle_from_sites(lattice, kept, settings) for kept in occupied]
    states = tqdm(particles, unit="state", disable=None)
    waves = [exit_waves(particle.atoms, grid, SEED) for particle in states]
    rows = [state_rows(state, particle, grid) for state, particle in enumerate(particles)]
    write(path, resample(np.stack(waves), STORED_PIXELS), np.concatenate(rows), grid, settings)


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


if __name__ == "__main__":
    make_states()
