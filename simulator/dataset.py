"""Exit waves and truth of many ceria particles, in one HDF5 file.

The file is what the networks are trained and judged on. Optics, dose and noise are not in it: they are drawn
afresh for every training step. Particle *i* follows from ``(seed, i)`` alone, and whether it belongs to
training, validation or test is decided by *i* before anything is computed, so no image of a test particle can
reach the training. An interrupted run goes on where it stopped.

Layout (N particles, P waves a particle, M rows for columns, the rest of which have ``count`` 0):

=================  ====================  ============================================================
path               shape, type           content
=================  ====================  ============================================================
``/waves``         (N, P, h, w, 2) f2    real and imaginary part, incident wave 1; axes (…, y, x)
``/columns``       (N, M) compound       ``y_A, x_A`` [Å] from the field's top left pixel centre, ``count``,
                                         ``column_id``
``/split``         (N,) u1               0 training, 1 validation, 2 test
``/settings``      (N,) string           the particle's settings as JSON
``/done``          (N,) bool             computed so far
=================  ====================  ============================================================

Attributes: ``pixel_size_A``, ``energy_eV``, ``config`` (JSON).
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import abtem
import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from simulator.multislice import ENERGY_EV, MultisliceSettings, exit_waves
from simulator.structures import COLUMN_DTYPE, Particle, build_particle, draw_settings
from simulator.waves import pack

ConfigT = TypeVar("ConfigT")
SampleT = TypeVar("SampleT")

SPLITS = ("train", "validation", "test")
MAX_COLUMNS = 448


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """What to compute: number of particles, seed, where to, and with how many processes."""

    out: str = "data/ceria.h5"
    particles: int = 1100
    seed: int = 11
    workers: int = 2
    validation_every: int = 25
    test_every: int = 20
    multislice: MultisliceSettings = field(default_factory=MultisliceSettings)


@dataclass(frozen=True, slots=True)
class Sample:
    """One particle as stored: waves (P, h, w, 2) float16, columns (M,), settings as JSON."""

    index: int
    waves: NDArray[np.float16]
    columns: NDArray[np.void]
    settings: str


def generate(config: DatasetConfig) -> Path:
    """Compute (or go on computing) the data set of a configuration; returns the file's path."""
    path = Path(config.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        if "done" not in file:
            create(file, config)
        require_same_config(file, config)
        missing = [int(i) for i in np.flatnonzero(~file["done"][:])]
        done = config.particles - len(missing)
        with tqdm(total=config.particles, initial=done, unit="particle", disable=None) as progress:
            for sample in compute(missing, compute_one, config, config.workers):
                store(file, sample)
                progress.update()
    return path


def create(file: h5py.File, config: DatasetConfig) -> None:
    """Create the empty datasets and fix the split."""
    n, ms = config.particles, config.multislice
    shape = (n, max(1, ms.phonons), ms.pixels, ms.pixels, 2)
    file.create_dataset("waves", shape, np.float16, chunks=(1, *shape[1:]))
    file.create_dataset("columns", (n, MAX_COLUMNS), COLUMN_DTYPE, chunks=(1, MAX_COLUMNS))
    file.create_dataset("split", data=split_of(np.arange(n), config))
    file.create_dataset("settings", (n,), h5py.string_dtype())
    file.create_dataset("done", data=np.zeros(n, bool))
    file.attrs["pixel_size_A"] = ms.pixel_size_A
    file.attrs["energy_eV"] = ENERGY_EV
    file.attrs["config"] = identity(config)


def split_of(indices: NDArray[np.intp], config: DatasetConfig) -> NDArray[np.uint8]:
    """Return 0, 1 or 2 (training, validation, test) for particle indices."""
    split = np.zeros(len(indices), np.uint8)
    split[indices % config.validation_every == 1] = 1
    split[indices % config.test_every == 0] = 2
    return split


def identity(config: Any) -> str:
    """Return what determines a file's content, as JSON: all settings but the path and the processes."""
    values = asdict(config)
    del values["out"], values["workers"]
    return json.dumps(values, sort_keys=True)


def require_same_config(file: h5py.File, config: Any) -> None:
    """Refuse to go on with a file of another configuration."""
    if file.attrs["config"] != identity(config):
        raise ValueError(
            f"{file.filename} was computed with {file.attrs['config']}, but {identity(config)} is asked for; "
            "choose another path or delete the file"
        )


def compute(
    indices: list[int], one: Callable[[int, ConfigT], SampleT], config: ConfigT, workers: int
) -> Iterator[SampleT]:
    """Yield what a function of the module's top level makes of each index, in any order."""
    if workers <= 1:
        yield from (one(i, config) for i in indices)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        queue = iter(indices)
        pending = {pool.submit(one, index, config) for index in islice(queue, 4 * workers)}
        while pending:  # few at a time, so that waiting results stay few
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= {pool.submit(one, index, config) for index in islice(queue, len(done))}
            yield from (future.result() for future in done)


def compute_one(index: int, config: DatasetConfig) -> Sample:
    """Build one particle and compute its exit waves."""
    abtem.config.set({"diagnostics.progress_bar": False})
    particle = build_nonempty(config.seed, index)
    waves = pack(exit_waves(particle.atoms, config.multislice, particle.settings.seed))
    columns = np.zeros(MAX_COLUMNS, COLUMN_DTYPE)
    columns[: len(particle.columns)] = in_field(particle.columns, config.multislice)
    return Sample(index, waves, columns, json.dumps(asdict(particle.settings)))


def build_nonempty(seed: int, index: int) -> Particle:
    """Build the first drawn particle of at least ten columns, of those that ``(seed, index)`` names."""
    for attempt in range(100):
        drawn = int(np.random.SeedSequence([seed, index, attempt]).generate_state(1)[0])
        particle = build_particle(draw_settings(drawn))
        if len(particle.columns) >= 10:
            return particle
    raise RuntimeError(f"no particle of ten columns in 100 draws of seed {seed}, index {index}")


def in_field(columns: NDArray[np.void], settings: MultisliceSettings) -> NDArray[np.void]:
    """Move columns from the particle's origin to the field's: [Å] from the centre of the top left pixel."""
    moved = columns.copy()
    centre_A = (settings.pixels // 2) * settings.pixel_size_A
    moved["y_A"] += centre_A
    moved["x_A"] += centre_A
    return moved


def store(file: h5py.File, sample: Sample) -> None:
    """Write one sample and flush: even a kill costs at most the one that is being written."""
    file["waves"][sample.index] = sample.waves
    file["columns"][sample.index] = sample.columns
    file["settings"][sample.index] = sample.settings
    file["done"][sample.index] = True
    file.flush()


def content_hash(path: Path) -> str:
    """Return the SHA-256 of the configuration and of all truth: names the data a network was trained on."""
    with h5py.File(path, "r") as file:
        digest = hashlib.sha256(str(file.attrs["config"]).encode())
        columns = file["columns"][:]
        for name in ("y_A", "x_A", "count"):
            digest.update(np.ascontiguousarray(columns[name]).tobytes())
        digest.update(file["split"][:].tobytes())
    return digest.hexdigest()
