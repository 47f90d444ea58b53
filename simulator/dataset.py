"""Exit waves and truth of many ceria particles, in one HDF5 file.

The file is what the networks are trained and judged on. Optics, dose and noise are not in it: they are drawn
afresh for every training step. How it is filled, and what one can rely on: ``simulator/wave_file.py``.

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
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.cluster import Pool
from simulator import wave_file
from simulator.multislice import MultisliceSettings, exit_waves
from simulator.structures import COLUMN_DTYPE, Particle, ParticleSettings, build_particle, draw_settings
from simulator.wave_file import Kind, Row, WaveFileConfig, create_waves, describe, split_of
from simulator.waves import pack

MAX_COLUMNS = 448


@dataclass(frozen=True, slots=True)
class DatasetConfig(WaveFileConfig):
    """A data set of ceria."""

    out: str = "data/ceria.h5"
    particles: int = 1100
    seed: int = 11
    workers: int = 2
    validation_every: int = 25
    test_every: int = 20
    multislice: MultisliceSettings = field(default_factory=MultisliceSettings)


def generate(config: DatasetConfig, pool: Pool | None = None) -> Path:
    """Compute (or go on computing) the data set of a configuration; returns the file's path."""
    return wave_file.generate(config, create, {"/": Kind(compute_particle, "particle")}, pool)


def create(file: h5py.File, config: DatasetConfig) -> None:
    """Create the empty datasets and fix the split."""
    n, ms = config.particles, config.multislice
    create_waves(file, n, (max(1, ms.phonons), ms.pixels, ms.pixels, 2))
    file.create_dataset("columns", (n, MAX_COLUMNS), COLUMN_DTYPE, chunks=(1, MAX_COLUMNS))
    file.create_dataset("split", data=split_of(np.arange(n), config))
    file.create_dataset("settings", (n,), h5py.string_dtype())
    describe(file, config, ms.pixel_size_A)


def compute_particle(index: int, config: DatasetConfig) -> Row:
    """Build one particle and compute its exit waves."""
    particle = build_nonempty(config.seed, index)
    return {
        "index": index,
        "waves": pack(exit_waves(particle.atoms, config.multislice, particle.settings.seed)),
        "columns": stored_columns(particle.columns, config.multislice),
        "settings": json.dumps(asdict(particle.settings)),
    }


def build_nonempty(
    seed: int, index: int, draw: Callable[[int], ParticleSettings] = draw_settings
) -> Particle:
    """Build the first drawn particle of at least ten columns, of those that ``(seed, index)`` names."""
    for attempt in range(100):
        drawn = int(np.random.SeedSequence([seed, index, attempt]).generate_state(1)[0])
        particle = build_particle(draw(drawn))
        if len(particle.columns) >= 10:
            return particle
    raise RuntimeError(f"no particle of ten columns in 100 draws of seed {seed}, index {index}")


def stored_columns(columns: NDArray[np.void], settings: MultisliceSettings) -> NDArray[np.void]:
    """Return columns as they are stored: moved to the field, and as many as there is room for."""
    stored = np.zeros(MAX_COLUMNS, COLUMN_DTYPE)
    stored[: len(columns)] = in_field(columns, settings)
    return stored


def in_field(columns: NDArray[np.void], settings: MultisliceSettings) -> NDArray[np.void]:
    """Move columns from the particle's origin to the field's: [Å] from the centre of the top left pixel."""
    moved = columns.copy()
    centre_A = (settings.pixels // 2) * settings.pixel_size_A
    moved["y_A"] += centre_A
    moved["x_A"] += centre_A
    return moved


def content_hash(path: Path) -> str:
    """Return the SHA-256 of the configuration and of all truth: names the data a network was trained on."""
    return wave_file.hash_of(path, _truth)


def _truth(file: h5py.File) -> Iterator[NDArray[Any]]:
    columns = file["columns"][:]
    yield from (columns[name] for name in ("y_A", "x_A", "count"))
    yield file["split"][:]
