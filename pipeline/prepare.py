"""From a task to what the networks take: decode, mask, resample, normalise, pad."""

from concurrent.futures import Future
from dataclasses import dataclass
from math import nan
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.device import HOST, Device
from pipeline.preprocess import (
    Array,
    noise_level,
    normalise,
    pad_to_multiple,
    resample_to,
    resampled_shape,
    to_host,
    usable_pixels,
    vacuum_level,
)
from streamer.compression import decode
from streamer.errors import GeometryError
from streamer.link import Task
from streamer.pixels import nodata_value
from streamer.records import FrameHeader

__all__ = ["MIN_SIDE_PX", "PreparedFrame", "prepare", "unfit_size"]

MIN_SIDE_PX = 32
"""Shortest side of a frame that the networks can say anything about, in their own pixels."""
_COARSEST = 16.0  # of the networks' pixels: none of what they look for is to be seen, and memory runs out


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A frame on its way through the networks.

    Attributes
    ----------
    header : FrameHeader
    t_received : float
        Unix seconds on the run's clock.
    xp : module
        Array module of all arrays below.
    image : array of shape (H, W)
        As decoded; a view into the received message where it came uncompressed.
    valid : array of bool, shape (H, W), or None
        False where there is no data or the pixel is saturated; None if all pixels count.
    frame : array of float32, shape (C, h', w')
        The networks' input, padded to their multiple.
    network_shape : tuple of int
        (h, w) before padding, in the networks' pixels.
    pixel_size_A : float
        Of `image`, at the specimen [Å].
    levels : array of float32, shape (2,)
        Vacuum level [counts] and the noise's standard deviation in units of it.
    drift : array of float64, shape (2,), or tuple of float
        (y, x) against the series' first frame, in pixels of `image`; NaN if it was not measured.
    series : int
        As in `streamer.link.Task`.
    """

    header: FrameHeader
    t_received: float
    xp: ModuleType
    image: Array
    valid: Array | None
    frame: Array
    network_shape: tuple[int, int]
    pixel_size_A: float
    levels: Array
    drift: Array = (nan, nan)
    series: int = 0

    @property
    def level_counts(self) -> float:
        """Vacuum level [counts]; of a frame on a device this waits for its preparation."""
        return float(self.levels[0])

    @property
    def noise(self) -> float:
        """The noise's standard deviation in units of the vacuum level; waits as `level_counts`."""
        return float(self.levels[1])

    @property
    def drift_px(self) -> tuple[float, float]:
        """Drift (y, x) [px of `image`] on the host; waits as `level_counts`."""
        if isinstance(self.drift, tuple):
            return self.drift
        y, x = to_host(self.drift, self.xp).tolist()
        return y, x

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels for one pixel of the networks, along y and x."""
        (height, width), (h, w) = self.image.shape, self.network_shape
        return height / h, width / w


def prepare(
    task: Task,
    pixel_size_A: float,
    target_A: float,
    device: Device = HOST,
    pixels: Future[NDArray[Any]] | None = None,
) -> PreparedFrame:
    """Prepare one frame.

    Parameters
    ----------
    task : Task
    pixel_size_A, target_A : float
        Pixel size of the frame and of the networks' training frames, at the specimen [Å].
    device : Device
        Where the frame is prepared.
    pixels : Future, optional
        The frame's pixels in what `device.room` gave, if they are being decoded already.

    Raises
    ------
    MessageError
        If the payload does not decode, or the frame is too small, or its pixels too large.
    """
    xp = device.xp
    on_host = decode(task.frame, device.room(task.frame.header)) if pixels is None else pixels.result()
    if why := unfit_size(task.frame.header.shape, pixel_size_A, target_A):
        raise GeometryError(why)
    image = device.bring(on_host)
    valid = valid_pixels(on_host, task.saturation_value)
    if valid is not None:
        valid = xp.asarray(valid)
    counts, usable, noise_counts = _resampled(image, valid, pixel_size_A, target_A, xp)
    height, width = counts.shape[1:]
    normalised = normalise(counts, usable, xp, noise_counts)
    return PreparedFrame(
        header=task.frame.header,
        t_received=task.t_received,
        xp=xp,
        image=image,
        valid=valid,
        frame=pad_to_multiple(normalised.frames, xp=xp)[0],
        network_shape=(height, width),
        pixel_size_A=pixel_size_A,
        levels=xp.stack([normalised.level_counts[0], normalised.noise[0]]),
        series=task.series,
    )


def unfit_size(shape: tuple[int, int], pixel_size_A: float, target_A: float) -> str:
    """Return why a frame of so many pixels of that size cannot be analysed; empty if it can."""
    height, width = resampled_shape(shape, pixel_size_A, target_A)
    if min(height, width) < MIN_SIDE_PX:
        return (
            f"a frame of {height} x {width} px of {target_A:g} Å is too small to analyse, at least"
            f" {MIN_SIDE_PX} px are needed; check the pixel size ({pixel_size_A:g} Å)"
        )
    if pixel_size_A > _COARSEST * target_A:
        return (
            f"pixels of {pixel_size_A:g} Å are too large to analyse, at most {_COARSEST * target_A:g} Å are"
            " expected; check the pixel size"
        )
    return ""


def valid_pixels(image: NDArray[Any], saturation_value: int | None) -> NDArray[np.bool_] | None:
    """Return False where `image` (H, W) holds no data or is saturated; None if that is nowhere."""
    limit = nodata_value(image.dtype)
    if saturation_value:
        limit = min(limit, saturation_value)
    return image < limit if image.max() >= limit else None


def _resampled(
    image: Array, valid: Array | None, pixel_size_A: float, target_A: float, xp: ModuleType
) -> tuple[Array, Array | None, Array | None]:
    """Return the frame as a stack of one, shape (1, h, w), its valid pixels, and its noise if that is known.

    A Fourier transform takes no holes: before one, invalid pixels get the vacuum level. Noise is measured
    before pixels are made smaller, after they are made larger: with both as the networks' pixels have it.
    """
    counts = image[None]
    whole = counts if valid is None else _filled(counts, valid, xp)
    resampled = resample_to(whole, pixel_size_A, target_A, xp)
    if resampled is whole:
        return counts, valid, None
    there = None if valid is None else _sampled(valid, resampled.shape[1:], xp)
    if pixel_size_A < target_A:
        return resampled, there, None
    usable = None if valid is None else valid[None]
    return resampled, there, noise_level(xp.asarray(whole, dtype=xp.float32), xp, usable)


def _sampled(valid: Array, shape: tuple[int, int], xp: ModuleType) -> Array:
    """Return (h, w) which pixels of a frame resampled to `shape` lie on valid ones."""
    rows, columns = (xp.arange(new) * old // new for new, old in zip(shape, valid.shape, strict=True))
    return valid[rows[:, None], columns]


def _filled(counts: Array, valid: Array, xp: ModuleType) -> Array:
    frames = counts.astype(xp.float32)
    level = vacuum_level(frames, usable_pixels(counts, valid, xp), xp)
    return xp.where(valid, frames, level[:, None, None])
