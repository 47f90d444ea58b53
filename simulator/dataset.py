"""Exit waves and truth of many particles whose columns are counted, in one HDF5 file.

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
``/height_A``      (N,) f4               extent along the beam
``/carbon/waves``  (F, h, w, 2) f2       exit waves of carbon films, periodic
``/carbon/…``                            ``thickness_A`` (F,), ``split``, ``done``
=================  ====================  ============================================================

The last three are there with :class:`TiltsAndFilms` alone.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.cluster import Pool
from simulator import wave_file
from simulator.crystals import crystal_of
from simulator.films import create_films, film_wave
from simulator.multislice import MultisliceSettings, waves_in_smallest_box
from simulator.structures import (
    COLUMN_DTYPE,
    Particle,
    ParticleSettings,
    build_particle,
    draw_settings,
    with_tilt,
)
from simulator.wave_file import SPLITS, Kind, Row, WaveFileConfig, create_waves, describe, split_of
from simulator.waves import pack

MAX_COLUMNS = {"ceria": 448, "gold-columns": 640}
"""Room for the columns of a particle, by material."""
GRIDS = {
    "ceria": MultisliceSettings(),
    "gold-columns": MultisliceSettings(oversampling=3.0, slice_thickness_A=1.0),
}
"""What the waves are computed on, by material.

Gold scatters far: pictures of columns of ten atoms exactly along the beam are off by 8 to 13 % of their
contrast (6 to 10 % at 0.6° of tilt), where ceria's grid is off by 20 to 38 %. (Measured once, against 0.04 Å
and slices of 0.36 Å, at overfoci of 2, 5.5 and 9 nm; 0.05 Å and slices of 0.5 Å are off by 2 to 8 %, in twice
the time.)
"""
BOXES_PX: dict[str, tuple[int, ...]] = {"ceria": (), "gold-columns": (192, 240)}
"""Boxes that small particles are computed in, by material."""
MARGIN_A = 12.0
"""Vacuum that such a box leaves, both sides together: the scattered wave is off by 0.6 %."""
_TILT, _FILM = 1000, 1001  # what a generator is for, beside the seed and the index


@dataclass(frozen=True, slots=True)
class TiltsAndFilms:
    """What makes a data set harder: a share of the particles tilted further, and carbon films to lay behind.

    The test split is spared the tilts: its particles are the same with and without this, so that networks can
    be compared; what tilts and films do is judged apart (`training.evaluate_limits`).

    ``tilted_share`` of the others are tilted by more than the usual 1°, up to ``most_tilt_deg``, small angles
    more often; ``films`` are films of ``film_A`` (lowest, highest) [Å], with a split of their own.
    """

    tilted_share: float = 0.3
    most_tilt_deg: float = 4.0
    films: int = 32
    film_A: tuple[float, float] = (10.0, 55.0)


@dataclass(frozen=True, slots=True)
class DatasetConfig(WaveFileConfig):
    """A data set of a material of ``simulator.crystals``.

    ``material`` None is ceria: its files are older than the others, and say nothing of it.
    """

    out: str = "data/ceria.h5"
    particles: int = 1100
    seed: int = 11
    workers: int = 2
    validation_every: int = 25
    test_every: int = 20
    multislice: MultisliceSettings = field(default_factory=MultisliceSettings)
    harder: TiltsAndFilms | None = None
    material: str | None = None

    @property
    def material_name(self) -> str:
        """Name of the material."""
        return self.material or "ceria"


def config_for(material: str) -> DatasetConfig:
    """Return the usual data set of a material.

    Raises
    ------
    ValueError
        If no columns are simulated of it.
    """
    crystal_of(material)
    if material == "ceria":
        return DatasetConfig()
    return DatasetConfig(
        out=f"data/{material}.h5", particles=1200, seed=31, multislice=GRIDS[material], material=material
    )


def material_of(path: Path) -> str:
    """Return the material of a data set; of whole gold particles and of ceria no setting says it.

    Raises
    ------
    UsageError
        See `simulator.wave_file.opened`.
    """
    with wave_file.opened(path) as file:
        config = json.loads(file.attrs["config"])
    return str(config.get("material", "gold" if "gold" in config else "ceria"))


def generate(config: DatasetConfig, pool: Pool | None = None) -> Path:
    """Compute (or go on computing) the data set of a configuration; returns the file's path."""
    kinds = {"/": Kind(compute_particle, "particle")}
    if config.harder is not None:
        kinds = {"carbon": Kind(compute_film, "film"), **kinds}
    return wave_file.generate(config, create, kinds, pool)


def create(file: h5py.File, config: DatasetConfig) -> None:
    """Create the empty datasets and fix the split."""
    n, ms, room = config.particles, config.multislice, MAX_COLUMNS[config.material_name]
    create_waves(file, n, (max(1, ms.phonons), ms.pixels, ms.pixels, 2))
    file.create_dataset("columns", (n, room), COLUMN_DTYPE, chunks=(1, room))
    file.create_dataset("split", data=split_of(np.arange(n), config))
    file.create_dataset("settings", (n,), h5py.string_dtype())
    if config.harder is not None:
        file.create_dataset("height_A", (n,), np.float32)
        create_films(file, config.harder.films, ms)
    describe(file, config, ms.pixel_size_A)


def compute_film(index: int, config: DatasetConfig) -> Row:
    """Build one carbon film that fills the field, and compute its exit wave."""
    if config.harder is None:
        raise ValueError("this data set has no films")
    rng = np.random.default_rng([config.seed, index, _FILM])
    thickness_A, seed = float(rng.uniform(*config.harder.film_A)), int(rng.integers(2**31))
    return {
        "index": index,
        "waves": pack(film_wave(thickness_A, seed, config.multislice)),
        "thickness_A": thickness_A,
    }


def compute_particle(index: int, config: DatasetConfig) -> Row:
    """Build one particle and compute its exit waves."""
    particle = particle_of(index, config)
    height = {} if config.harder is None else {"height_A": float(np.ptp(particle.atoms.positions[:, 2]))}
    return {
        **height,
        "index": index,
        "waves": pack(particle_waves(particle, config.multislice)),
        "columns": stored_columns(particle, config.multislice),
        "settings": particle.settings.as_json(),
    }


def particle_waves(particle: Particle, grid: MultisliceSettings) -> NDArray[np.complex64]:
    """Compute the exit waves (P, h, w) of a particle."""
    boxes_px = BOXES_PX[particle.settings.material]
    return waves_in_smallest_box(particle.atoms, grid, particle.settings.seed, boxes_px, MARGIN_A)


def particle_of(index: int, config: DatasetConfig) -> Particle:
    """Build particle ``index``, tilted further where the configuration wants that."""
    particle = build_nonempty(config.seed, index, partial(draw_settings, material=config.material_name))
    is_test = split_of(np.array([index]), config)[0] == SPLITS.index("test")
    rng = np.random.default_rng([config.seed, index, _TILT])
    if config.harder is None or is_test or rng.random() >= config.harder.tilted_share:
        return particle
    tilt_deg = 1.0 + (config.harder.most_tilt_deg - 1.0) * float(rng.random()) ** 1.5
    return build_particle(with_tilt(particle.settings, tilt_deg))


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


def stored_columns(particle: Particle, grid: MultisliceSettings) -> NDArray[np.void]:
    """Return a particle's columns as they are stored: moved to the field, with empty rows after them."""
    stored = np.zeros(MAX_COLUMNS[particle.settings.material], COLUMN_DTYPE)
    stored[: len(particle.columns)] = in_field(particle.columns, grid)
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
