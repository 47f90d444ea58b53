"""Pictures of gold particles on carbon, from stored exit waves: every one with its own membrane and lens.

A picture takes one particle, turned by any angle in the plane and mirrored or not, and one membrane, shifted
anywhere, turned and mirrored; ``simulator/support.py`` joins them. The target, what the restoration should
make of the picture, is the same particle without carbon and noise at best focus, on a pedestal that
grows with the gold's thickness: without an aperture the lens removes no electrons, so a particle is on
average as bright as the vacuum, and nothing but its fringes would tell it from there. The pedestal does, and
a particle whose fringes are too fine for the lens is not lost.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from simulator.films import laid
from simulator.optics import Optics, image_intensity
from simulator.support import membrane_distance_A, supported
from simulator.wave_file import finished_rows, opened, read_rows, rows_of
from simulator.waves import unpack
from training import data
from training.data import DrawConfig, draw_optics

BEST = Optics(overfocus_A=51.0, cs_A=-1.0e5, focal_spread_A=20.0, convergence_mrad=0.05)
"""Best focus: bright atoms, C10 = √(4/3 λ |Cs|), which is Scherzer's focus with both signs turned round (Jia
et al., Science 299 (2003) 870), with a focal spread at the low end of the range."""
BEST_FOCI = (3, 1.0)
"""How many foci the target's spread is summed over, and how far apart: a little sharper than a lens is."""
PEDESTAL_PER_A = 0.01
"""By how much an ångström of gold raises the target, in units of the vacuum level."""

LENS = DrawConfig(
    dose_e_per_A2=(100.0, 10000.0), overfocus_A=(20.0, 110.0), cs_A=(-1.8e5, -0.4e5), vacuum_share=0.0
)


@dataclass(frozen=True, slots=True)
class GoldDraw:
    """Ranges from which pictures are drawn.

    ``lens`` as for ceria, with a little more focus and Cs nearer to zero; ``bare_share`` of the pictures are
    without a membrane, ``empty_share`` without a particle, ``carbon_A`` are the thicknesses used.
    """

    lens: DrawConfig = field(default_factory=lambda: LENS)
    bare_share: float = 0.1
    empty_share: float = 0.05
    carbon_A: tuple[float, float] = (20.0, 100.0)


@dataclass(frozen=True, slots=True)
class GoldStore:
    """Particles and membranes of one split.

    ``waves`` (n, h, w, 2) and ``carbon`` (m, h, w, 2) float16, ``thickness_A`` (n, h/4, w/4), ``height_A``,
    ``diameter_A`` and ``label`` (n,), ``carbon_A`` (m,), ``settings`` (n) JSON, ``pixel_size_A``.
    """

    waves: NDArray[np.float16]
    thickness_A: NDArray[np.float16]
    height_A: NDArray[np.float32]
    diameter_A: NDArray[np.float32]
    label: NDArray[np.uint8]
    settings: list[str]
    carbon: NDArray[np.float16]
    carbon_A: NDArray[np.float32]
    pixel_size_A: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One noise-free picture (h, w), its target (h, w), both with vacuum 1, and how it came about.

    ``thickness_A`` (h, w) is the gold's; ``label`` is -1 and ``diameter_A`` 0 without a particle.
    """

    intensity: Tensor
    target: Tensor
    thickness_A: Tensor
    row: int
    label: int
    carbon_A: float
    optics: Optics


def load_gold(path: Path, split: str) -> GoldStore:
    """Read the finished particles and membranes of a split into memory."""
    with opened(path) as file:
        rows = finished_rows(file, split)
        membranes = rows_of(file["carbon"], split)
        return GoldStore(
            waves=read_rows(file["waves"], rows)[:, 0],
            thickness_A=read_rows(file["thickness_A"], rows),
            height_A=file["height_A"][:][rows],
            diameter_A=file["diameter_A"][:][rows],
            label=file["class"][:][rows],
            settings=[str(text) for text in file["settings"].asstr()[:][rows]],
            carbon=read_rows(file["carbon/waves"], membranes),
            carbon_A=file["carbon/thickness_A"][:][membranes],
            pixel_size_A=float(file.attrs["pixel_size_A"]),
        )


def sheared(wave: Tensor, factor: float, along: int) -> Tensor:
    """Shear a wave (n, n) that is 0 at its edge: rows (along 1) or columns (0) move by factor · place."""
    n = wave.shape[0]
    frequency = torch.fft.fftfreq(n)
    shift = factor * (torch.arange(n) - n // 2)
    angle = -2.0 * torch.pi * (shift[:, None] * frequency if along == 1 else frequency[:, None] * shift)
    spectrum = torch.fft.fft(wave, dim=along) * torch.polar(torch.ones_like(angle), angle)
    moved: Tensor = torch.fft.ifft(spectrum, dim=along)
    return moved


def turned_wave(wave: Tensor, angle_rad: float) -> Tensor:
    """Turn a wave (n, n) about pixel n // 2 by up to 45° without loss, by three shears in Fourier space."""
    outer, inner = float(-np.tan(angle_rad / 2.0)), float(np.sin(angle_rad))
    return sheared(sheared(sheared(wave - 1.0, outer, 1), inner, 0), outer, 1) + 1.0


