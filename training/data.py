"""Training images from stored exit waves: fresh optics, dose, noise, crops and flips.

Forming an image costs as much as training on it, so noise-free images are kept in a :class:`Pool` in which a
few are replaced at every step; dose, detector, crop, flips and noise are drawn anew each time one is used.
The frame goes through the preprocessing of the live program.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.preprocess import normalise
from simulator.films import laid
from simulator.optics import Optics, image_intensity
from simulator.support import membrane_distance_A, supported
from simulator.wave_file import finished_rows, opened, read_rows, rows_of
from simulator.waves import unpack

COLUMN_SIGMA_PX = 2.0
"""Standard deviation of the target at a column's centre [px], 0.4 Å."""
TALL_ATOMS = 9
"""From so many atoms on columns are rare, one in thirty: seen no more often, they are taken for shorter."""
DISC_RADIUS_PX = 4.0
"""Radius around a column's centre within which the count is learned [px]."""


@dataclass(frozen=True, slots=True)
class DrawConfig:
    """Ranges from which images are drawn; pairs are (lowest, highest).

    Optics after the published training sets, without the extremes of their focus (there 1 to 10 nm) and Cs
    (there -18 to -5 µm), where columns of some heights lose their contrast; astigmatism mostly small.
    Detector: a third are ideal counting, the others integrate. Read noise is in electrons. ``film_share`` of
    the particles lie on carbon, in data sets that have films. ``tall_share`` of those that are learned from
    are chosen among the particles with columns of :data:`TALL_ATOMS` or more, of which there are few.
    """

    dose_e_per_A2: tuple[float, float] = (15.0, 4000.0)
    overfocus_A: tuple[float, float] = (20.0, 90.0)
    cs_A: tuple[float, float] = (-1.8e5, -0.6e5)
    focal_spread_A: tuple[float, float] = (20.0, 40.0)
    astigmatism_A: tuple[float, float] = (0.0, 50.0)
    convergence_mrad: tuple[float, float] = (0.05, 0.3)
    counting_share: float = 0.34
    gain_spread: tuple[float, float] = (0.0, 0.5)
    point_spread: tuple[float, float] = (0.0, 0.14)
    read_noise_e: tuple[float, float] = (0.0, 0.3)
    fixed_pattern: tuple[float, float] = (0.0, 0.02)
    vacuum_share: float = 0.08
    film_share: float = 0.25
    tall_share: float = 0.25


DENOISED_E_PER_A2 = (8.0, 4000.0)
"""Doses of the denoisers' frames: lower than columns can be counted at."""


def draw_for(task: str) -> DrawConfig:
    """Return the ranges for a network's task."""
    return replace(DrawConfig(), dose_e_per_A2=DENOISED_E_PER_A2) if task == "denoise" else DrawConfig()


@dataclass(frozen=True, slots=True)
class Store:
    """The particles of one split: waves (n, P, h, w, 2) float16, columns (n, M), pixel size [Å].

    ``films`` is None in data sets without carbon.
    """

    waves: NDArray[np.float16]
    columns: NDArray[np.void]
    pixel_size_A: float
    films: "Films | None" = None


