"""Shipped networks on frames of known particles: one row a column, which every table and figure is made from.

The networks run as ONNX files in OpenVINO, behind the same preprocessing and column finding as in the live
program, on frame sizes that are used live. Optics, detector and noise are drawn from a seed of their own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.assembly import MIN_COLUMN_DISTANCE_A
from pipeline.backends.quiet_openvino import shared_core
from pipeline.columns import find_columns
from pipeline.preprocess import PIXEL_SIZE_A, normalise
from simulator.accuracy import MATCH_RADIUS_A, match
from simulator.optics import Optics
from simulator.wave_file import opened, rows_of
from training.data import DrawConfig, Scene, Store, detect, draw_optics, fixed_dose, load, make_scene

MIN_DISTANCE_PX = MIN_COLUMN_DISTANCE_A / PIXEL_SIZE_A
CHUNK = 12

ROW_DTYPE = np.dtype(
    [
        ("frame", "i4"),
        ("true_count", "i2"),  # 0: there is no such column (false)
        ("found_count", "i2"),  # 0: not found (missed)
        ("probability", "f4"),
        ("distance_A", "f4"),
    ]
)
FRAME_DTYPE = np.dtype(
    [
        ("dose_e_per_A2", "f4"),
        ("size_px", "i2"),
        ("overfocus_nm", "f4"),
        ("cs_um", "f4"),
        ("tilt_deg", "f4"),
        ("diameter_nm", "f4"),
        ("zone_axis", "S3"),
        ("psnr_dB", "f4"),
    ]
)


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows of :data:`ROW_DTYPE`, whose ``frame`` points into rows of :data:`FRAME_DTYPE`."""

    columns: NDArray[np.void]
    frames: NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Networks:
    """The compiled networks."""

    heights: Any
    denoise: Any


@dataclass(frozen=True, slots=True)
class Particles:
    """The particles of a split with their settings (dictionaries) and drawn optics (one a particle)."""

    store: Store
    settings: list[dict[str, Any]]
    optics: list[Optics]


def open_networks(heights: Path, denoise: Path) -> Networks:
    """Compile both ONNX files for the processor."""
    return Networks(*(shared_core().compile_model(str(path), "CPU") for path in (heights, denoise)))


def open_particles(data: Path, split: str, draw: DrawConfig, rng: np.random.Generator) -> Particles:
    """Read the particles of a split and draw a state of the lens for each."""
    store = load(data, split)
    with opened(data) as file:
        settings = [json.loads(text) for text in file["settings"].asstr()[:][rows_of(file, split)]]
    return Particles(store, settings, [draw_optics(1, draw, rng) for _ in settings])


def score(
    networks: Networks,
    particles: Particles,
    dose_e_per_A2: float,
    size_px: int,
    draw: DrawConfig,
    rng: np.random.Generator,
) -> Scores:
    """Take one frame of each particle at a dose and size, and compare what is found with the truth."""
    columns, frames = [], []
    config = fixed_dose(draw, dose_e_per_A2)
    for index, (found, true, psnr_dB) in enumerate(analysed(networks, particles, size_px, config, rng)):
        columns.append(compare(found, true, index))
        frames.append(frame_row(particles, index, dose_e_per_A2, size_px, psnr_dB))
    return Scores(np.concatenate(columns), np.array(frames, FRAME_DTYPE))


def analysed(
    networks: Networks, particles: Particles, size_px: int, config: DrawConfig, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.void], NDArray[np.void], float]]:
    """Yield found columns, true columns (both in pixels of the frame) and the denoiser's PSNR [dB]."""
    for frame, true, target in taken(particles, size_px, config, rng):
        found, denoised = run(networks, frame)
        yield found, true, psnr(denoised, target)


def exposures(
    networks: Networks, particles: Particles, size_px: int, config: DrawConfig, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.void], NDArray[np.float32]]]:
    """Yield a frame of each particle, its true columns [px of the frame] and the denoised frame."""
    for frame, true, _ in taken(particles, size_px, config, rng):
        yield frame, true, networks.denoise([normalise(frame[None]).frames])[0][0, 0]


def taken(
    particles: Particles, size_px: int, config: DrawConfig, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.void], NDArray[np.float32]]]:
    """Yield a frame of each particle, its true columns [px of the frame] and the frame without noise."""
    for start in range(0, len(particles.settings), CHUNK):
        indices = np.arange(start, min(start + CHUNK, len(particles.settings)))
        optics = stack_optics([particles.optics[i] for i in indices])
        scene = make_scene(particles.store, indices, optics)
        shift = (size_px - scene.intensity.shape[-1]) // 2
        frames, clean = detect(fit(scene, size_px), config, rng)
        for i, frame, target in zip(indices, frames.numpy(), clean.numpy(), strict=True):
            yield frame, true_columns(particles.store.columns[i], shift, size_px), target


def stack_optics(states: list[Optics]) -> Optics:
    """Join states of one image each into one of many."""
    return Optics(*(torch.cat([getattr(s, name) for s in states]) for name in Optics.__slots__))


