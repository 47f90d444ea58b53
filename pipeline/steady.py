"""Frames held steady: how far each has moved, and, if asked for, the mean of the last ones laid over it.

At 10 e/Å² a frame no network counts atoms from one frame. With `AnalysisConfig.average_frames` above 1, what
the networks get is the mean of about so many frames, each moved by its drift (to whole pixels: the blur is
0.06 Å rms) to where the newest one is: as many times the dose, for as many frames' delay. A replaced frame
has the noise level of the mean, so everything after it works as with frames of that dose.
"""

from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from pipeline.drift import DriftMeter, binned
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import CONTRAST_UNIT, Array, normalise, to_host

if TYPE_CHECKING:
    from streamer.records import SeriesKey

__all__ = ["Drifts", "Steadier", "binned_frame"]

_UNSEEN = 1e6  # variance of what has not been in view: the next image replaces it


class Drifts:
    """Measures drift, in the order of the frames' arrival; begins anew with each series."""

    def __init__(self) -> None:
        self._series: SeriesKey | None = None
        self._meter = DriftMeter()

    def of(
        self, key: "SeriesKey", image: Array, scale: tuple[float, float], xp: ModuleType = np
    ) -> tuple[Array, Array]:
        """Return a frame's shift in pixels of the networks and in its own, two arrays of shape (2,).

        Parameters
        ----------
        key : SeriesKey
        image : array of float32
            The frame in the networks' pixels, as `pipeline.drift.binned` returns it.
        scale : tuple of float
            See `PreparedFrame.scale`.
        xp : module
            Array module of `image`.
        """
        if key != self._series:
            self._series, self._meter = key, DriftMeter()
        shift = self._meter.shift_of(image, xp)
        return shift, xp.stack([d * s for d, s in zip(shift, scale, strict=True)])


class Steadier:
    """Measures drift and averages, in the order of the frames' arrival; begins anew with each series.

    Parameters
    ----------
    average_frames : int
        1: frames stay as they are.
    """

    def __init__(self, average_frames: int) -> None:
        self._average_frames = average_frames
        self._series: SeriesKey | None = None
        self._drifts = Drifts()
        self._average = _MovingAverage(average_frames)

    def steady(self, prepared: PreparedFrame) -> PreparedFrame:
        """Return the frame with its drift, or the average in its place."""
        if prepared.header.key != self._series:
            self._series = prepared.header.key
            self._average = _MovingAverage(self._average_frames)
        xp = prepared.xp
        shift, drift = self._drifts.of(self._series, binned_frame(prepared), prepared.scale, xp)
        steady = replace(prepared, drift=drift)
        if self._average_frames == 1:
            return steady
        y, x = to_host(shift, xp).tolist()  # of a frame on a device this waits for it
        if not np.isfinite([y, x]).all():
            return steady
        scale = np.sqrt(prepared.noise**2 + CONTRAST_UNIT**2)
        contrast = prepared.frame[0] * np.float32(scale)
        mean = self._average.with_next(contrast, (round(y), round(x)), xp)
        normalised = normalise(1.0 + mean[None], xp=xp)
        levels = xp.stack([prepared.levels[0], normalised.noise[0]])
        return replace(steady, frame=normalised.frames[0], levels=levels)


def binned_frame(prepared: PreparedFrame) -> Array:
    """Return of a frame what its drift is measured with."""
    height, width = prepared.network_shape
    return binned(prepared.frame[0, :height, :width], prepared.xp)


class _MovingAverage:
    """The exponential average of images (h, w), moved along with the newest one.

    What has only just come into view has been averaged over few frames. There the average is damped until its
    noise is that of the rest: to the networks, noise above the frame's level would look like columns.
    """

    def __init__(self, frames: int) -> None:
        self._share = 2.0 / (frames + 1)  # then the average has the variance of a mean of so many
        self._mean: Array = None
        self._variance: Array = None  # of the average at each pixel, an image's noise being 1
        self._shift = (0, 0)

    def with_next(self, image: Array, shift: tuple[int, int], xp: ModuleType) -> Array:
        """Average an image in that lies `shift` (y, x) further than the first; return the average over it."""
        if self._mean is None:
            self._mean, self._variance = image.copy(), xp.ones_like(image)
        else:
            step = (shift[0] - self._shift[0], shift[1] - self._shift[1])
            self._mean, variance = (
                _moved(values, step, fill, xp)
                for values, fill in ((self._mean, 0.0), (self._variance, _UNSEEN))
            )
            share = xp.maximum(variance / (variance + 1.0), self._share)
            self._mean += share * (image - self._mean)
            self._variance = (1.0 - share) ** 2 * variance + share**2
        self._shift = shift
        return self._mean * xp.sqrt(self._variance.min() / self._variance)


def _moved(image: Array, step: tuple[int, int], fill: float, xp: ModuleType) -> Array:
    """Return an image (h, w) moved by `step` (y, x); what comes into view is `fill`."""
    if step == (0, 0):
        return image
    steps = [max(-side, min(side, d)) for d, side in zip(step, image.shape, strict=True)]
    there = tuple(slice(max(0, d), side - max(0, -d)) for d, side in zip(steps, image.shape, strict=True))
    here = tuple(slice(max(0, -d), side - max(0, d)) for d, side in zip(steps, image.shape, strict=True))
    moved = xp.full_like(image, fill)
    moved[there] = image[here]
    return moved
