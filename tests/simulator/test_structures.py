"""Ceria particles: the truth must be what the atomic model holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from simulator.structures import (
    CE_O_BOND_A,
    COLUMN_PERIODS_A,
    MAX_COUNT,
    ParticleSettings,
    build_particle,
    draw_settings,
)


def slab(zone_axis: str, atoms_high: int) -> ParticleSettings:
    """Return a slab without faces or defects, `atoms_high` atoms in every column."""
    thickness = atoms_high * COLUMN_PERIODS_A[zone_axis]
    return replace(
        draw_settings(0),
        zone_axis=zone_axis,
        radius_A=12.0,
        face_distances_A=(1000.0,) * 26,
        thickness_low_A=thickness,
        thickness_high_A=thickness,
        saw_amplitude_A=0.0,
        vacancy_fraction=0.0,
        adatom_fraction=0.0,
        tilt_x_deg=0.0,
        tilt_y_deg=0.0,
    )


@pytest.mark.parametrize("zone_axis", ["110", "100"])
@pytest.mark.parametrize("atoms_high", [3, 7])
def test_slab_has_the_same_count_everywhere(zone_axis: str, atoms_high: int) -> None:
    """Columns at the rim may lose atoms with too few neighbours; the ones inside may not."""
    columns = build_particle(slab(zone_axis, atoms_high)).columns
    inside = np.hypot(columns["y_A"], columns["x_A"]) < 9.0
    assert inside.sum() > 20
    assert set(columns["count"][inside]) == {atoms_high}


@pytest.mark.parametrize(("zone_axis", "distance_A"), [("110", 3.313), ("100", 2.706)])
def test_columns_are_as_far_apart_as_the_projected_lattice(zone_axis: str, distance_A: float) -> None:
    columns = build_particle(slab(zone_axis, 4)).columns
    places = np.stack([columns["y_A"], columns["x_A"]], axis=-1)
    distances, _ = cKDTree(places).query(places, k=2)
    assert distances[:, 1] == pytest.approx(distance_A, abs=0.002)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_atom_is_counted_once_and_every_oxygen_is_bonded(seed: int) -> None:
    particle = build_particle(draw_settings(seed, max_radius_A=14.0))
    symbols = np.array(particle.atoms.get_chemical_symbols())
    cerium = particle.atoms.positions[symbols == "Ce"]
    assert particle.columns["count"].sum() == len(cerium)
    assert np.all((particle.columns["count"] >= 1) & (particle.columns["count"] <= MAX_COUNT))
    oxygen = particle.atoms.positions[symbols == "O"]
    near = cKDTree(cerium).query_ball_point(oxygen, CE_O_BOND_A, return_length=True)
    assert np.all(np.asarray(near) >= 2)


def test_a_seed_gives_the_same_particle_and_another_seed_another() -> None:
    first, again, other = (build_particle(draw_settings(seed, 12.0)) for seed in (5, 5, 6))
    assert np.array_equal(first.atoms.positions, again.atoms.positions)
    assert np.array_equal(first.columns, again.columns)
    assert len(first.atoms) != len(other.atoms)


def test_tilt_keeps_the_counts_and_moves_columns_by_their_height() -> None:
    """A column whose middle is at height z moves by z sin(tilt); all columns keep their ids."""
    upright = slab("110", 6)
    tilted = replace(upright, tilt_x_deg=1.0, rotation_deg=0.0)
    before, after = (build_particle(s).columns for s in (replace(upright, rotation_deg=0.0), tilted))
    assert np.array_equal(before[["column_id", "count"]], after[["column_id", "count"]])
    moved = np.hypot(after["y_A"] - before["y_A"], after["x_A"] - before["x_A"])
    assert 0 < moved.max() < 0.5 * 6 * COLUMN_PERIODS_A["110"] * np.sin(np.deg2rad(1.0)) + 0.01
