"""Gold's columns: the truth is what the atoms say, the lattice is the one that ASE builds."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, surface
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simulator.crystals import CRYSTALS, crystal_of
from simulator.dataset import build_nonempty, config_for, particle_of
from simulator.structures import (
    MAX_COUNT,
    Particle,
    ParticleSettings,
    build_particle,
    draw_settings,
    without_too_high,
)
from simulator.wave_file import identity
from tests.simulator.test_structures import upright_slab

GOLD_A = 4.078
PERIODS_A = {"110": 2.8836, "100": 4.078}


def slab(zone_axis: str, periods: float) -> ParticleSettings:
    """Return a slab of gold, a number of periods thick."""
    return upright_slab("gold-columns", zone_axis, periods * PERIODS_A[zone_axis], 14.0)


def places(particle: Particle) -> NDArray[np.float64]:
    """Return the columns' (x, y) [Å]."""
    return np.stack([particle.columns["x_A"], particle.columns["y_A"]], axis=-1).astype(float)


def upright(particle: Particle) -> Particle:
    """Return the same atoms before tilt and rotation."""
    return build_particle(replace(particle.settings, tilt_x_deg=0.0, tilt_y_deg=0.0, rotation_deg=0.0))


def projected(positions_A: NDArray[np.float64], reach_A: float = 0.3) -> dict[tuple[float, float], int]:
    """Count upright atoms by where they project to; two closer than the reach share a column."""
    pairs = cKDTree(positions_A[:, :2]).query_ball_point(positions_A[:, :2], reach_A)
    return {tuple(positions_A[group, :2].mean(0).round(3)): len(group) for group in pairs}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_columns_are_what_the_projection_of_the_atoms_shows(seed: int) -> None:
    """Grouped by projected place alone, without the lattice that the truth is counted on."""
    drawn = build_particle(draw_settings(seed, max_radius_A=16.0, material="gold-columns"))
    particle = upright(drawn)
    counted = projected(particle.atoms.positions)
    assert sorted(counted.values()) == sorted(particle.columns["count"])
    distance_A, nearest = cKDTree(np.array(list(counted))).query(places(particle))
    assert distance_A.max() < 0.002
    assert np.array_equal(np.array(list(counted.values()))[nearest], particle.columns["count"])
    assert np.array_equal(drawn.columns["count"], particle.columns["count"])
    assert 1 <= particle.columns["count"].min() <= particle.columns["count"].max() <= MAX_COUNT
    assert set(particle.atoms.symbols) == {"Au"}


def test_a_column_is_at_its_atoms_mean_place_after_the_tilt() -> None:
    particle = build_particle(replace(slab("110", 8.0), tilt_x_deg=3.0, tilt_y_deg=-1.0))
    flat = upright(particle)
    _, column = cKDTree(places(flat)).query(flat.atoms.positions[:, :2])
    moved = particle.atoms.positions[:, :2]
    means = np.array([moved[column == one].mean(0) for one in range(len(flat.columns))])
    assert places(particle) == pytest.approx(means, abs=1e-4)
    assert np.abs(places(particle) - places(flat)).max() > 0.3


@pytest.mark.parametrize(
    ("zone_axis", "indices", "neighbours_A"),
    [("110", (1, 1, 0), [2.497] * 4 + [2.884]), ("100", (1, 0, 0), [2.039] * 4 + [2.884])],
)
def test_columns_lie_as_those_of_a_surface_that_ase_builds(
    zone_axis: str, indices: tuple[int, int, int], neighbours_A: list[float]
) -> None:
    """Along [110] a centred rectangle of a × a/√2, along [100] a square of a/2."""
    built = surface(bulk("Au", "fcc", a=GOLD_A, cubic=True), indices, 6).repeat((12, 12, 1))
    theirs = np.array(list(projected(built.positions)))
    ours = places(build_particle(slab(zone_axis, 5.0)))
    for points in (theirs, ours):
        inner = np.hypot(*(points - points.mean(0)).T) < 6.0
        distances, _ = cKDTree(points).query(points[inner], k=6)
        assert distances[:, 1:] == pytest.approx(np.tile(neighbours_A, (inner.sum(), 1)), abs=0.003)


@pytest.mark.parametrize("zone_axis", ["110", "100"])
def test_neighbouring_columns_are_half_a_period_apart_in_height(zone_axis: str) -> None:
    particle = build_particle(replace(slab(zone_axis, 6.0), rotation_deg=0.0))
    column_places = places(particle)
    _, column = cKDTree(column_places).query(particle.atoms.positions[:, :2])
    heights = [np.sort(particle.atoms.positions[column == one, 2]) for one in range(len(column_places))]
    one, neighbour = cKDTree(column_places).query(np.zeros(2), k=2)[1]
    period_A = PERIODS_A[zone_axis]
    assert np.diff(heights[one]) == pytest.approx(np.full(5, period_A), abs=0.001)
    offset = np.mod(heights[one][0] - heights[neighbour][0], period_A)
    assert offset == pytest.approx(period_A / 2, abs=0.001)


def test_no_column_is_higher_than_the_labels_go() -> None:
    """Eleven or twelve atoms in a slab; an adatom above and one below would make fourteen."""
    thick = replace(slab("110", 11.6), radius_A=20.0)
    lattice_A = np.array([[0.0, 0.0, step * PERIODS_A["110"]] for step in range(-7, 8)])
    kept = without_too_high(lattice_A, np.arange(15) < 14, replace(thick, centre_A=(0.0, 0.0, 0.0)))
    assert kept.sum() == MAX_COUNT
    assert kept[0], "the topmost leave"
    counts = build_particle(replace(thick, adatom_fraction=0.5)).columns["count"]
    assert counts.max() == MAX_COUNT
    assert (counts >= 11).mean() > 0.5


def test_the_data_set_holds_two_to_five_nm_all_counts_and_both_axes() -> None:
    config = config_for("gold-columns")
    particles = [particle_of(index, config) for index in range(40)]
    again = build_nonempty(31, 3, lambda seed: draw_settings(seed, material="gold-columns"))
    assert np.array_equal(again.atoms.positions, particles[3].atoms.positions)
    assert {p.settings.zone_axis for p in particles} == {"110", "100"}
    extents_A = [np.ptp(places(p), axis=0).max() for p in particles]
    assert 12.0 < min(extents_A) < 22.0
    assert 40.0 < max(extents_A) < 52.0
    counts = np.concatenate([p.columns["count"] for p in particles])
    shares = np.bincount(counts, minlength=13)[1:] / len(counts)
    assert len(shares) == MAX_COUNT
    assert shares[:11].min() > 0.01
    assert shares.max() < 0.2


def test_files_name_the_material_but_for_ceria() -> None:
    assert '"material": "gold-columns"' in identity(config_for("gold-columns"))
    assert "material" not in identity(config_for("ceria"))
    assert '"material": "gold-columns"' in draw_settings(1, material="gold-columns").as_json()
    assert "material" not in draw_settings(1).as_json()


def test_other_materials_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"of 'silver'; expected one of ceria, gold-columns"):
        crystal_of("silver")
    with pytest.raises(ValueError, match="silver"):
        config_for("silver")
    assert CRYSTALS["gold-columns"].metal == "Au"
