"""Ceria particles: the truth must be what the atomic model holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from simulator.crystals import CRYSTALS, ZONE_AXES
from simulator.structures import (
    MAX_COUNT,
    ParticleSettings,
    build_particle,
    draw_settings,
    with_tilt,
)

CERIA = CRYSTALS["ceria"]


def upright_slab(material: str, zone_axis: str, thickness_A: float, radius_A: float) -> ParticleSettings:
    """Return an upright slab without faces or defects."""
    return replace(
        draw_settings(0, zone_axis=zone_axis, material=material),
        radius_A=radius_A,
        face_distances_A=(1000.0,) * 26,
        thickness_low_A=thickness_A,
        thickness_high_A=thickness_A,
        saw_amplitude_A=0.0,
        vacancy_fraction=0.0,
        adatom_fraction=0.0,
        tilt_x_deg=0.0,
        tilt_y_deg=0.0,
    )


def slab(zone_axis: str, atoms_high: int) -> ParticleSettings:
    """Return a slab of ceria, `atoms_high` atoms in every column."""
    return upright_slab("ceria", zone_axis, atoms_high * CERIA.period_A(zone_axis), 12.0)


@pytest.mark.parametrize("zone_axis", ["110", "100", "111", "211"])
@pytest.mark.parametrize("atoms_high", [3, 5])
def test_slab_has_the_same_count_everywhere(zone_axis: str, atoms_high: int) -> None:
    """Columns at the rim may lose atoms with too few neighbours; the ones inside may not."""
    columns = build_particle(slab(zone_axis, atoms_high)).columns
    inside = np.hypot(columns["y_A"], columns["x_A"]) < 9.0
    assert inside.sum() > 20
    assert set(columns["count"][inside]) == {atoms_high}


@pytest.mark.parametrize(
    ("zone_axis", "distance_A"), [("110", 3.313), ("100", 2.706), ("111", 2.209), ("211", 1.913)]
)
def test_columns_are_as_far_apart_as_the_projected_lattice(zone_axis: str, distance_A: float) -> None:
    columns = build_particle(slab(zone_axis, 4)).columns
    places = np.stack([columns["y_A"], columns["x_A"]], axis=-1)
    inside = np.hypot(*places.T) < 9.0  # at the rim a neighbour may be missing
    distances, _ = cKDTree(places).query(places[inside], k=2)
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
    near = cKDTree(cerium).query_ball_point(oxygen, CERIA.oxygen_bond_A, return_length=True)
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
    assert 0 < moved.max() < 0.5 * 6 * CERIA.period_A("110") * np.sin(np.deg2rad(1.0)) + 0.01


@pytest.mark.parametrize(
    ("zone_axis", "period_A"), [("110", 3.826), ("100", 5.411), ("111", 9.372), ("211", 6.627)]
)
def test_columns_are_straight_evenly_spaced_and_as_dense_as_the_crystal(
    zone_axis: str, period_A: float
) -> None:
    """Every column's atoms share x and y and are one lattice vector apart; density: four cerium in a cell."""
    particle = build_particle(replace(slab(zone_axis, 5), rotation_deg=0.0))
    cerium = particle.atoms.positions[particle.atoms.numbers == 58]
    places = np.stack([particle.columns["x_A"], particle.columns["y_A"]], axis=-1)
    distance, column = cKDTree(places).query(cerium[:, :2])
    assert distance.max() < 1e-4
    assert np.array_equal(np.bincount(column), particle.columns["count"])
    tall = np.flatnonzero(particle.columns["count"] == 5)
    for one in tall[:10]:
        assert np.diff(np.sort(cerium[column == one, 2])) == pytest.approx([period_A] * 4, abs=2e-3)
    inside = (np.hypot(*places.T) < 9.0).sum()
    area_A2 = CERIA.lattice_constant_A**3 / 4 / period_A
    assert inside == pytest.approx(np.pi * 9.0**2 / area_A2, rel=0.1)


@pytest.mark.parametrize("zone_axis", ["110", "100", "111", "211"])
def test_axes_are_right_handed_and_the_third_is_the_beam(zone_axis: str) -> None:
    rows = ZONE_AXES[zone_axis]
    assert rows @ rows.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rows) == pytest.approx(1.0)
    indices = np.array([int(digit) for digit in zone_axis])
    assert rows[2] == pytest.approx(indices / np.linalg.norm(indices))


def test_another_axis_or_tilt_is_built_only_when_asked_for_and_changes_nothing_else() -> None:
    drawn = draw_settings(7)
    assert drawn.zone_axis in ("110", "100")
    assert draw_settings(7, zone_axis=drawn.zone_axis) == drawn
    other = draw_settings(7, zone_axis="211")
    assert (other.zone_axis, other.radius_A, other.tilt_x_deg) == ("211", drawn.radius_A, drawn.tilt_x_deg)
    tilted = with_tilt(drawn, 4.0)
    assert np.hypot(tilted.tilt_x_deg, tilted.tilt_y_deg) == pytest.approx(4.0)
    assert tilted.tilt_x_deg * drawn.tilt_y_deg == pytest.approx(tilted.tilt_y_deg * drawn.tilt_x_deg)
    assert replace(tilted, tilt_x_deg=drawn.tilt_x_deg, tilt_y_deg=drawn.tilt_y_deg) == drawn
