"""Five consecutive frames of a movie, laid over one another, and the middle one without noise: drawn afresh.

The live program lays frames over one another by whole pixels (``pipeline/steady.py``), so what is left of the
drift is up to half a pixel and the drift's own error. All five are in units of their mean's vacuum level, and
the noise level beside them is that of their mean: the mean of the five channels is what
``pipeline.preprocess.normalise`` makes of the mean frame. A network for one frame can therefore be the start
of one for five.

The specimen changes in some of the movies, between the middle frame and those before or after: places of
those frames show the vacuum, another particle, or the same one moved. The middle frame, which is what is to
be learned, is always a true picture. In that way a network learns not to carry into the middle frame what
only its neighbours show.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.preprocess import CLIP, CONTRAST_UNIT, normalise
from training.data import (
    Detectors,
    DrawConfig,
    Pool,
    collected,
    draw_detectors,
    random_corner,
    read_out,
    spread,
    turned,
    uniform,
)

FRAMES = 5
"""Frames that a network sees; the middle one is denoised."""
MIDDLE = FRAMES // 2
MARGIN_PX = 8
"""Cut off around a moved picture, whose edges are not known."""


@dataclass(frozen=True, slots=True)
class MovieDraw:
    """Ranges from which movies are drawn, beside those of single frames.

    ``residual_px`` is how far a frame may lie off after its drift has been taken away, ``lost_px`` how far in
    ``lost_share`` of the movies, whose drift was measured badly. ``lag`` is the share of a frame's signal
    that stays for the next one, of integrating detectors.
    """

    lens: DrawConfig = field(default_factory=lambda: replace(DrawConfig(), dose_e_per_A2=(8.0, 4000.0)))
    residual_px: float = 0.7
    lost_px: float = 3.0
    lost_share: float = 0.1
    changed_share: float = 0.4
    lag: tuple[float, float] = (0.0, 0.4)


@dataclass(frozen=True, slots=True)
class MovieBatch:
    """Network input (N, 6, H, W) and the middle frame without noise (N, 1, H, W)."""

    frames: Tensor
    clean: Tensor


def movie_input(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Prepare movies (N, 5, H, W) [counts], frames laid over one another: (N, 6, H, W).

    Channels 0 to 4 are the frames' contrasts in one unit, √(σ² + 0.3²) of their mean; channel 5 is ln σ of
    their mean.
    """
    mean = normalise(frames.mean(1))
    level = np.where(mean.level_counts > 0, mean.level_counts, 1.0)[:, None, None, None]
    scale = np.sqrt(mean.noise**2 + CONTRAST_UNIT**2)[:, None, None, None]
    contrasts = np.clip((frames / level - 1.0) / scale, -CLIP, CLIP)
    return np.asarray(np.concatenate([contrasts, mean.frames[:, 1:]], axis=1), dtype=np.float32)


def shifted(images: Tensor, y_px: Tensor, x_px: Tensor) -> Tensor:
    """Move images (…, h, w) by (…, 1, 1) pixels through their spectrum; the edges join."""
    height, width = images.shape[-2:]
    gy, gx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    phase = 2.0 * torch.pi * (gy * y_px + gx * x_px)
    moved = torch.fft.rfft2(images) * torch.polar(torch.ones_like(phase), -phase)
    result: Tensor = torch.fft.irfft2(moved, s=(height, width))
    return result


