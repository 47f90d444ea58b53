"""Pictures for windows: binned to the size of a screen and cut to 8 bits where there is time to do so."""

from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.prepare import PreparedFrame
from streamer.link import View, ViewHeader
from streamer.records import FrameResult

__all__ = ["ViewClock", "make_view"]

_LOW_HIGH_PERCENT = (0.5, 99.5)
_SAMPLE_PX = 10_000  # pixels that levels are estimated from


class ViewClock:
    """Says when the next picture is due: at most `rate_hz` a second, without a burst after a pause."""

    def __init__(self, rate_hz: float) -> None:
        self._interval_s = 1.0 / rate_hz
        self._next_s = -np.inf

    def due(self, now_s: float) -> bool:
        """Whether a picture may be made now; if so, the next is due one interval later."""
        if now_s < self._next_s:
            return False
        on_time = now_s < self._next_s + self._interval_s
        self._next_s = (self._next_s if on_time else now_s) + self._interval_s
        return True


def make_view(
    prepared: PreparedFrame, denoised: NDArray[np.float32], result: FrameResult, size_px: int
) -> View:
    """Make the view of one analysed frame.

    Parameters
    ----------
    prepared : PreparedFrame
    denoised : numpy.ndarray of float32, shape (h, w)
        In units of the vacuum level, in the networks' pixels.
    result : FrameResult
    size_px : int
        Longest side of the pictures [px].
    """
    height, width = prepared.image.shape
    bin_px = -(-max(height, width) // size_px)
    shape = (height // bin_px, width // bin_px)
    counts = prepared.image if prepared.valid is None else np.where(prepared.valid, prepared.image, 0)
    raw, raw_low, raw_high = to_uint8(binned(counts, bin_px))
    picture = at_frame_pixels(denoised, (height, width), bin_px, shape)
    clean, clean_low, clean_high = to_uint8(picture)
    header = ViewHeader(
        series_id=result.key.series_id,
        frame_id=result.frame_id,
        height=height,
        width=width,
        view_height=shape[0],
        view_width=shape[1],
        bin_px=bin_px,
        raw_low=raw_low,
        raw_high=raw_high,
        denoised_low=clean_low,
        denoised_high=clean_high,
        pixel_size_A=prepared.pixel_size_A,
        t_detector=prepared.header.t_detector,
        t_received=result.t_received,
        t_published=result.t_published,
        total_atoms=result.total_atoms,
        total_atoms_std=result.total_atoms_std,
        drift_y_px=result.drift_px[0],
        drift_x_px=result.drift_px[1],
        ood_score=result.ood_score,
        mean_counts=_mean(prepared),
        fused_atoms=result.fused_atoms,
        fused_atoms_std=result.fused_atoms_std,
    )
    return View(header, raw, clean, result.columns)


def binned(image: NDArray[Any], bin_px: int) -> NDArray[np.float32]:
    """Return the mean over squares of `bin_px`, float32; what does not fill a square is left out."""
    if bin_px == 1:
        return image.astype(np.float32)
    height, width = (side // bin_px * bin_px for side in image.shape)
    rows = np.add.reduceat(image[:height, :width], np.arange(0, height, bin_px), axis=0, dtype=np.float32)
    total = np.add.reduceat(rows, np.arange(0, width, bin_px), axis=1)
    return np.asarray(total / bin_px**2, np.float32)


def at_frame_pixels(
    image: NDArray[np.float32], frame_shape: tuple[int, int], bin_px: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return `image` (h, w), another sampling of the frame, as a picture of `shape` (binned frame px)."""
    if image.shape == frame_shape:
        return binned(image, bin_px)
    step = max(1, round(bin_px * image.shape[0] / frame_shape[0]))
    coarse = binned(image, step)
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * bin_px * (small / full) / step, limit - 1).astype(int)
        for n, small, full, limit in zip(shape, image.shape, frame_shape, coarse.shape, strict=True)
    )
    return np.asarray(coarse[rows[:, None], columns])


def to_uint8(image: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, float]:
    """Cut an image to 8 bits; returns it with the values that 0 and 255 stand for."""
    step = max(1, int(np.sqrt(image.size / _SAMPLE_PX)))
    low, high = (float(v) for v in np.percentile(image[::step, ::step], _LOW_HIGH_PERCENT))
    high = max(high, low + 1e-6 * max(1.0, abs(low)))  # a flat image
    scaled = (image - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.clip(scaled, 0.0, 255.0, out=scaled).astype(np.uint8), low, high


def _mean(prepared: PreparedFrame) -> float:
    if prepared.valid is None:
        return float(prepared.image.mean())
    return float(prepared.image[prepared.valid].mean()) if prepared.valid.any() else nan
