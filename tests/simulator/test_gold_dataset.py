"""Gold's data set: split before anything is computed, resumable, the same from the same seed."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from simulator.gold import SHAPES
from simulator.gold_dataset import GoldDatasetConfig, content_hash, generate, seed_of
from simulator.multislice import MultisliceSettings
from simulator.wave_file import identity, split_of

TINY = GoldDatasetConfig(
    particles=2,
    membranes=1,
    workers=1,
    seed=4,
    gold=MultisliceSettings(pixels=512, oversampling=1.0, slice_thickness_A=8.0),
    carbon=MultisliceSettings(pixels=64, oversampling=1.0, slice_thickness_A=5.0),
)


def test_generates_resumes_and_refuses_another_configuration(tmp_path: Path) -> None:
    config = replace(TINY, out=str(tmp_path / "set.h5"))
    path = generate(config)
    with h5py.File(path, "r+") as file:
        assert file["done"][:].all()
        assert file["carbon/done"][:].all()
        first, thickness = file["waves"][1], file["thickness_A"][1].astype(float)
        height = float(file["height_A"][1])
        file["waves"][1], file["done"][1] = 0, False
    before = content_hash(path)
    generate(config)
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["waves"][1], first)
    assert content_hash(path) != before  # it names what is done, too
    with pytest.raises(ValueError, match="choose another path"):
        generate(replace(config, seed=5))
    where_gold = thickness.repeat(4, 0).repeat(4, 1) > 10.0
    changed = np.hypot(first[0, ..., 0].astype(float) - 1, first[0, ..., 1].astype(float))
    assert changed[where_gold].mean() > 20 * changed[thickness.repeat(4, 0).repeat(4, 1) < 0.1].mean()
    assert 0.7 * height < thickness.max() <= 1.2 * height


def test_files_that_exist_are_gone_on_with() -> None:
    assert identity(GoldDatasetConfig()) == (
        '{"carbon": {"oversampling": 1.0, "phonons": 0, "pixel_size_A": 0.2, "pixels": 512, '
        '"slice_thickness_A": 3.0}, "gold": {"oversampling": 1.5, "phonons": 0, "pixel_size_A": 0.2, '
        '"pixels": 512, "slice_thickness_A": 2.0}, "membranes": 44, "particles": 2400, "seed": 21, '
        '"test_every": 6, "validation_every": 14}'
    )
    seeds = [seed_of(21, kind, index) for kind in (0, 1) for index in (0, 1)]
    assert seeds == [2366939832, 4024773902, 3987980942, 2914294482]


def test_whole_groups_of_shapes_go_to_one_split() -> None:
    config = GoldDatasetConfig(particles=1200)
    groups = np.arange(config.particles) // len(SHAPES)
    split = split_of(groups, config)
    assert np.array_equal(split[:600], split_of(groups[:600], replace(config, particles=600)))
    assert all(len(set(split[groups == g])) == 1 for g in np.unique(groups))
    assert np.bincount(split).tolist() == [906, 90, 204]
