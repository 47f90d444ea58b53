"""What the networks are compared with: ways without them, and other ways to use them.

Counting: the classical way, a Gaussian filter and a regression of the peaks' intensity, is fitted on frames
of training particles, at each dose by itself. The column-height network is given the frame as it came, or the
denoised frame in its place, or both (mean of the two answers).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from pipeline.columns import find_columns, find_peaks
from pipeline.preprocess import normalise
from simulator.accuracy import MATCH_RADIUS_A, match
from streamer.records import COLUMN_DTYPE
from training.data import DrawConfig, Store, detect, draw_optics, fixed_dose, make_scene
from training.score import (
    MIN_DISTANCE_PX,
    Networks,
    Particles,
    compare,
    exposures,
    fit,
    true_columns,
)

SIGMAS_PX = (2.0, 3.0)
THRESHOLDS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45)
STEPS = 24
"""Pieces of the regression."""
DOSE_LIMIT = 4000.0
"""Highest dose that the networks were trained on [e/Å²]."""
SURFACE_REACH = 1.035
"""Columns this near to one another, in lattice constants, are neighbours at a particle's rim."""
SURFACE_GAP_DEG = 120.0

Frames = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PeakCounter:
    """Gaussian filter, peaks above a contrast, and the number of atoms by contrast, linear in pieces."""

    sigma_px: float
    threshold: float
    contrast: NDArray[np.float64]
    atoms: NDArray[np.float64]

    def columns(self, frame: Frames) -> NDArray[np.void]:
        """Find and count the columns of a frame (H, W); all probabilities are 0."""
        y, x, value = peaks_of(frame, self.sigma_px, self.threshold)
        table = np.zeros(len(y), COLUMN_DTYPE)
        table["y"], table["x"] = y, x
        table["count"] = np.maximum(np.rint(np.interp(value, self.contrast, self.atoms)), 1)
        return table


def peaks_of(frame: Frames, sigma_px: float, threshold: float) -> tuple[Any, Any, Any]:
    """Return y, x [px] and contrast of the peaks of a filtered frame."""
    filtered = gaussian_filter(frame, sigma_px)
    contrast = filtered / np.median(filtered.mean(1)) - 1.0
    return find_peaks(contrast.astype(np.float32), threshold, MIN_DISTANCE_PX)


def fit_counter(frames: Frames, columns: list[NDArray[np.void]]) -> PeakCounter:
    """Fit to frames (n, H, W) with known columns [px]; filter and threshold make fewest errors."""
    choices = [
        (errors_at(frames, columns, sigma, threshold), sigma, threshold)
        for sigma in SIGMAS_PX
        for threshold in THRESHOLDS
    ]
    _, sigma, threshold = min(choices)
    pairs = [
        matched_peaks(frame, true, sigma, threshold) for frame, true in zip(frames, columns, strict=True)
    ]
    value, count = (np.concatenate(part) for part in zip(*pairs, strict=True))
    order = np.argsort(value)
    pieces = [part for part in np.array_split(order, STEPS) if len(part)]
    mean = [(float(value[part].mean()), float(count[part].mean())) for part in pieces]
    return PeakCounter(sigma, threshold, *np.array(mean).T)