def fit(scene: Scene, size_px: int) -> Scene:
    """Cut or extend images about their centre; what is added is vacuum (the targets are not needed here)."""
    shift = (size_px - scene.intensity.shape[-1]) // 2
    return replace(scene, intensity=F.pad(scene.intensity, (shift, shift, shift, shift), value=1.0))


def fit_counts(scene: Scene, size_px: int) -> Tensor:
    """Cut or extend the maps of counts in the same way."""
    shift = (size_px - scene.count.shape[-1]) // 2
    return F.pad(scene.count, (shift, shift, shift, shift))


def true_columns(columns: NDArray[np.void], shift_px: int, size_px: int) -> NDArray[np.void]:
    """Return the true columns as places [px] in the frame, without those that lie outside."""
    real = columns[columns["count"] > 0]
    rows = np.zeros(len(real), [("y", "f4"), ("x", "f4"), ("count", "i2")])
    rows["y"] = real["y_A"] / PIXEL_SIZE_A + shift_px
    rows["x"] = real["x_A"] / PIXEL_SIZE_A + shift_px
    rows["count"] = real["count"]
    inside = (rows["y"] > 1) & (rows["x"] > 1) & (rows["y"] < size_px - 2) & (rows["x"] < size_px - 2)
    return rows[inside]


def run(networks: Networks, frame: NDArray[np.float32]) -> tuple[NDArray[np.void], NDArray[np.float32]]:
    """Analyse one frame (H, W): its columns, and the denoised frame in units of the vacuum level."""
    prepared = normalise(frame[None]).frames
    probability, logits = networks.heights([prepared]).values()
    denoised = networks.denoise([prepared])[0]
    return find_columns(probability[0, 0], logits[0], 0.5, MIN_DISTANCE_PX), denoised[0, 0]


def psnr(image: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the peak signal to noise ratio [dB]; the peak is the true image's maximum."""
    return float(10 * np.log10(truth.max() ** 2 / ((image - truth) ** 2).mean()))


def compare(found: NDArray[np.void], true: NDArray[np.void], frame: int) -> NDArray[np.void]:
    """Match found and true columns and return a row for each pair, each miss and each false column."""
    places = [np.stack([c["y"], c["x"]], axis=-1) * PIXEL_SIZE_A for c in (found, true)]
    i, j = match(places[0], places[1], MATCH_RADIUS_A)
    missed = np.setdiff1d(np.arange(len(true)), j)
    false = np.setdiff1d(np.arange(len(found)), i)
    rows = np.zeros(len(i) + len(missed) + len(false), ROW_DTYPE)
    rows["frame"] = frame
    rows["true_count"][: len(true)] = true["count"][np.concatenate([j, missed])]
    both, wrong = slice(0, len(i)), slice(len(true), None)
    rows["found_count"][both], rows["probability"][both] = found["count"][i], found["probability"][i]
    rows["distance_A"][both] = np.hypot(*(places[0][i] - places[1][j]).T)
    rows["found_count"][wrong], rows["probability"][wrong] = (
        found["count"][false],
        found["probability"][false],
    )
    return rows


def frame_row(particles: Particles, index: int, dose: float, size_px: int, psnr_dB: float) -> tuple[Any, ...]:
    """Return one row of :data:`FRAME_DTYPE`."""
    settings, optics = particles.settings[index], particles.optics[index]
    columns = particles.store.columns[index]
    real = columns[columns["count"] > 0]
    extent_A = max(np.ptp(real["y_A"]), np.ptp(real["x_A"]))
    tilt = float(np.hypot(settings["tilt_x_deg"], settings["tilt_y_deg"]))
    lens = (float(optics.overfocus_A) / 10, float(optics.cs_A) / 1e4)
    return (dose, size_px, *lens, tilt, extent_A / 10, settings["zone_axis"].encode(), psnr_dB)


def first_of(particles: Particles, count: int) -> Particles:
    """Return the first particles of a split."""
    store = Store(
        particles.store.waves[:count], particles.store.columns[:count], particles.store.pixel_size_A
    )
    return Particles(store, particles.settings[:count], particles.optics[:count])


def equal_parts(
    values: NDArray[np.floating], parts: int = 5
) -> Iterator[tuple[float, float, NDArray[np.bool_]]]:
    """Yield equally filled ranges as (lowest, highest, which values), each value in one of them.

    There are fewer ranges where many values are the same.
    """
    edges = np.unique(np.quantile(values, np.linspace(0, 1, parts + 1)))
    part_of = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    for part, (low, high) in enumerate(pairwise(edges)):
        if (part_of == part).any():
            yield float(low), float(high), part_of == part


def vacuum_columns(networks: Networks, frames: int, size_px: int, draw: DrawConfig, seed: int) -> int:
    """Count the columns found in frames of pure vacuum, all doses and detectors."""
    rng = np.random.default_rng(seed)
    empty = torch.ones((1, size_px, size_px))
    scene = Scene(empty, torch.zeros_like(empty), torch.zeros_like(empty))
    return sum(len(run(networks, detect(scene, draw, rng)[0].numpy()[0])[0]) for _ in range(frames))
