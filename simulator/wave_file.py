"""What data sets of exit waves have in common, whatever the material: an HDF5 file that is filled row by row.

A file has rows, one a particle (or membrane), in one or more groups, each with ``waves``, ``done`` and what
else is stored of it. Row *i* follows from ``(seed, i)`` alone, and whether it belongs to training, validation
or test is decided by *i* before anything is computed, so no image of a test particle can reach the training.
Rows are computed in any order, by whatever takes calls (`pipeline.cluster.Pool`), some ahead of being
written; an interrupted run goes on where it stopped. The file is the same to the last bit, whoever computes
it on machines of one kind, and however often it is interrupted.

Attributes of a file: ``pixel_size_A``, ``energy_eV``, ``config`` (JSON, :func:`identity`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.cluster import Pool, open_processes
from simulator.multislice import ENERGY_EV
from streamer.errors import UsageError

SPLITS = ("train", "validation", "test")

Row = dict[str, Any]
"""What is stored of one particle or membrane, by dataset; ``index`` says where."""


@dataclass(frozen=True, slots=True)
class WaveFileConfig:
    """What to compute: number of particles, seed, where to, and with how many processes."""

    out: str
    particles: int
    seed: int
    workers: int
    validation_every: int
    test_every: int


ConfigT = TypeVar("ConfigT", bound=WaveFileConfig)


@dataclass(frozen=True, slots=True)
class Kind(Generic[ConfigT]):
    """Rows of one kind: a function of the module's top level that computes one, and the rows' name."""

    compute: Callable[[int, ConfigT], Row]
    unit: str


def generate(
    config: ConfigT,
    create: Callable[[h5py.File, ConfigT], None],
    kinds: Mapping[str, Kind[ConfigT]],
    pool: Pool | None,
) -> Path:
    """Compute (or go on computing) a data set.

    Parameters
    ----------
    config
        The data set's configuration.
    create
        Makes the empty datasets in a new file.
    kinds
        What is computed, by group and in this order.
    pool
        Does the work; None: ``config.workers`` processes of this machine.

    Returns
    -------
    The file's path.

    Raises
    ------
    ValueError
        If the file was computed with another configuration, or is no data set.
    UsageError
        If it cannot be opened, as it is damaged or another process writes it.
    """
    path = Path(config.out)
    with _opened_as(path, "a") as file:
        if len(file) == 0:
            create(file, config)
        require_same_config(file, config)
        with open_processes(config.workers) if pool is None else nullcontext(pool) as opened:
            for name, kind in kinds.items():
                fill(file[name], kind, config, opened)
    return path


def create_waves(group: h5py.Group, count: int, shape: tuple[int, ...]) -> None:
    """Create the datasets of waves and of what is done."""
    group.create_dataset("waves", (count, *shape), np.float16, chunks=(1, *shape))
    group.create_dataset("done", data=np.zeros(count, bool))


def describe(file: h5py.File, config: WaveFileConfig, pixel_size_A: float) -> None:
    """Write the file's attributes."""
    file.attrs["pixel_size_A"] = pixel_size_A
    file.attrs["energy_eV"] = ENERGY_EV
    file.attrs["config"] = identity(config)


def split_of(indices: NDArray[np.intp], config: WaveFileConfig) -> NDArray[np.uint8]:
    """Return 0, 1 or 2 (training, validation, test) for the indices of particles, or of groups of them."""
    split = np.zeros(len(indices), np.uint8)
    split[indices % config.validation_every == 1] = 1
    split[indices % config.test_every == 0] = 2
    return split


def identity(config: WaveFileConfig) -> str:
    """Return what determines a file's content, as JSON: all settings but the path and the processes.

    What is None was not asked for, and is left out: files from before there was such a setting stay valid.
    """
    values = {name: value for name, value in asdict(config).items() if value is not None}
    del values["out"], values["workers"]
    return json.dumps(values, sort_keys=True)


