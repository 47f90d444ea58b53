"""The data set: fixed splits, truth in place, and a run that goes on where it stopped."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tqdm import tqdm

from simulator.dataset import DatasetConfig, content_hash, generate, split_of
from simulator.multislice import MultisliceSettings

TINY = DatasetConfig(
    particles=2,
    workers=1,
    seed=4,
    multislice=MultisliceSettings(oversampling=1.0, slice_thickness_A=4.0, phonons=1),
)


@pytest.fixture(autouse=True)
def _no_monitor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep progress bars from starting their watching thread, which outlives them."""
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


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


def scattered(pairs: np.ndarray) -> np.ndarray:
    """Return |ψ - 1|² of a stored wave, shape (h, w)."""
    wave = pairs[0].astype(np.float32)
    return (wave[..., 0] - 1) ** 2 + wave[..., 1] ** 2


def test_split_depends_on_the_index_alone_and_parts_do_not_overlap() -> None:
    config = DatasetConfig()
    split = split_of(np.arange(1000), config)
    assert np.array_equal(split[:300], split_of(np.arange(300), replace(config, particles=300)))
    assert np.bincount(split).tolist() == [910, 40, 50]
