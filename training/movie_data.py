"""Five consecutive frames of a movie, laid over one another, and the newest one without noise: drawn afresh.

The live program lays frames over the newest one by whole pixels (``pipeline/recent.py``), so what is left of
the drift is up to half a pixel and the drift's own error. At the beginning of a series it has fewer than
five, and the oldest one stands for those that are missing; so it does in some of the movies here.

The specimen changes in some of the movies: places of the frames before a change show the vacuum, another
particle, or the same one moved. The newest frame, which is what is to be learned, is always a true picture.
In that way a network learns not to carry into it what only those before it show.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.preprocess import CONTRAST_UNIT, normalise, with_older
from training.data import (
    Detectors,
    DrawConfig,
    Pool,
    collected,
    draw_detectors,
    draw_for,
    random_corner,
    read_out,
    spread,
    turned,
    uniform,
)

FRAMES = 5
"""Frames that a network sees, the newest last; that one is denoised."""
MARGIN_PX = 8
"""Cut off around a moved picture, whose edges are not known."""


@dataclass(frozen=True, slots=True)
class MovieDraw:
    """Ranges from which movies are drawn, beside those of single frames.

    ``residual_px`` is how far a frame may lie off after its drift has been taken away, ``lost_px`` how far in
    ``lost_share`` of the movies, whose drift was measured badly. ``changed_share`` of the movies hold a
    change, ``short_share`` fewer than five frames. In ``uncovered_share`` of them the specimen moves by
    ``uncovered_px`` (least, most) a frame, so that older frames do not reach one of the edges. ``lag`` is the
    share of a frame's signal that stays for the next one, of integrating detectors.
    """

    lens: DrawConfig = field(default_factory=lambda: draw_for("denoise"))
    residual_px: float = 0.7
    lost_px: float = 3.0
    lost_share: float = 0.1
    changed_share: float = 0.15
    short_share: float = 0.1
    uncovered_share: float = 0.2
    uncovered_px: tuple[int, int] = (1, 4)
    lag: tuple[float, float] = (0.0, 0.4)


@dataclass(frozen=True, slots=True)
class MovieBatch:
    """Network input (N, 6, H, W) and the newest frame without noise (N, 1, H, W)."""

    frames: Tensor
    clean: Tensor


def movie_input(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Prepare movies (N, 5, H, W) [counts], frames laid over one another: (N, 6, H, W), the newest first."""
    prepared = normalise(frames.reshape(-1, *frames.shape[-2:]))
    scale = np.sqrt(prepared.noise**2 + CONTRAST_UNIT**2)[:, None, None]
    contrasts = (prepared.frames[:, 0] * scale).reshape(frames.shape)
    newest = prepared.frames[FRAMES - 1 :: FRAMES]
    return np.asarray(with_older(newest, [contrasts[:, k] for k in reversed(range(FRAMES - 1))]))


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
        """Choose the frames before a change: not the newest one."""
        return slice(0, int(self.rng.integers(1, FRAMES)))

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
        """Move all but the newest frames by what aligning by whole pixels leaves."""
        n = len(movies)
        lost = torch.from_numpy(self.rng.random((n, 1, 1, 1)) < self.draw.lost_share)
        reach = torch.where(lost, self.draw.lost_px, self.draw.residual_px)
        y, x = (
            reach * torch.from_numpy(self.rng.uniform(-1, 1, (n, FRAMES, 1, 1)).astype(np.float32))
            for _ in range(2)
        )
        y[:, -1], x[:, -1] = 0.0, 0.0
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
    frames = film(clean, detectors, draw_lag(detectors, draw.lag, rng)).numpy()
    for index in np.flatnonzero(rng.random(len(frames)) < draw.short_share):
        shorten(frames[index], int(rng.integers(1, FRAMES)))
    for index in np.flatnonzero(rng.random(len(frames)) < draw.uncovered_share):
        uncover(
            np.rot90(frames[index], int(rng.integers(4)), (1, 2)),
            int(rng.integers(*draw.uncovered_px, endpoint=True)),
        )
    newest = spread(clean[:, -1], detectors.point_spread)
    return MovieBatch(torch.from_numpy(movie_input(frames)), newest[:, None])


def shorten(movie: NDArray[np.float32], n_missing: int) -> None:
    """Put the oldest frame that is there in the place of those missing before it; movie (T, h, w)."""
    movie[:n_missing] = movie[n_missing]


def uncover(movie: NDArray[np.float32], step_px: int) -> None:
    """Let the newest frame show at the top of older ones, further with each frame's age; movie (T, h, w)."""
    for age in range(1, len(movie)):
        movie[-1 - age, : age * step_px] = movie[-1, : age * step_px]


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
