"""What a frame of counts becomes before a network sees it: the same in training, export and live inference.

The networks see the frame in units of the vacuum level, and the noise level beside it. A frame's gain
therefore does not matter, and neither does its size. Everything here runs on the array module that is handed
in (NumPy, CuPy); it is a few passes over the frame.

The vacuum level is taken to be the frame's mean: in phase-contrast imaging without an objective aperture the
lens redistributes the electrons but removes none, so that a particle's mean is the vacuum's, whatever share
of the frame it fills. Mean and noise are averaged along rows and the median over rows is used, so that a few
hot pixels change nothing; pixels without data enter neither. A constant offset of the detector must have been
subtracted before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft

PIXEL_SIZE_A = 0.2
"""Pixel size at which the networks were trained [Å]."""
SIZE_MULTIPLE = 16
"""Frame sides must be multiples of this for the networks."""

CONTRAST_UNIT = 0.3
"""Typical contrast of the signal, in units of the vacuum level; keeps the input of order one at any dose."""
CLIP = 32.0
NOISE_FLOOR = 0.01
_NOISE_ROWS = 128
_LEAST_SHARE = 1e-6  # of a row that is usable
_SAME_SIZE = 0.02  # relative: nearer pixel sizes are taken to be the same

Array = Any
"""An array of the module handed in as ``xp``."""


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """Frames as the networks take them.

    ``frames`` is (N, 2, H, W) float32. Channel 0 is the contrast c = counts / level - 1, divided by
    √(σ² + 0.3²) and cut to ±32; channel 1 is ln σ, constant over the frame, σ the noise of c.
    ``level_counts`` (N,) is the vacuum level and ``noise`` (N,) is σ. The arrays are new; the caller owns
    them.
    """

    frames: Array
    level_counts: Array
    noise: Array


def to_host(array: Array, xp: ModuleType) -> Array:
    """Return an array of `xp` as one of NumPy; the same if it is one."""
    return array if xp is np else xp.asnumpy(array)


def transforms_of(xp: ModuleType) -> Any:
    """Return the module of Fourier transforms for an array module; of NumPy's two, SciPy has the faster."""
    return scipy.fft if xp is np else xp.fft


def normalise(
    counts: Array, valid: Array | None = None, xp: ModuleType = np, noise_counts: Array | None = None
) -> NetworkInput:
    """Prepare frames for the networks.

    Parameters
    ----------
    counts
        (N, H, W), any real type, in any unit proportional to electrons. NaN and infinite values are invalid.
    valid
        Boolean (H, W) or (N, H, W), False where the detector has no data; None if all pixels count.
        Invalid pixels become the vacuum level.
    xp
        The array module of ``counts``: numpy or cupy.
    noise_counts
        (N,), the noise's standard deviation in the unit of the counts, where it cannot be measured because
        the frames were resampled to smaller pixels: what is interpolated has no noise of its own.

    Returns
    -------
    The frames with their vacuum levels and noise levels. A frame without any signal has level 0; it is
    divided by 1 instead, and all its pixels are -1 before the scaling.
    """
    frames = xp.asarray(counts, dtype=xp.float32)
    usable = usable_pixels(counts, valid, xp)
    level = vacuum_level(frames, usable, xp)
    unit = xp.where(level > 0, level, 1.0)
    if usable is not None:
        frames = xp.where(usable, frames, unit[:, None, None])
    measured = noise_level(frames, xp, usable) if noise_counts is None else noise_counts
    noise = xp.maximum(measured / unit, NOISE_FLOOR)
    scale = xp.sqrt(noise**2 + CONTRAST_UNIT**2)
    stacked = xp.empty((frames.shape[0], 2, *frames.shape[1:]), dtype=xp.float32)  # (N, 2, H, W)
    scaled = xp.subtract(frames, unit[:, None, None], out=stacked[:, 0])
    scaled *= (1.0 / (unit * scale))[:, None, None]
    xp.clip(scaled, -CLIP, CLIP, out=scaled)
    stacked[:, 1] = xp.log(noise)[:, None, None]
    return NetworkInput(stacked, level, noise)


def with_older(newest: Array, older: Sequence[Array], xp: ModuleType = np) -> Array:
    """Put frames that came before behind the newest ones, for a denoiser of several.

    Parameters
    ----------
    newest
        (N, 2, H, W), as `normalise` returns them.
    older
        K arrays (N, H, W): contrasts counts / level - 1 of the frames before, the last one first, laid over
        the newest.

    Returns
    -------
    (N, K + 2, H, W) float32: the newest frames' channels, and the older contrasts divided and cut as theirs.
    """
    n, _, height, width = newest.shape
    stacked = xp.empty((n, len(older) + 2, height, width), dtype=xp.float32)
    stacked[:, :2] = newest
    noise = xp.exp(newest[:, 1, :1, :1])  # (N, 1, 1)
    unit = 1.0 / xp.sqrt(noise**2 + CONTRAST_UNIT**2)
    for k, contrast in enumerate(older):
        xp.multiply(contrast, unit, out=stacked[:, k + 2])
    xp.clip(stacked[:, 2:], -CLIP, CLIP, out=stacked[:, 2:])
    return stacked