def require_same_config(file: h5py.File, config: WaveFileConfig) -> None:
    """Refuse to go on with a file of another configuration, or one that was not created to its end."""
    if "config" not in file.attrs:  # which is written last
        raise ValueError(f"{file.filename} is no data set, or its creation was cut off; delete it")
    if file.attrs["config"] != identity(config):
        raise ValueError(
            f"{file.filename} was computed with {file.attrs['config']}, but {identity(config)} is asked for; "
            "choose another path or delete the file"
        )


def fill(group: h5py.Group, kind: Kind[ConfigT], config: ConfigT, pool: Pool) -> None:
    """Compute what a group lacks; flush each row, so that a kill costs no more than what is under way."""
    done = group["done"][:]
    missing = [int(i) for i in np.flatnonzero(~done)]
    with tqdm(total=len(done), initial=int(done.sum()), unit=kind.unit, disable=None) as progress:
        for row in computed(missing, kind.compute, config, pool):
            store(group, row)
            progress.update()


def computed(
    indices: Iterable[int], compute: Callable[[int, ConfigT], Row], config: ConfigT, pool: Pool
) -> Iterator[Row]:
    """Yield the rows of some indices, in any order; `pool.n_ahead` are under way at most."""
    waiting: list[Any] = []
    for index in indices:
        waiting.append(pool.submit(compute, index, config))
        if len(waiting) >= pool.n_ahead:
            ready, waiting = pool.first_done(waiting)
            yield from (pool.result(place) for place in ready)
    while waiting:
        ready, waiting = pool.first_done(waiting)
        yield from (pool.result(place) for place in ready)


def store(group: h5py.Group, row: Row) -> None:
    """Write one row, mark it as done and flush."""
    index = row["index"]
    for name, value in row.items():
        if name != "index":
            group[name][index] = value
    group["done"][index] = True
    group.file.flush()


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a data set to read from it.

    Raises
    ------
    UsageError
        If there is none, or it is none; if another process writes it; if something in it cannot be read.
    """
    with _opened_as(path, "r") as file:
        if "config" not in file.attrs:
            raise UsageError(f"{path} is no data set, or its creation was cut off")
        try:
            yield file
        except (KeyError, OSError) as error:
            reason = " ".join(str(error.args[0]).split())
            raise UsageError(f"{path} is damaged, or a data set of another kind: {reason}") from error


def _opened_as(path: Path, mode: str) -> h5py.File:
    try:
        if mode == "a":
            path.parent.mkdir(parents=True, exist_ok=True)
        return h5py.File(path, mode)
    except OSError as error:
        if "unable to lock file" in str(error):  # with another errno, and class, on each system
            raise UsageError(f"{path} is being written by another process; wait for its end") from error
        advice = "delete it, and compute it anew" if path.is_file() else "check the path"
        raise UsageError(f"{path} cannot be opened ({error}): {advice}") from error


def finished_rows(file: h5py.File, split: str) -> NDArray[np.intp]:
    """Return the indices of a split's particles that are computed.

    Raises
    ------
    UsageError
        If there are none yet.
    """
    rows = rows_of(file, split)
    if not len(rows):
        raise UsageError(f"{file.filename} holds no particle for {split} yet: let simulate finish it")
    return rows


def rows_of(group: h5py.Group, split: str) -> NDArray[np.intp]:
    """Return the indices of a split that are computed."""
    return np.flatnonzero((group["split"][:] == SPLITS.index(split)) & group["done"][:])


def read_rows(dataset: h5py.Dataset, rows: NDArray[np.intp]) -> NDArray[np.float16]:
    """Read some rows, one at a time (a selection of many is slow in HDF5)."""
    values = np.empty((len(rows), *dataset.shape[1:]), np.float16)
    for place, row in enumerate(rows):
        values[place] = dataset[row]
    return values


def hash_of(path: Path, contents: Callable[[h5py.File], Iterable[NDArray[Any]]]) -> str:
    """Return the SHA-256 of the configuration and of some arrays: names the data a network was trained on."""
    with opened(path) as file:
        digest = hashlib.sha256(str(file.attrs["config"]).encode())
        for array in contents(file):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