@dataclass(frozen=True, slots=True)
class Films:
    """Carbon films of one split: waves (m, h, w, 2) float16 and thicknesses (m,) [Å].

    ``height_A`` (n,) are the extents along the beam of the particles that they are laid beside.
    """

    waves: NDArray[np.float16]
    thickness_A: NDArray[np.float32]
    height_A: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scene:
    """Noise-free images (N, h, w), vacuum 1, with their targets.

    ``column`` (N, h, w) is the Gaussian at column centres, ``count`` (N, h, w) uint8 the number of atoms
    within the discs and 0 elsewhere.
    """

    intensity: Tensor
    column: Tensor
    count: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Network input (N, 2, H, W), noise-free frame and column target (N, 1, H, W), count (N, H/2, W/2)."""

    frames: Tensor
    clean: Tensor
    column: Tensor
    count: Tensor


def load(path: Path, split: str, most: int | None = None) -> Store:
    """Read the finished particles of a split into memory, or the first of them."""
    with opened(path) as file:
        rows = finished_rows(file, split)[:most]
        columns, pixel_size_A = file["columns"][:][rows], float(file.attrs["pixel_size_A"])
        store = Store(read_rows(file["waves"], rows), columns, pixel_size_A)
        if "carbon" not in file:
            return store
        return replace(store, films=load_films(file["carbon"], split, file["height_A"][:][rows]))


def load_films(group: h5py.Group, split: str, height_A: NDArray[np.float32]) -> Films:
    """Read the finished films of a split, for particles of some heights."""
    rows = rows_of(group, split)
    return Films(read_rows(group["waves"], rows), group["thickness_A"][:][rows], height_A)


def uniform(bounds: tuple[float, float], n: int, rng: np.random.Generator) -> Tensor:
    """Draw n numbers between two bounds, shape (n, 1, 1)."""
    return torch.from_numpy(rng.uniform(*bounds, (n, 1, 1)).astype(np.float32))


def draw_optics(n: int, config: DrawConfig, rng: np.random.Generator) -> Optics:
    """Draw n states of the lens; the astigmatism's cube root is uniform, so that most are small."""
    low, high = config.astigmatism_A
    return Optics(
        overfocus_A=uniform(config.overfocus_A, n, rng),
        cs_A=uniform(config.cs_A, n, rng),
        astigmatism_A=low + (high - low) * uniform((0.0, 1.0), n, rng) ** 3,
        astigmatism_angle_rad=uniform((0.0, float(np.pi)), n, rng),
        focal_spread_A=uniform(config.focal_spread_A, n, rng),
        convergence_mrad=uniform(config.convergence_mrad, n, rng),
    )