def matched_peaks(
    frame: Frames, true: NDArray[np.void], sigma_px: float, threshold: float
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Return contrast and number of atoms of the peaks that are columns."""
    y, x, value = peaks_of(frame, sigma_px, threshold)
    i, j = match(np.stack([y, x], -1) * 0.2, np.stack([true["y"], true["x"]], -1) * 0.2, MATCH_RADIUS_A)
    return value[i], true["count"][j]


def errors_at(frames: Frames, columns: list[NDArray[np.void]], sigma_px: float, threshold: float) -> int:
    """Return the number of missed and false columns."""
    wrong = 0
    for frame, true in zip(frames, columns, strict=True):
        found = len(peaks_of(frame, sigma_px, threshold)[0])
        right = len(matched_peaks(frame, true, sigma_px, threshold)[0])
        wrong += found + len(true) - 2 * right
    return wrong


def fitted_counters(
    store: Store, doses: tuple[float, ...], size_px: int, draw: DrawConfig, rng: np.random.Generator
) -> dict[float, PeakCounter]:
    """Fit a counter for each dose [e/Å²] on one frame each of some training particles."""
    n = len(store.waves)
    scene = make_scene(store, np.arange(n), draw_optics(n, draw, rng))
    shift = (size_px - scene.intensity.shape[-1]) // 2
    columns = [true_columns(rows, shift, size_px) for rows in store.columns]
    scene = fit(scene, size_px)
    return {
        dose: fit_counter(detect(scene, fixed_dose(draw, dose), rng)[0].numpy(), columns) for dose in doses
    }


def counted_ways(
    networks: Networks, counter: PeakCounter, frame: Frames, denoised: Frames
) -> dict[str, NDArray[np.void]]:
    """Count the columns of a frame (H, W) in all ways; ``denoised`` is in units of the vacuum level."""
    prepared = normalise(frame[None]).frames
    cleaned = normalise(denoised[None]).frames
    cleaned[:, 1] = np.maximum(cleaned[:, 1], np.log(1.0 / np.sqrt(DOSE_LIMIT * 0.04)))
    answers = [
        [np.array(part[0]) for part in networks.heights([each]).values()] for each in (prepared, cleaned)
    ]
    probability, logits = (np.mean(part, axis=0) for part in zip(*answers, strict=True))
    maps = {"raw": answers[0], "denoised": answers[1], "both": (probability, logits)}
    found = {
        name: find_columns(column[0], logits, 0.5, MIN_DISTANCE_PX) for name, (column, logits) in maps.items()
    }
    return {**found, "filter": counter.columns(frame)}


def at_surface(columns: NDArray[np.void], reach_A: float) -> NDArray[np.bool_]:
    """Mark true columns (n,) at the particle's rim: their neighbours leave a gap of more than 120 degrees."""
    places = np.stack([columns["y"], columns["x"]], -1).astype(float)
    near = cKDTree(places).query_ball_point(places, reach_A / 0.2)
    gaps = [widest_gap(places[others] - place) for place, others in zip(places, near, strict=True)]
    return np.array(gaps) > SURFACE_GAP_DEG


def widest_gap(vectors: NDArray[np.float64]) -> float:
    """Return the widest angle [degrees] between directions next to one another; 360 if there are none."""
    away = vectors[np.hypot(*vectors.T) > 0.0]
    if not len(away):
        return 360.0
    angles = np.sort(np.degrees(np.arctan2(away[:, 0], away[:, 1])))
    return float(np.diff(angles, append=angles[0] + 360.0).max())


def surface_recall(found: NDArray[np.void], true: NDArray[np.void], reach_A: float) -> tuple[int, int]:
    """Return how many of the surface columns were found, and how many there are."""
    rim = true[at_surface(true, reach_A)]
    rows = compare(found, rim, 0)
    return int(((rows["true_count"] > 0) & (rows["found_count"] > 0)).sum()), len(rim)


@dataclass(frozen=True, slots=True)
class Ways:
    """What a dose gives: rows of each way to count, and how many surface columns it found of how many."""

    columns: dict[str, NDArray[np.void]]
    surface: dict[str, float]


def compare_ways(
    networks: Networks,
    particles: Particles,
    counter: PeakCounter,
    size_px: int,
    config: DrawConfig,
    rng: np.random.Generator,
    lattice_constant_A: float,
) -> Ways:
    """Count one frame of each particle in all ways."""
    rows: dict[str, list[NDArray[np.void]]] = {}
    rim: dict[str, list[tuple[int, int]]] = {}
    for index, (frame, true, denoised) in enumerate(exposures(networks, particles, size_px, config, rng)):
        for name, found in counted_ways(networks, counter, frame, denoised).items():
            rows.setdefault(name, []).append(compare(found, true, index))
            rim.setdefault(name, []).append(surface_recall(found, true, SURFACE_REACH * lattice_constant_A))
    recall = {name: float(np.divide(*np.sum(pairs, axis=0))) for name, pairs in rim.items()}
    return Ways({name: np.concatenate(parts) for name, parts in rows.items()}, recall)