def usable_pixels(counts: Array, valid: Array | None, xp: ModuleType) -> Array | None:
    """Return the pixels (N, H, W) that carry data, or None when all do (cheap for integers)."""
    finite = None if counts.dtype.kind in "uib" else xp.isfinite(counts)
    if finite is not None and bool(finite.all()):
        finite = None
    if valid is None:
        return finite
    usable = xp.broadcast_to(xp.asarray(valid, dtype=bool), counts.shape)
    return usable if finite is None else usable & finite


def vacuum_level(frames: Array, usable: Array | None, xp: ModuleType) -> Array:
    """Return each frame's level (N,): the median over rows of the rows' means.

    Rows with less than half as many usable pixels as others do not vote; a frame without any has level 0.
    """
    if usable is None:
        return xp.median(frames.mean(-1), axis=-1)
    return _median_of(xp.where(usable, frames, 0.0).mean(-1), usable.mean(-1, dtype=frames.dtype), xp)


def noise_level(frames: Array, xp: ModuleType, usable: Array | None = None) -> Array:
    """Return the standard deviation (N,) of the noise in frames (N, H, W), from second differences.

    The filter of Immerkær (Computer Vision and Image Understanding 64 (1996) 300), second differences along
    both axes, whose squares sum to 36, is blind to anything smooth over three pixels. Noise that the detector
    correlates is underestimated by a constant factor of the detector. Of a large frame 128 rows or more are
    measured, evenly spread: they give the level within one per cent. Pixels that are not `usable` must hold
    the level, without noise.
    """
    both = _filtered(frames, -2.0)
    rows = xp.abs(both, out=both).mean(-1) * float(np.sqrt(np.pi / 2.0) / 6.0)
    if usable is None:
        return xp.median(rows, axis=-1)
    left = xp.sqrt(_filtered(usable.astype(frames.dtype), 4.0)).mean(-1) / 6.0  # of the filter's weights
    return _median_of(rows, left, xp)


def _filtered(images: Array, middle: float) -> Array:
    """Return weighted sums of 3 x 3 px, (1, middle, 1) along both axes, for some rows of images (N, H, W)."""
    height = images.shape[1]
    step = max(1, height // _NOISE_ROWS)
    along_y = images[:, : height - 2 : step] + middle * images[:, 1 : height - 1 : step]
    along_y += images[:, 2::step]
    both = along_y[..., 2:] + middle * along_y[..., 1:-1]
    both += along_y[..., :-2]
    return both


def _median_of(sums: Array, share: Array, xp: ModuleType) -> Array:
    """Return the median (N,) of `sums` over `share`, both (N, rows), where that is large enough; else 0."""
    votes = share >= xp.maximum(0.5 * share.max(-1, keepdims=True), _LEAST_SHARE)
    rows = xp.sort(xp.where(votes, sums / xp.maximum(share, _LEAST_SHARE), xp.inf), axis=-1)
    n_votes = votes.sum(-1)
    middle = xp.stack([xp.maximum(n_votes - 1, 0) // 2, n_votes // 2], axis=-1)
    return xp.where(n_votes > 0, xp.take_along_axis(rows, middle, axis=-1).mean(-1), 0.0)


def resample_to(
    frames: Array, pixel_size_A: float, target_A: float = PIXEL_SIZE_A, xp: ModuleType = np
) -> Array:
    """Resample frames (N, H, W) to another pixel size by cropping or padding their spectrum.

    Frames within 2 % of the target are returned as they are. The new shape is rounded to whole pixels; a
    position goes back by ``y_old = y_new * H_old / H_new``. Values keep their scale (mean per pixel).
    """
    height, width = frames.shape[-2:]
    if abs(pixel_size_A / target_A - 1.0) <= _SAME_SIZE:
        return frames
    new = resampled_shape((height, width), pixel_size_A, target_A)
    fft = transforms_of(xp)
    spectrum = fft.rfft2(xp.asarray(frames, dtype=xp.float32))  # (N, H, W // 2 + 1)
    rows, columns = min(height, new[0]), min(width, new[1]) // 2 + 1
    moved = xp.zeros((*frames.shape[:-2], new[0], new[1] // 2 + 1), dtype=spectrum.dtype)
    top, bottom = (rows + 1) // 2, rows // 2
    moved[..., :top, :columns] = spectrum[..., :top, :columns]
    if bottom:
        moved[..., -bottom:, :columns] = spectrum[..., -bottom:, :columns]
    resampled = fft.irfft2(moved, s=new) * (new[0] * new[1] / (height * width))
    return xp.asarray(resampled, dtype=xp.float32)


def resampled_shape(
    shape: tuple[int, int], pixel_size_A: float, target_A: float = PIXEL_SIZE_A
) -> tuple[int, int]:
    """Return the shape (height, width) that `resample_to` gives a frame."""
    scale = pixel_size_A / target_A
    if abs(scale - 1.0) <= _SAME_SIZE:
        return shape
    height, width = shape
    return round(height * scale), round(width * scale)


def pad_to_multiple(frames: Array, multiple: int = SIZE_MULTIPLE, xp: ModuleType = np) -> Array:
    """Mirror frames (N, C, H, W) at the bottom and right until both sides are multiples."""
    height, width = frames.shape[-2:]
    extra = (-height % multiple, -width % multiple)
    if extra == (0, 0):
        return frames
    return xp.pad(frames, ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])), mode="reflect")
