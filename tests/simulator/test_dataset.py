"""The data set: fixed splits, truth in place, and a run that goes on where it stopped."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from simulator.dataset import (
    DatasetConfig,
    TiltsAndFilms,
    build_nonempty,
    content_hash,
    generate,
    particle_of,
)
from simulator.multislice import MultisliceSettings
from simulator.structures import ParticleSettings
from simulator.wave_file import identity, split_of

TINY = DatasetConfig(
    particles=2,
    workers=1,
    seed=4,
    multislice=MultisliceSettings(oversampling=1.0, slice_thickness_A=4.0, phonons=1),
)


def test_generates_resumes_and_refuses_another_configuration(tmp_path: Path) -> None:
    config = replace(TINY, out=str(tmp_path / "set.h5"))
    path = generate(config)
    with h5py.File(path, "r+") as file:
        assert file["done"][:].all()
        first = file["waves"][1]
        columns = file["columns"][1]
        file["waves"][1], file["done"][1] = 0, False
    before = content_hash(path)
    generate(config)
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["waves"][1], first)
    assert content_hash(path) == before
    with pytest.raises(ValueError, match="choose another path"):
        generate(replace(config, seed=5))
    real = columns[columns["count"] > 0]
    at_columns = scattered(first)[
        np.rint(real["y_A"] / 0.2).astype(int), np.rint(real["x_A"] / 0.2).astype(int)
    ]
    assert at_columns.mean() > 10 * scattered(first).mean()


def test_files_that_exist_are_gone_on_with() -> None:
    """What a file's attribute holds since the first data set; another text would refuse all of them."""
    assert identity(DatasetConfig()) == (
        '{"multislice": {"oversampling": 1.6666666666666667, "phonons": 0, "pixel_size_A": 0.2, '
        '"pixels": 288, "slice_thickness_A": 1.4}, "particles": 1100, "seed": 11, "test_every": 20, '
        '"validation_every": 25}'
    )
    assert identity(replace(DatasetConfig(), out="x.h5", workers=9)) == identity(DatasetConfig())


def test_the_particles_of_the_shipped_networks_data_are_still_drawn() -> None:
    """Seed, axis, atoms and cerium atoms of the first particles of ``--seed 11``, as they were trained on."""
    drawn = [build_nonempty(11, index) for index in (0, 2, 7)]
    found = [
        (p.settings.seed, p.settings.zone_axis, len(p.atoms), int(p.columns["count"].sum())) for p in drawn
    ]
    assert found == [
        (1926383459, "110", 1268, 415),
        (621272063, "100", 3326, 1081),
        (963745374, "100", 1628, 526),
    ]
    assert drawn[1].settings.rotation_deg == pytest.approx(207.20355621046292)
    assert drawn[1].columns["column_id"].sum() == 113684787


def test_the_test_split_is_spared_the_tilts_and_a_share_of_the_others_is_not() -> None:
    usual = replace(DatasetConfig(), particles=100)
    harder = replace(usual, harder=TiltsAndFilms())
    indices = [i for i in range(0, 60) if i % 20 == 0 or i % 3 == 0]
    tilts = {i: [tilt_deg(particle_of(i, config).settings) for config in (usual, harder)] for i in indices}
    assert all(first == second for i, (first, second) in tilts.items() if i % 20 == 0)
    changed = [pair for pair in tilts.values() if pair[0] != pair[1]]
    assert 2 <= len(changed) <= 12
    assert all(first <= 1.0 < second <= 4.0 for first, second in changed)


def test_films_and_heights_are_stored_where_they_are_asked_for(tmp_path: Path) -> None:
    harder = TiltsAndFilms(films=1, film_A=(6.0, 6.5))
    path = generate(replace(TINY, out=str(tmp_path / "set.h5"), particles=1, harder=harder))
    with h5py.File(path, "r") as file:
        assert file["carbon/done"][:].all()
        assert 6.0 <= file["carbon/thickness_A"][0] <= 6.5
        assert file["carbon/waves"].shape == (1, 288, 288, 2)
        tallest = file["columns"]["count"].max()
        assert 0.8 * (tallest - 1) * 3.8 < file["height_A"][0] < 60.0
    with pytest.raises(ValueError, match="choose another path"):
        generate(replace(TINY, out=str(path), particles=1))


def tilt_deg(settings: ParticleSettings) -> float:
    """Return the angle between the beam and the zone axis, to a thousandth."""
    return round(float(np.hypot(settings.tilt_x_deg, settings.tilt_y_deg)), 3)


def scattered(pairs: np.ndarray) -> np.ndarray:
    """Return |ψ - 1|² of a stored wave, shape (h, w)."""
    wave = pairs[0].astype(np.float32)
    return (wave[..., 0] - 1) ** 2 + wave[..., 1] ** 2


def test_split_depends_on_the_index_alone_and_parts_do_not_overlap() -> None:
    config = DatasetConfig()
    split = split_of(np.arange(1000), config)
    assert np.array_equal(split[:300], split_of(np.arange(300), replace(config, particles=300)))
    assert np.bincount(split).tolist() == [910, 40, 50]
