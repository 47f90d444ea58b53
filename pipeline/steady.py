"""Frames held steady: how far each has moved, and, if asked for, the last ones laid over it.

At 10 e/Å² a frame no network counts atoms from one frame. With `AnalysisConfig.average_frames` above 1, what
the networks get is the mean of about so many frames, each moved by its drift (to whole pixels: the blur is
0.06 Å rms) to where the newest one is: as many times the dose, for as many frames' delay. A replaced frame
has the noise level of the mean, so everything after it works as with frames of that dose. A frame of another
exposure stays as it is.

With `AnalysisConfig.denoise_frames` above 1 the frame stays as it is, and those before it come along for the
denoiser.
"""

from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from pipeline.drift import DriftMeter, binned
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import CONTRAST_UNIT, Array, noise_level, normalise, pad_to_multiple, to_host
from pipeline.recent import RecentFrames, alike, laid_over

if TYPE_CHECKING:
    from streamer.config import AnalysisConfig
    from streamer.records import SeriesKey

__all__ = ["Drifts", "Steadier", "binned_frame"]

_UNSEEN = 1e6  # variance of what has not been in view: the next image replaces it


class Drifts:
    """Measures drift, in the order of the frames' arrival; begins anew with each series."""

    def __init__(self) -> None:
        self._series: tuple[SeriesKey, int] | None = None
        self._meter = DriftMeter()

    def of(
        self,
        series: "tuple[SeriesKey, int]",
        image: Array,
        scale: tuple[float, float],
        xp: ModuleType = np,
    ) -> tuple[Array, Array]:
        """Return a frame's shift in pixels of the networks and in its own, two arrays of shape (2,).

        Parameters
        ----------
        series : tuple of SeriesKey and int
            Which one: the number tells those apart that have the same key.
        image : array of float32
            The frame in the networks' pixels, as `pipeline.drift.binned` returns it.
        scale : tuple of float
            See `PreparedFrame.scale`.
        xp : module
            Array module of `image`.
        """
        if series != self._series:
            self._series, self._meter = series, DriftMeter()
        shift = self._meter.shift_of(image, xp)
        return shift, xp.stack([d * s for d, s in zip(shift, scale, strict=True)])


class Steadier:
    """Measures drift and averages, in the order of the frames' arrival; begins anew with each series.

    Parameters
    ----------
    average_frames : int
        1: frames stay as they are.
    denoise_frames : int
        1: frames come alone. One of both must be 1.
    """

    def __init__(self, average_frames: int = 1, denoise_frames: int = 1) -> None:
        self._average_frames, self._denoise_frames = average_frames, denoise_frames
        self._series: tuple[SeriesKey, int] | None = None
        self._drifts = Drifts()
        self._begin()

    @classmethod
    def of(cls, analysis: "AnalysisConfig") -> "Steadier":
        """Return one as a run's configuration wants it."""
        return cls(analysis.average_frames, analysis.denoise_frames)

    def steady(self, prepared: PreparedFrame) -> PreparedFrame:
        """Return the frame with its drift, and with those before it, or the average in its place."""
        series = (prepared.header.key, prepared.series)
        if series != self._series:
            self._series = series
            self._begin()
        xp = prepared.xp
        shift, drift = self._drifts.of(series, binned_frame(prepared), prepared.scale, xp)
        steady = replace(prepared, drift=drift)
        if self._average_frames == self._denoise_frames == 1:
            return steady
        y, x = to_host(shift, xp).tolist()  # of a frame on a device this waits for it
        place = (round(y), round(x)) if np.isfinite([y, x]).all() else None
        return self._with_older(steady, place) if self._denoise_frames > 1 else self._averaged(steady, place)

    def _begin(self) -> None:
        self._average = _MovingAverage(self._average_frames)
        self._noise = 0.0  # of the last frame that was averaged
        self._n_unlike = 0  # frames since then
        self._recent = RecentFrames(self._denoise_frames)

    def _belongs(self, prepared: PreparedFrame) -> bool:
        """Whether a frame goes into the average; one of much less noise, or lastingly more, begins it anew.

        What is counted while the beam is blanked would be most of the average's noise for long.
        """
        noise = prepared.noise
        if not self._noise or alike(noise, self._noise):
            self._noise, self._n_unlike = noise, 0
            return True
        self._n_unlike += 1
        if prepared.level_counts <= 0 or (noise > self._noise and self._n_unlike <= self._average_frames):
            return False
        self._average, self._noise, self._n_unlike = _MovingAverage(self._average_frames), noise, 0
        return True

    def _with_older(self, steady: PreparedFrame, place: tuple[int, int] | None) -> PreparedFrame:
        frame, noise, xp = _unpadded(steady), steady.noise, steady.xp
        frames = self._recent.with_next(frame, _contrast(steady), noise, place, xp)
        return replace(steady, frame=pad_to_multiple(frames[None], xp=xp)[0])

    def _averaged(self, steady: PreparedFrame, place: tuple[int, int] | None) -> PreparedFrame:
        if place is None or not self._belongs(steady):
            return steady
        xp = steady.xp
        contrast = _contrast(steady)
        mean = self._average.with_next(contrast, place, xp)[None]
        noise = None
        if steady.scale[0] < 1.0:  # as in `normalise`; by how much it fell can be measured
            noise = steady.levels[1:] * noise_level(mean, xp) / noise_level(contrast[None], xp)
        normalised = normalise(1.0 + mean, xp=xp, noise_counts=noise)
        levels = xp.stack([steady.levels[0], normalised.noise[0]])
        return replace(steady, frame=pad_to_multiple(normalised.frames, xp=xp)[0], levels=levels)


def _unpadded(prepared: PreparedFrame) -> Array:
    """Return a frame (C, h, w) without what was mirrored at its edges, which must not move with it."""
    height, width = prepared.network_shape
    return prepared.frame[:, :height, :width]


def _contrast(prepared: PreparedFrame) -> Array:
    """Return a frame (h, w) in units of its vacuum level, vacuum 0."""
    scale = np.sqrt(prepared.noise**2 + CONTRAST_UNIT**2)
    return _unpadded(prepared)[0] * np.float32(scale)


def binned_frame(prepared: PreparedFrame) -> Array:
    """Return of a frame what its drift is measured with."""
    return binned(_unpadded(prepared)[0], prepared.xp)


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
            variance = self._variance
            if step != (0, 0):
                self._mean, variance = (
                    laid_over(xp.full_like(values, fill), values, step, xp)
                    for values, fill in ((self._mean, 0.0), (self._variance, _UNSEEN))
                )
            share = xp.maximum(variance / (variance + 1.0), self._share)
            self._mean += share * (image - self._mean)
            self._variance = (1.0 - share) ** 2 * variance + share**2
        self._shift = shift
        return self._mean * xp.sqrt(self._variance.min() / self._variance)
