"""The newest of five frames denoised in several ways: of still movies, drifting ones, and ones that change.

Drifting movies were laid over one another by whole pixels, as the live program does it; half a pixel remains.
In changing ones the columns within a disc are there, or gone, in the two newest frames alone, and the score
is that of the disc: a way that smears loses there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.backends.quiet_openvino import shared_core
from pipeline.preprocess import normalise
from training.data import DrawConfig, draw_detectors, spread
from training.movie_data import FRAMES, MovieDraw, draw_lag, film, movie_input, shifted, soft_disc
from training.score import Networks, psnr

KINDS = ("still", "drifting", "changing")
RESIDUAL_PX = 0.5
RADIUS_PX = (5.0, 15.0)
SINCE = FRAMES - 2
"""First frame after the change."""

Frames = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Movie:
    """Five pictures without noise (5, H, W) and where the newest one is judged (H, W)."""

    clean: Tensor
    judged: NDArray[np.bool_]


def open_network(path: Path) -> Any:
    """Compile the denoiser of five frames for the processor."""
    return shared_core().compile_model(str(path), "CPU")


def make_movie(image: Tensor, count: Tensor, kind: str, rng: np.random.Generator) -> Movie:
    """Make a movie of a picture (H, W) with known columns (``count`` above 0 there)."""
    clean = image.expand(FRAMES, -1, -1).clone()
    judged = np.ones(image.shape, bool)
    if kind == "changing":
        disc = disc_about(count, rng)
        without = slice(SINCE, None) if rng.random() < 0.5 else slice(0, SINCE)
        clean[without] = torch.lerp(image, torch.ones_like(image), disc)
        judged = disc.numpy() > 0.5
    if kind != "still":
        y, x = (torch.from_numpy(rng.uniform(-1, 1, (FRAMES, 1, 1)).astype(np.float32)) for _ in range(2))
        y[-1], x[-1] = 0.0, 0.0
        clean = shifted(clean, RESIDUAL_PX * y, RESIDUAL_PX * x)
    return Movie(clean, judged)


def disc_about(count: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a soft disc (H, W) about a random column."""
    marked = np.flatnonzero(count.numpy())
    y, x = divmod(int(marked[rng.integers(len(marked))]), count.shape[1])
    return soft_disc(count.shape, (y, x), float(rng.uniform(*RADIUS_PX)))


def scored_ways(
    networks: Networks, five: Any | None, movie: Movie, config: DrawConfig, rng: np.random.Generator
) -> dict[str, float]:
    """Film a movie, and return the PSNR [dB] of its denoised newest frame in each way."""
    detectors = draw_detectors(1, config, rng)
    frames = film(movie.clean[None], detectors, draw_lag(detectors, MovieDraw().lag, rng))[0].numpy()
    target = spread(movie.clean[-1:], detectors.point_spread)[0].numpy()
    mean = frames.mean(0)
    pictures = {
        "one frame, denoised": denoised(networks.denoise, frames[-1]),
        "mean of five": mean / np.median(mean.mean(1)),
        "mean of five, denoised": denoised(networks.denoise, mean),
    }
    if five is not None:
        pictures["five frames, denoised"] = five([movie_input(frames[None])])[0][0, 0]
    return {name: psnr(part[movie.judged], target[movie.judged]) for name, part in pictures.items()}


def denoised(network: Any, frame: Frames) -> Frames:
    """Denoise one frame (H, W)."""
    return np.asarray(network([normalise(frame[None]).frames])[0][0, 0])


def compare_denoising(
    networks: Networks,
    five: Any | None,
    pictures: list[tuple[Tensor, Tensor]],
    config: DrawConfig,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Return the mean PSNR [dB] by kind of movie and way, over pictures (H, W) with their columns."""
    result = {}
    for kind in KINDS:
        rows = [scored_ways(networks, five, make_movie(*each, kind, rng), config, rng) for each in pictures]
        result[kind] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return result
