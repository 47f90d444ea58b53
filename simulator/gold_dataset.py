"""Exit waves of many gold particles and of membranes, in one HDF5 file.

How the file is filled, and what one can rely on: ``simulator/wave_file.py``. Six particles, one of each
shape, form a group, and whole groups go to training, validation or test. Membranes have a split of their
own, so that a test picture holds neither a particle nor carbon that training has seen.

Layout (N particles, M membranes):

=====================  ===================  =============================================================
path                   shape, type          content
=====================  ===================  =============================================================
``/waves``             (N, 1, h, w, 2) f2   real and imaginary part, incident wave 1; axes (…, y, x)
``/thickness_A``       (N, h/4, w/4) f2     projected thickness of the gold, smoothed by 2 Å
``/height_A``          (N,) f4              extent along the beam
``/diameter_A``        (N,) f4              largest distance of two atoms
``/class``             (N,) u1              index into ``simulator.gold.SHAPES``
``/split``             (N,) u1              0 training, 1 validation, 2 test
``/settings``          (N,) string          the particle's settings as JSON
``/done``              (N,) bool            computed so far
``/carbon/waves``      (M, h, w, 2) f2      as above, periodic
``/carbon/thickness_A``  (M,) f4            of the membrane
``/carbon/split``, ``/carbon/done``         as above
=====================  ===================  =============================================================
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.cluster import Pool
from simulator import wave_file
from simulator.films import create_films, film_wave
from simulator.gold import LATTICE_CONSTANT_A, SHAPES, build_gold, draw_gold
from simulator.multislice import MultisliceSettings, waves_in_smallest_box
from simulator.wave_file import Kind, Row, WaveFileConfig, create_waves, describe, split_of
from simulator.waves import pack

COARSE = 4
"""The thickness is kept on a grid this much coarser than the wave's."""
THICKNESS_SIGMA_A = 2.0
ATOM_VOLUME_A3 = LATTICE_CONSTANT_A**3 / 4.0
CARBON_THICKNESS_A = (20.0, 100.0)

FINE = MultisliceSettings(pixels=512, oversampling=1.5, slice_thickness_A=2.0)
"""For gold: on a grid of 0.16 or 0.2 Å pictures of 7 nm particles are off by half their contrast near a zone
axis, on this one of 0.133 Å by an eighth (compared with 0.1 Å and slices of 1 Å)."""
COARSE_ENOUGH = MultisliceSettings(pixels=512, oversampling=1.0, slice_thickness_A=3.0)
"""For carbon, whose atoms are light."""


@dataclass(frozen=True, slots=True)
class GoldDatasetConfig(WaveFileConfig):
    """A data set of gold, with a number of membranes."""

    out: str = "data/gold.h5"
    particles: int = 2400
    seed: int = 21
    workers: int = 1
    validation_every: int = 14
    test_every: int = 6
    membranes: int = 44
    gold: MultisliceSettings = field(default_factory=lambda: FINE)
    carbon: MultisliceSettings = field(default_factory=lambda: COARSE_ENOUGH)


BOXES_PX = (320, 384, 448)
"""Sides of the boxes of small particles."""
MARGIN_A = 16.0
"""Vacuum about a particle; with so much, the picture differs from the field's by 0.1 % of its contrast."""


def generate(config: GoldDatasetConfig, pool: Pool | None = None) -> Path:
    """Compute (or go on computing) the data set of a configuration; returns the file's path."""
    kinds = {"carbon": Kind(compute_membrane, "membrane"), "/": Kind(compute_particle, "particle")}
    return wave_file.generate(config, create, kinds, pool)


def create(file: h5py.File, config: GoldDatasetConfig) -> None:
    """Create the empty datasets and fix both splits."""
    n, pixels = config.particles, config.gold.pixels
    indices = np.arange(n)
    create_waves(file, n, (1, pixels, pixels, 2))
    create_films(file, config.membranes, config.carbon)
    coarse = (pixels // COARSE, pixels // COARSE)
    file.create_dataset("thickness_A", (n, *coarse), np.float16, chunks=(1, *coarse))
    file.create_dataset("height_A", (n,), np.float32)
    file.create_dataset("diameter_A", (n,), np.float32)
    file.create_dataset("class", data=(indices % len(SHAPES)).astype(np.uint8))
    file.create_dataset("split", data=split_of(indices // len(SHAPES), config))
    file.create_dataset("settings", (n,), h5py.string_dtype())
    describe(file, config, config.gold.pixel_size_A)


def compute_membrane(index: int, config: GoldDatasetConfig) -> Row:
    """Build one membrane and compute its exit wave."""
    drawn = seed_of(config.seed, 1, index)
    thickness_A = float(np.random.default_rng(drawn).uniform(*CARBON_THICKNESS_A))
    wave = film_wave(thickness_A, drawn, config.carbon)
    return {"index": index, "waves": pack(wave), "thickness_A": thickness_A}


def compute_particle(index: int, config: GoldDatasetConfig) -> Row:
    """Build one particle and compute its exit wave."""
    particle = build_gold(draw_gold(SHAPES[index % len(SHAPES)], seed_of(config.seed, 0, index)))
    positions = particle.atoms.positions
    return {
        "index": index,
        "waves": pack(particle_wave(particle.atoms, config.gold)),
        "thickness_A": projected_thickness(positions, config.gold),
        "height_A": float(np.ptp(positions[:, 2])),
        "diameter_A": particle.diameter_A,
        "settings": json.dumps(asdict(particle.settings)),
    }


def particle_wave(atoms: Atoms, grid: MultisliceSettings) -> NDArray[np.complex64]:
    """Compute the exit wave (1, h, w) in the smallest box that fits, with vacuum around up to the field."""
    return waves_in_smallest_box(atoms, grid, 0, BOXES_PX, MARGIN_A)


def seed_of(seed: int, kind: int, index: int) -> int:
    """Return the seed of one particle (kind 0) or membrane (kind 1)."""
    return int(np.random.SeedSequence([seed, kind, index]).generate_state(1)[0])


def projected_thickness(positions_A: NDArray[np.float64], grid: MultisliceSettings) -> NDArray[np.float16]:
    """Return the thickness [Å] of gold along the beam: atoms an area times an atom's volume, smoothed."""
    step_A, count = grid.pixel_size_A * COARSE, grid.pixels // COARSE
    edges = (np.arange(count + 1) - 0.5 * count) * step_A - grid.pixel_size_A / 2.0  # of the pixels' corners
    atoms, _, _ = np.histogram2d(positions_A[:, 1], positions_A[:, 0], bins=(edges, edges))
    smooth = gaussian_filter(atoms * (ATOM_VOLUME_A3 / step_A**2), THICKNESS_SIGMA_A / step_A)
    return np.asarray(smooth, dtype=np.float16)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of configuration, split and truth: names the data a network was trained on."""
    names = ("split", "class", "done", "diameter_A", "carbon/split", "carbon/thickness_A")
    return wave_file.hash_of(path, lambda file: (file[name][:] for name in names))
