"""The shipped states of one particle, of each material."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from scipy.spatial import cKDTree

from simulator.demo_states import FILES, MATERIALS, load_states
from simulator.optics import Optics, image_intensity
from simulator.structures import MAX_COUNT

of_each_material = pytest.mark.parametrize("material", MATERIALS)


@of_each_material
def test_states_change_by_single_atoms_of_few_columns(material: str) -> None:
    states = load_states(material)
    assert states.waves.shape[0] >= 16
    counts = [dict(zip(c["column_id"], c["count"], strict=True)) for c in map(states.columns_of, range(16))]
    for before, after in pairwise(counts):
        changes = [int(after.get(i, 0)) - int(before.get(i, 0)) for i in before.keys() | after.keys()]
        changed = [change for change in changes if change]
        assert 1 <= len(changed) <= 6
        assert sum(map(abs, changed)) <= 6


@of_each_material
def test_columns_are_bright_at_their_places_and_the_border_is_vacuum(material: str) -> None:
    states = load_states(material)
    image = image_intensity(states.waves[0], states.pixel_size_A, Optics(), np)
    columns = states.columns_of(0)
    y, x = (np.rint(columns[name] / states.pixel_size_A).astype(int) for name in ("y_A", "x_A"))
    assert np.median(image[y, x]) > 1.5
    assert image[:4].mean() == pytest.approx(1.0, abs=0.02)
    assert image.mean() == pytest.approx(1.0, abs=0.02)


@of_each_material
def test_the_file_holds_the_particle_that_its_program_builds(material: str) -> None:
    make = pytest.importorskip("simulator.make_demo_states")
    settings = make.demo_settings(material)
    rows = make.all_rows(make.make_particles(settings), make.grid_of(material))
    with h5py.File(FILES[material]) as file:
        assert file.attrs["settings"] == settings.as_json()
        np.testing.assert_array_equal(file["columns"][:], rows)


@of_each_material
def test_the_thin_side_has_columns_of_one_atom_and_none_is_too_tall(material: str) -> None:
    counts = load_states(material).columns["count"]
    assert counts.min() == 1
    assert 8 <= counts.max() < MAX_COUNT


@pytest.mark.parametrize(("material", "lattice_constant_A"), [("ceria", 5.411), ("gold-columns", 4.078)])
def test_columns_are_as_far_apart_as_the_crystal_says(material: str, lattice_constant_A: float) -> None:
    """Along [110] the nearest column of a face-centred lattice is √3/√8 of its constant away."""
    columns = load_states(material).columns_of(0)
    places_A = np.stack([columns["y_A"], columns["x_A"]], axis=-1)
    nearest_A = cKDTree(places_A).query(places_A, k=2)[0][:, 1]
    assert np.median(nearest_A) == pytest.approx(lattice_constant_A * np.sqrt(3 / 8), rel=0.02)


@of_each_material
def test_a_file_is_small_enough_to_ship(material: str) -> None:
    assert FILES[material].stat().st_size <= 1.5e6
