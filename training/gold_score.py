"""The shipped gold networks on pictures of held-out particles: one row a picture, for tables and figures.

Each particle is seen a few times, with a membrane and a lens of its own each time, and the same at every
dose. The networks run as ONNX files in OpenVINO behind the live program's preprocessing.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from tqdm import tqdm

from pipeline.backends.quiet_openvino import shared_core
from pipeline.patches import in_all_orientations, mean_of_orientations
from simulator.gold import GoldSettings, axis_distance_deg
from training.gold_data import PEDESTAL_PER_A, GoldDraw, GoldStore, Picture, fixed_dose, make_picture
from training.gold_pools import Restorer, centre_of, exposed, patch_about
from training.score import psnr

SMOOTH_PX = 10.0
"""Smoothing before a particle's outline or thickness is read off, 2 Å, more than a fringe."""
OUTLINE_A = 8.0
"""Thickness of gold from which on a pixel belongs to the particle: two layers of {100} and the smoothing."""

ROW_DTYPE = np.dtype(
    [
        ("particle", "i4"),
        ("shape", "i2"),
        ("found", "i2"),
        ("found_by_one", "i2"),
        ("probability", "f4"),
        ("dose_e_per_A2", "f4"),
        ("diameter_nm", "f4"),
        ("carbon_nm", "f4"),
        ("overfocus_nm", "f4"),
        ("focal_spread_nm", "f4"),
        ("cs_um", "f4"),
        ("axis_distance_deg", "f4"),
        ("input_psnr_dB", "f4"),
        ("psnr_dB", "f4"),
        ("input_contrast", "f4"),
        ("contrast", "f4"),
        ("overlap", "f4"),
        ("thickness_rms_A", "f4"),
    ]
)


@dataclass(frozen=True, slots=True)
class ShapeNetwork:
    """The compiled classifier and what its file says."""

    compiled: Any
    classes: tuple[str, ...]
    unsure_below: float

    def __call__(self, patch: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """Return the probabilities (K,) of a patch (128, 128), and its class by one orientation alone."""
        every = self.compiled([in_all_orientations(patch[None, None])])[0]
        logits = mean_of_orientations(every)[0]
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum(), dtype=np.float32), int(every[0].argmax())


def open_shapes(path: Path, metadata: dict[str, str]) -> ShapeNetwork:
    """Compile a shape network for the processor."""
    compiled = shared_core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": "1"})
    return ShapeNetwork(compiled, tuple(json.loads(metadata["classes"])), float(metadata["unsure_below"]))


def score(
    store: GoldStore,
    particles: range,
    restore: Restorer,
    classify: ShapeNetwork,
    draw: GoldDraw,
    doses_e_per_A2: tuple[float, ...],
    views: int,
    rng: np.random.Generator,
) -> NDArray[np.void]:
    """Look at some particles some times at every dose; returns rows of :data:`ROW_DTYPE`."""
    rows = []
    for particle in tqdm(particles, unit="particle", disable=None):
        for _ in range(views):
            picture = make_picture(store, particle, fixed_dose(draw, 1.0), rng)
            rows += [
                judged(store, picture, restore, classify, fixed_dose(draw, dose), rng)
                for dose in doses_e_per_A2
            ]
    return np.array(rows, ROW_DTYPE)


def judged(
    store: GoldStore,
    picture: Picture,
    restore: Restorer,
    classify: ShapeNetwork,
    draw: GoldDraw,
    rng: np.random.Generator,
) -> tuple[Any, ...]:
    """Expose, restore and classify one picture; returns a row."""
    frames, counts = exposed(picture.intensity[None], draw, rng)
    restored, noisy = restore(frames)[0], counts[0] / counts[0].mean()
    thickness, target = picture.thickness_A.numpy(), picture.target.numpy()
    probabilities, by_one = classify(patch_about(restored, centre_of(thickness), rng))
    inside = thickness > OUTLINE_A
    smooth = (gaussian_filter(restored, SMOOTH_PX) - 1.0) / PEDESTAL_PER_A
    optics = picture.optics
    return (
        picture.row,
        picture.label,
        int(probabilities.argmax()),
        by_one,
        float(probabilities.max()),
        draw.lens.dose_e_per_A2[0],
        float(store.diameter_A[picture.row]) / 10,
        picture.carbon_A / 10,
        float(optics.overfocus_A) / 10,
        float(optics.focal_spread_A) / 10,
        float(optics.cs_A) / 1e4,
        axis_distance_deg(settings_of(store, picture.row)),
        psnr(noisy, target),
        psnr(restored, target),
        contrast(noisy, inside),
        contrast(restored, inside),
        overlap(smooth > OUTLINE_A, inside),
        float(np.sqrt(np.mean((smooth - gaussian_filter(thickness, SMOOTH_PX))[inside] ** 2))),
    )


def settings_of(store: GoldStore, row: int) -> GoldSettings:
    """Return a particle's settings."""
    values = json.loads(store.settings[row])
    return GoldSettings(**{**values, "rotation": tuple(values["rotation"])})


def contrast(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return how much more a picture deviates from the vacuum level within a particle than beside it.

    The ratio of the root mean square deviations from 1, of the picture averaged over a square of 1 Å.
    """
    squared = (uniform_filter(image, 5) - 1.0) ** 2
    beside = ~inside
    return float(np.sqrt(squared[inside].mean() / max(squared[beside].mean(), 1e-12)))


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Return the intersection of two areas over their union."""
    return float((found & true).sum() / max((found | true).sum(), 1))