class MoviePool:
    """Movies made of a pool's noise-free images."""

    def __init__(self, images: Pool, draw: MovieDraw) -> None:
        self.images, self.draw, self.rng = images, draw, images.rng

    def renew(self, n: int) -> None:
        """Replace the n oldest images."""
        self.images.renew(n)

    def batch(self, n: int, size: int) -> MovieBatch:
        """Make n movies of a size."""
        rows = self.rng.integers(0, len(self.images.scene.intensity), n)
        clean = torch.stack([self.movie(int(row), size + 2 * MARGIN_PX) for row in rows])
        clean = self.drifting(clean)[..., MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        vacuum = torch.from_numpy(self.rng.random((n, 1, 1, 1)) < self.draw.lens.vacuum_share)
        return filmed(torch.where(vacuum, 1.0, clean), self.draw, self.rng)

    def movie(self, row: int, size: int) -> Tensor:
        """Cut five equal frames (5, size, size) out of an image, and change some of them, or not."""
        window, turns, mirror = self.window(row, size)
        still = self.cut(row, window, turns, mirror)
        frames = still.repeat(FRAMES, 1, 1)
        if self.rng.random() < self.draw.changed_share:
            mask = blobs(size, self.rng)
            frames[self.changed_frames()] = still + mask * (self.other(still, window) - still)
        return frames

    def changed_frames(self) -> slice:
        """Choose the frames before or after a change, without the middle one."""
        first = int(self.rng.integers(1, FRAMES))
        return slice(0, first) if first <= MIDDLE else slice(first, FRAMES)

    def other(self, still: Tensor, window: tuple[slice, slice]) -> Tensor:
        """Return what the changed places show: vacuum, another picture, or the same one moved by 1 to 3 Å."""
        kind = int(self.rng.integers(3))
        if kind == 0:
            return torch.ones_like(still)
        if kind == 1:
            row = int(self.rng.integers(len(self.images.scene.intensity)))
            return self.cut(row, window, int(self.rng.integers(4)), False)
        y, x = (int(step) for step in self.rng.integers(5, 16, 2) * self.rng.choice([-1, 1], 2))
        return torch.roll(still, (y, x), (0, 1))

    def window(self, row: int, size: int) -> tuple[tuple[slice, slice], int, bool]:
        """Choose a square about a column, a turn and a mirror."""
        top, left = random_corner(self.images.scene.count[row], size, self.rng)
        window = (slice(top, top + size), slice(left, left + size))
        return window, int(self.rng.integers(4)), bool(self.rng.integers(2))

    def cut(self, row: int, window: tuple[slice, slice], turns: int, mirror: bool) -> Tensor:
        """Cut a square out of an image."""
        return turned(self.images.scene.intensity[row][window], turns, mirror)

    def drifting(self, movies: Tensor) -> Tensor:
        """Move all but the middle frames by what aligning by whole pixels leaves."""
        n = len(movies)
        lost = torch.from_numpy(self.rng.random((n, 1, 1, 1)) < self.draw.lost_share)
        reach = torch.where(lost, self.draw.lost_px, self.draw.residual_px)
        y, x = (
            reach * torch.from_numpy(self.rng.uniform(-1, 1, (n, FRAMES, 1, 1)).astype(np.float32))
            for _ in range(2)
        )
        y[:, MIDDLE], x[:, MIDDLE] = 0.0, 0.0
        return shifted(movies, y, x)


def blobs(size: int, rng: np.random.Generator) -> Tensor:
    """Return a mask (size, size) of one to six soft discs of 1 to 5 Å, or of ones in one case of ten."""
    if rng.random() < 0.1:
        return torch.ones(size, size)
    mask = torch.zeros(size, size)
    for _ in range(int(rng.integers(1, 7))):
        y, x = (float(c) for c in rng.uniform(MARGIN_PX, size - MARGIN_PX, 2))
        mask = torch.maximum(mask, soft_disc((size, size), (y, x), float(rng.uniform(5.0, 25.0))))
    return mask


def filmed(clean: Tensor, draw: MovieDraw, rng: np.random.Generator) -> MovieBatch:
    """Film noise-free movies (n, 5, h, w), each with one dose and detector, on which signal lingers."""
    detectors = draw_detectors(len(clean), draw.lens, rng)
    frames = film(clean, detectors, draw_lag(detectors, draw.lag, rng))
    middle = spread(clean[:, MIDDLE], detectors.point_spread)
    return MovieBatch(torch.from_numpy(movie_input(frames.numpy())), middle[:, None])


def draw_lag(detectors: Detectors, lag: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """Draw the share of a frame's signal that stays for the next one; 0 where the detector counts."""
    return (detectors.read_noise_e > 0).float() * uniform(lag, len(detectors.electrons), rng)


def film(clean: Tensor, detectors: Detectors, lag: Tensor) -> Tensor:
    """Take the frames [electrons] of movies (n, T, h, w); the specimen stood still before the first."""
    generator = torch.Generator().manual_seed(detectors.seed)
    of_movies = along_time(detectors)
    before = torch.cat([clean[:, :1], clean], dim=1)  # (n, T + 1, h, w)
    signal = collected(before, of_movies, generator)
    held = (1.0 - lag[:, None]) * signal[:, 1:] + lag[:, None] * signal[:, :-1]
    return read_out(held, of_movies, generator)


def along_time(detectors: Detectors) -> Detectors:
    """Return the detectors (n, 1, 1) with an axis for the frames, (n, 1, 1, 1)."""
    tensors = {name: getattr(detectors, name) for name in Detectors.__slots__ if name != "seed"}
    return replace(detectors, **{name: tensor[:, None] for name, tensor in tensors.items()})


def soft_disc(shape: tuple[int, ...], centre: tuple[float, float], radius: float) -> Tensor:
    """Return a disc, 1 inside and 0 outside, with an edge of some pixels."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in shape)
    distance = torch.sqrt((rows[:, None] - centre[0]) ** 2 + (columns - centre[1]) ** 2)
    return torch.sigmoid((radius - distance) / 1.5)
