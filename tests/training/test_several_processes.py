"""A run of several processes, as torchrun starts them: one checkpoint, one curve, the work of all in it."""

import csv
import sys
from pathlib import Path
from subprocess import run

import h5py
import numpy as np
import pytest
import torch

from simulator.dataset import DatasetConfig, create
from simulator.multislice import MultisliceSettings
from simulator.structures import COLUMN_DTYPE
from simulator.waves import pack
from training.checkpoint import load_checkpoint
from training.place import Place, on_device
from training.train import Batch

PIXELS = 96
STEPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 30 made-up particles of one column each."""
    path = tmp_path_factory.mktemp("data") / "set.h5"
    pixel = np.arange(PIXELS) - 48
    peak = np.exp(-(pixel[:, None] ** 2 + pixel**2) / 8.0)
    columns = np.zeros(448, COLUMN_DTYPE)
    columns[0] = (9.6, 9.6, 3, 1)
    with h5py.File(path, "w") as file:
        create(file, DatasetConfig(particles=30, multislice=MultisliceSettings(pixels=PIXELS, phonons=1)))
        for index in range(30):
            file["waves"][index] = pack(np.exp(1j * peak)[None].astype(np.complex64))
            file["columns"][index] = columns
        file["done"][:] = True
    return path


def trained(data: Path, out: Path, processes: int) -> Path:
    """Train by the command line; returns the checkpoint."""
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    command = ["-m", "pipeline.cli", "train", "--data", str(data), "--out", str(out), "--threads", "1"]
    options = ["--steps", str(STEPS), "--widths", "8,8,8"]
    done = run([*start, *command, *options], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("trained weights in") == 1
    return out / "last.pt"


def test_two_processes_average_their_gradients_and_the_first_one_saves(data: Path, tmp_path: Path) -> None:
    one, two = (load_checkpoint(trained(data, tmp_path / str(n), n)) for n in (1, 2))
    assert one.step == two.step == STEPS
    with (tmp_path / "2" / "curve.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [STEPS]
    stem = "trunk.stem.weight"
    assert not torch.equal(one.weights[stem], two.weights[stem])  # the second process's batches count
    assert torch.allclose(one.weights[stem], two.weights[stem], atol=0.05)  # and both began alike


def test_the_first_process_draws_what_a_run_of_one_does() -> None:
    alone, first, second = (
        Place(torch.device("cpu"), rank, world) for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    assert alone.seeds(3, 500) == first.seeds(3, 500) == [3, 500]
    assert second.seeds(3, 500) == [3, 500, 1]
    assert first.is_first
    assert not second.is_first


def test_a_batch_goes_to_the_device_with_all_its_tensors() -> None:
    batch = Batch(*(torch.zeros(1, 1, 4, 4) for _ in range(4)))
    there = on_device(batch, torch.device("meta"))
    assert {t.device.type for t in (there.frames, there.clean, there.column, there.count)} == {"meta"}
    assert on_device(batch, torch.device("cpu")) is batch