def make_scene(
    store: Store,
    indices: NDArray[np.intp],
    optics: Optics,
    film_share: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Scene:
    """Form the images of particles with given optics (fields of shape (n, 1, 1) or numbers).

    With a generator, the store's films are laid before or behind a share of the particles.
    """
    waves = unpack(store.waves[indices])
    if rng is not None and store.films is not None and len(store.films.waves):
        for row in np.flatnonzero(rng.random(len(indices)) < film_share):
            waves[row] = on_film(waves[row], store.films, int(indices[row]), store.pixel_size_A, rng)
    return scene_of(torch.from_numpy(waves), store, indices, optics)


def on_film(
    waves: NDArray[np.complex64], films: Films, index: int, pixel_size_A: float, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Return the waves (P, h, w) of particle ``index`` with one of the films before or behind it."""
    choice = int(rng.integers(len(films.waves)))
    film = laid(unpack(films.waves[choice]), rng)
    thickness_A, height_A = float(films.thickness_A[choice]), float(films.height_A[index])
    travel_A = membrane_distance_A(bool(rng.integers(2)), height_A, thickness_A)
    return np.asarray(supported(waves, film, travel_A, pixel_size_A, np), np.complex64)


def scene_of(waves: Tensor, store: Store, indices: NDArray[np.intp], optics: Optics) -> Scene:
    """Form the images of waves (n, P, h, w), and draw their targets."""
    intensity = image_intensity(waves, store.pixel_size_A, optics, torch)
    targets = [draw_targets(store.columns[i], intensity.shape[-2:], store.pixel_size_A) for i in indices]
    column, count = (torch.from_numpy(np.stack(maps)) for maps in zip(*targets, strict=True))
    return Scene(intensity, column, count)


def draw_targets(
    columns: NDArray[np.void], shape: tuple[int, ...], pixel_size_A: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw a particle's columns: the map of Gaussians and the map of counts, both of the given shape."""
    real = columns[columns["count"] > 0]
    y, x = real["y_A"] / pixel_size_A, real["x_A"] / pixel_size_A
    reach = np.arange(-7, 8)
    iy = (np.rint(y).astype(int)[:, None, None] + reach[:, None]).clip(0, shape[0] - 1)  # (n, 15, 1)
    ix = (np.rint(x).astype(int)[:, None, None] + reach).clip(0, shape[1] - 1)  # (n, 1, 15)
    distance2 = (iy - y[:, None, None]) ** 2 + (ix - x[:, None, None]) ** 2  # (n, 15, 15)
    gaussian, count = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    np.maximum.at(gaussian, (iy, ix), np.exp(-distance2 / (2 * COLUMN_SIGMA_PX**2)).astype(np.float32))
    inside = distance2 <= DISC_RADIUS_PX**2
    iy, ix, counts = np.broadcast_arrays(iy, ix, real["count"][:, None, None])
    count[iy[inside], ix[inside]] = counts[inside]
    return gaussian, count


def crop_and_turn(scene: Scene, rows: NDArray[np.intp], size: int, rng: np.random.Generator) -> Scene:
    """Cut a square about a random column of each chosen image, and turn or mirror it in one of eight ways."""
    parts = []
    for row in rows:
        frame = surrounded(scene, int(row), size)
        top, left = random_corner(frame[2], size, rng)
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        window = (slice(top, top + size), slice(left, left + size))
        parts.append([turned(image[window], turns, mirror) for image in frame])
    return Scene(*(torch.stack(images) for images in zip(*parts, strict=True)))


def surrounded(scene: Scene, row: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return one image, its column map and its counts, with vacuum around up to a size."""
    extra = max(0, size - scene.intensity.shape[-1])
    around = (extra // 2, extra - extra // 2) * 2
    images = ((scene.intensity, 1.0), (scene.column, 0.0), (scene.count, 0.0))
    intensity, column, count = (F.pad(image[row], around, value=value) for image, value in images)
    return intensity, column, count


def random_corner(count: Tensor, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return the top left pixel of a square with a random column somewhere inside; both are even."""
    marked = np.flatnonzero(count.numpy())
    pixel = marked[rng.integers(len(marked))]
    middle = np.array(divmod(int(pixel), count.shape[1])) + rng.integers(-size // 3, size // 3 + 1, 2)
    corner = np.clip(middle - size // 2, 0, count.shape[0] - size) // 2 * 2
    return int(corner[0]), int(corner[1])


def turned(image: Tensor, turns: int, mirror: bool) -> Tensor:
    """Turn a square image by quarter turns and mirror it."""
    result = torch.rot90(image, turns)
    return result.flip(0) if mirror else result


@dataclass(frozen=True, slots=True)
class Detectors:
    """Drawn exposures and detectors, one a frame; tensors of shape (n, 1, 1), in electrons and shares.

    ``electrons`` is the mean in a pixel of vacuum, the others are as in :class:`DrawConfig` (0 where the
    detector counts), ``seed`` is that of all their noise.
    """

    electrons: Tensor
    point_spread: Tensor
    gain_spread: Tensor
    seed: int
    fixed_pattern: Tensor
    read_noise_e: Tensor


def draw_detectors(n: int, config: DrawConfig, rng: np.random.Generator) -> Detectors:
    """Draw doses, log-uniform, and detectors."""
    low, high = config.dose_e_per_A2
    electrons = torch.exp(uniform((np.log(low), np.log(high)), n, rng)) * 0.2**2
    integrating = torch.from_numpy((rng.random((n, 1, 1)) >= config.counting_share).astype(np.float32))
    return Detectors(
        electrons=electrons,
        point_spread=integrating * uniform(config.point_spread, n, rng),
        gain_spread=integrating * uniform(config.gain_spread, n, rng),
        seed=int(rng.integers(2**62)),
        fixed_pattern=integrating * uniform(config.fixed_pattern, n, rng),
        read_noise_e=integrating * uniform(config.read_noise_e, n, rng),
    )


def detect(scene: Scene, config: DrawConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Take frames with drawn dose and detector: (electrons, noise-free frame), both (N, h, w).

    The noise-free frame includes the detector's point spread: it is the mean of the frames over noise.
    """
    detectors = draw_detectors(len(scene.intensity), config, rng)
    return exposed(scene.intensity, detectors), spread(scene.intensity, detectors.point_spread)


def exposed(intensity: Tensor, detectors: Detectors) -> Tensor:
    """Take one frame [electrons] of each noise-free image (n, h, w) with its detector."""
    generator = torch.Generator().manual_seed(detectors.seed)
    return read_out(collected(intensity, detectors, generator), detectors, generator)


def collected(intensity: Tensor, detectors: Detectors, generator: torch.Generator) -> Tensor:
    """Return the signal [electrons] that images (…, h, w) leave in detectors (…, 1, 1), before it is read."""
    counts = torch.poisson(intensity * detectors.electrons, generator)
    scatter = torch.randn(counts.shape, generator=generator)
    signal = (counts + detectors.gain_spread * counts.sqrt() * scatter).clamp_min(0.0)
    return spread(signal, detectors.point_spread)


def read_out(signal: Tensor, detectors: Detectors, generator: torch.Generator) -> Tensor:
    """Read signals (…, h, w): each detector (…, 1, 1) has one fixed pattern, and each frame its own noise."""
    pattern = (*detectors.electrons.shape[:-2], *signal.shape[-2:])
    gains = 1.0 + detectors.fixed_pattern * torch.randn(pattern, generator=generator)
    return signal * gains + detectors.read_noise_e * torch.randn(signal.shape, generator=generator)


def spread(images: Tensor, share: Tensor) -> Tensor:
    """Spread images (…, h, w) to the neighbours along both axes by shares (…, 1, 1); see the detector."""
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    rows = (1 - 2 * share) * padded[..., 1:-1, :] + share * (padded[..., :-2, :] + padded[..., 2:, :])
    return (1 - 2 * share) * rows[..., 1:-1] + share * (rows[..., :-2] + rows[..., 2:])


def make_batch(scene: Scene, config: DrawConfig, rng: np.random.Generator) -> Batch:
    """Turn noise-free images into network input and targets; a few become pure vacuum."""
    vacuum = torch.from_numpy(rng.random((len(scene.intensity), 1, 1)) < config.vacuum_share)
    scene = Scene(
        torch.where(vacuum, 1.0, scene.intensity),
        scene.column * ~vacuum,
        scene.count * ~vacuum,
    )
    frames, clean = detect(scene, config, rng)
    prepared = normalise(frames.numpy())
    return Batch(
        torch.from_numpy(prepared.frames),
        clean[:, None],
        scene.column[:, None],
        scene.count[:, ::2, ::2].long(),
    )


class Pool:
    """Noise-free images that batches are cut from; a few are replaced before each batch."""

    def __init__(self, store: Store, size: int, config: DrawConfig, rng: np.random.Generator) -> None:
        self.store, self.config, self.rng = store, config, rng
        self.tall = np.flatnonzero((store.columns["count"] >= TALL_ATOMS).any(1))
        parts = [self.fresh(min(16, size - start)) for start in range(0, size, 16)]
        self.scene = Scene(
            torch.cat([p.intensity for p in parts]),
            torch.cat([p.column for p in parts]),
            torch.cat([p.count for p in parts]),
        )
        self.oldest = 0

    def fresh(self, n: int) -> Scene:
        """Form n new images."""
        indices = self.rng.integers(0, len(self.store.waves), n)
        if len(self.tall):
            wanted = self.rng.random(n) < self.config.tall_share
            indices[wanted] = self.rng.choice(self.tall, np.count_nonzero(wanted))
        optics = draw_optics(n, self.config, self.rng)
        return make_scene(self.store, indices, optics, self.config.film_share, self.rng)

    def renew(self, n: int) -> None:
        """Replace the n oldest images."""
        new, rows = self.fresh(n), (self.oldest + np.arange(n)) % len(self.scene.intensity)
        self.scene.intensity[rows] = new.intensity
        self.scene.column[rows], self.scene.count[rows] = new.column, new.count
        self.oldest = int(rows[-1] + 1)

    def batch(self, n: int, size: int) -> Batch:
        """Cut n squares of a size out of random images and add dose and noise."""
        rows = self.rng.integers(0, len(self.scene.intensity), n)
        return make_batch(crop_and_turn(self.scene, rows, size, self.rng), self.config, self.rng)


def fixed_dose(config: DrawConfig, dose_e_per_A2: float) -> DrawConfig:
    """Return a configuration with one dose and no empty frames, for validation and evaluation."""
    return replace(config, dose_e_per_A2=(dose_e_per_A2, dose_e_per_A2 * (1 + 1e-9)), vacuum_share=0.0)
