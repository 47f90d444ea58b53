"""Filling a data set: the same rows from this process, from others and from a Dask cluster, in any order."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.cli import main
from pipeline.cluster import open_processes
from simulator.dataset import DatasetConfig, create, generate, material_of
from simulator.multislice import MultisliceSettings
from simulator.wave_file import Row, computed, finished_rows, opened
from streamer.errors import RunError, UsageError

ROOT = Path(__file__).parents[2]
TINY = DatasetConfig(
    particles=3, workers=1, seed=4, multislice=MultisliceSettings(oversampling=1.0, slice_thickness_A=6.0)
)


def contents(path: Path) -> dict[str, Any]:
    """Return all that a data set holds."""
    found: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        found[name] = item.asstr()[:].tolist() if name == "settings" else item[:].tobytes()

    with h5py.File(path) as file:
        file.visititems(take)
        return {**found, **{name: repr(value) for name, value in file.attrs.items()}}


def on_a_cluster(out: Path) -> dict[str, Any]:
    """Go on with a data set on a Dask cluster, all of it in another process, where Dask's threads stay."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.simulator.on_a_cluster", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_file_whose_creation_was_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ceria.h5"
    with h5py.File(path, "w") as file:
        file["done"] = np.zeros(2, bool)
    with pytest.raises(ValueError, match=r"ceria.h5 is no data set, or its creation was cut off; delete it"):
        generate(DatasetConfig(out=str(path), particles=2))


def test_a_cluster_goes_on_with_a_file_and_computes_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """In another process: FFTW's plans must not depend on what is fast there and then."""
    here = generate(replace(TINY, out=str(tmp_path / "here.h5")))
    there = generate(replace(TINY, out=str(tmp_path / "there.h5")))
    with h5py.File(there, "r+") as file:
        for index in (0, 2):
            file["waves"][index], file["columns"][index], file["done"][index] = 0, np.zeros(1), False
    assert contents(there) != contents(here)
    answer = on_a_cluster(there)
    assert contents(there) == contents(here)
    assert answer["submitted"] == [0, 2]
    assert answer["raised"] == "no particle"
    nobody, nonsense = answer["refused"]
    assert "no Dask scheduler answers at tcp://127.0.0.1:9 within 0.3 s" in nobody[1]
    assert "expected tcp://HOST:PORT" in nonsense[1]
    assert [(status, said.count("\n")) for status, said in (nobody, nonsense)] == [(1, 1), (2, 1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.h5", "there.h5"]


class Backwards:
    """A pool whose calls end in the opposite order; notes how many were under way."""

    n_workers, n_ahead = 2, 3

    def __init__(self) -> None:
        self.most = 0

    def submit(self, function: Any, *args: Any) -> Any:
        return lambda: function(*args)

    def first_done(self, places: list[Any]) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(places))
        return places[-1:], places[:-1]

    def result(self, place: Any) -> Any:
        return place()


def numbered(index: int, config: DatasetConfig) -> Row:
    return {"index": index}


def test_few_are_under_way_and_every_one_comes_whatever_the_order() -> None:
    pool = Backwards()
    rows = [row["index"] for row in computed(range(10), numbered, TINY, pool)]
    assert sorted(rows) == list(range(10))
    assert rows != list(range(10))
    assert pool.most == 3


def fails_at_two(index: int, config: DatasetConfig) -> Row:
    if index == 2:
        raise RunError("no particle")
    return {"index": index}


def test_what_a_call_raises_is_raised_and_what_came_before_is_kept() -> None:
    rows = []
    with open_processes(1) as pool, pytest.raises(RunError, match="no particle"):
        rows.extend(row["index"] for row in computed(range(8), fails_at_two, TINY, pool))
    assert rows == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "and no --scheduler, which has its own"),
        (["--workers", "-1"], "--workers -1: expected 0 or more"),
    ],
)
def test_wrong_options_are_said_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--dataset", str(tmp_path / "set.h5"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error


def spoilt(path: Path, how: str) -> None:
    """Put something in the place of a data set that was begun."""
    if how == "text":
        path.write_text("particle, height\n")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "of something else":
        path.unlink()
        with h5py.File(path, "w") as file:
            file["frames"] = np.zeros(3)
    else:
        with h5py.File(path, "a") as file:
            del file["columns"]


@pytest.mark.parametrize("verb", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("text", r"cannot be opened \(.*signature not found.*\): delete it, and compute it anew"),
        ("cut", r"cannot be opened \(.*truncated file.*\): delete it, and compute it anew"),
        ("of something else", "is no data set, or its creation was cut off"),
        ("lacking something", r"is damaged, or a data set of another kind: .*'columns' doesn't exist\)"),
    ],
)
def test_what_is_no_whole_data_set_is_refused_in_one_line(
    verb: str, how: str, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ceria.h5"
    with h5py.File(path, "w") as file:
        create(file, TINY)
        file["done"][:] = True
    spoilt(path, how)
    assert main([verb, "--data", str(path), "--out", str(tmp_path / "out")]) == 2
    line = capfd.readouterr().err.strip()
    assert re.fullmatch(f"atomstream: {re.escape(str(path))} {reason}", line)


def test_a_data_set_that_is_being_computed_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "ceria.h5"
    with h5py.File(path, "w") as file:
        create(file, TINY)
    writing = [
        sys.executable,
        "-c",
        f"import h5py; f = h5py.File({str(path)!r}, 'a'); print(1, flush=True); input()",
    ]
    with subprocess.Popen(writing, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError, match=r"ceria.h5 is being written by another process"):
            material_of(path)
        other.communicate(b"\n")
    assert material_of(path) == "ceria"


def test_a_split_of_which_nothing_is_computed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ceria.h5"
    with h5py.File(path, "w") as file:
        create(file, TINY)
    with opened(path) as file, pytest.raises(UsageError, match=r"ceria.h5 holds no particle for train yet"):
        finished_rows(file, "train")