def turned_map(coarse: Tensor, angle_rad: float, pixels: int) -> Tensor:
    """Return a smooth coarse map (h/4, w/4) on the wave's grid (pixels, pixels), turned as the wave."""
    place = torch.arange(pixels) - float(pixels // 2)
    cos, sin = float(np.cos(angle_rad)), float(np.sin(angle_rad))
    source_x = cos * place[None, :] + sin * place[:, None]
    source_y = -sin * place[None, :] + cos * place[:, None]
    half = pixels / 2.0
    grid = torch.stack([(source_x + 0.5) / half, (source_y + 0.5) / half], dim=-1)  # pixel edges at ±1
    mapped = F.grid_sample(coarse[None, None], grid[None], align_corners=False, padding_mode="zeros")
    return mapped[0, 0]


def membrane(store: GoldStore, draw: GoldDraw, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Return a membrane's wave (h, w), shifted, turned and mirrored at random, and its thickness [Å]."""
    low, high = draw.carbon_A
    choice = int(rng.choice(np.flatnonzero((store.carbon_A >= low) & (store.carbon_A <= high))))
    wave = np.ascontiguousarray(laid(unpack(store.carbon[choice]), rng))
    return torch.from_numpy(wave), float(store.carbon_A[choice])


def make_picture(
    store: GoldStore, row: int, draw: GoldDraw, rng: np.random.Generator, optics: Optics | None = None
) -> Picture:
    """Form one picture of a particle; what ``optics`` does not fix is drawn."""
    optics = optics or draw_optics(1, draw.lens, rng)
    angle, turns, mirror = float(rng.uniform(-np.pi / 4, np.pi / 4)), int(rng.integers(4)), rng.integers(2)
    wave = turned_wave(torch.from_numpy(unpack(store.waves[row])), angle)
    thickness = turned_map(torch.from_numpy(store.thickness_A[row].astype(np.float32)), angle, len(wave))
    wave, thickness = (torch.rot90(image, turns) for image in (wave, thickness))
    if mirror:
        wave, thickness = wave.T, thickness.T
    empty = rng.random() < draw.empty_share
    if empty:
        wave, thickness = torch.ones_like(wave), torch.zeros_like(thickness)
    target = image_intensity(wave[None], store.pixel_size_A, BEST, torch, *BEST_FOCI)
    carbon_A = 0.0
    if empty or rng.random() >= draw.bare_share:
        carbon, carbon_A = membrane(store, draw, rng)
        travel = membrane_distance_A(bool(rng.integers(2)), float(store.height_A[row]), carbon_A)
        wave = supported(wave, carbon, travel, store.pixel_size_A, torch)
    intensity = image_intensity(wave[None, None], store.pixel_size_A, optics, torch)[0]
    label = -1 if empty else int(store.label[row])
    return Picture(intensity, target + PEDESTAL_PER_A * thickness, thickness, row, label, carbon_A, optics)


def fixed_dose(draw: GoldDraw, dose_e_per_A2: float) -> GoldDraw:
    """Return the ranges with one dose and a particle in every picture."""
    return replace(draw, lens=data.fixed_dose(draw.lens, dose_e_per_A2), empty_share=0.0)
