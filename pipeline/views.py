"""Pictures for windows: binned to the size of a screen and cut to 8 bits where there is time to do so."""

from math import nan
from types import ModuleType

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.prepare import PreparedFrame
from pipeline.preprocess import Array, to_host
from streamer.records import FrameResult
from streamer.window_link import View, ViewHeader

__all__ = ["ViewClock", "followed_view", "make_view"]

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
    prepared: PreparedFrame,
    denoised: Array,
    result: FrameResult,
    size_px: int,
    shapes: tuple[str, ...] = (),
) -> View:
    """Make the view of one analysed frame.

    Parameters
    ----------
    prepared : PreparedFrame
    denoised : array of float32, shape (h, w)
        In units of the vacuum level, in the networks' pixels.
    result : FrameResult
    size_px : int
        Longest side of the pictures [px].
    shapes : tuple of str
        Names of the classes of the result's particles.
    """
    height, width = prepared.image.shape
    bin_px = -(-max(height, width) // size_px)
    shape = (height // bin_px, width // bin_px)
    xp = prepared.xp
    counts = prepared.image if prepared.valid is None else xp.where(prepared.valid, prepared.image, 0)
    raw, raw_low, raw_high = to_uint8(binned(counts, bin_px, xp), xp)
    picture = at_frame_pixels(denoised, (height, width), bin_px, shape, xp)
    clean, clean_low, clean_high = to_uint8(picture, xp)
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
        shapes=shapes,
    )
    return View(header, raw, clean, result.columns, result.particles)


def followed_view(view: View, result: FrameResult) -> View:
    """Return a picture with what is known of its frame once its columns are followed."""
    header = msgspec.structs.replace(
        view.header,
        t_published=result.t_published,
        drift_y_px=result.drift_px[0],
        drift_x_px=result.drift_px[1],
        fused_atoms=result.fused_atoms,
        fused_atoms_std=result.fused_atoms_std,
    )
    return View(header, view.raw, view.denoised, result.columns, result.particles)


def binned(image: Array, bin_px: int, xp: ModuleType = np) -> Array:
    """Return the mean over squares of `bin_px`, float32; what does not fill a square is left out.

    It may be `image` itself: it must not be written to.

    Whole rows are added, then columns: on a CPU several times as fast as a sum over two axes.
    """
    if bin_px == 1:
        return image.astype(xp.float32, copy=False)
    height, width = (side // bin_px * bin_px for side in image.shape)
    rows = image[0:height:bin_px, :width].astype(xp.float32)
    for step in range(1, bin_px):
        rows += image[step:height:bin_px, :width]
    total = rows[:, ::bin_px].copy()
    for step in range(1, bin_px):
        total += rows[:, step::bin_px]
    return total / np.float32(bin_px**2)


def at_frame_pixels(
    image: Array, frame_shape: tuple[int, int], bin_px: int, shape: tuple[int, int], xp: ModuleType = np
) -> Array:
    """Return `image` (h, w), another sampling of the frame, as a picture of `shape` (binned frame px)."""
    if image.shape == frame_shape:
        return binned(image, bin_px, xp)
    step = max(1, round(bin_px * image.shape[0] / frame_shape[0]))
    coarse = binned(image, step, xp)
    rows, columns = (
        xp.minimum((xp.arange(n) + 0.5) * bin_px * (small / full) / step, limit - 1).astype(int)
        for n, small, full, limit in zip(shape, image.shape, frame_shape, coarse.shape, strict=True)
    )
    return coarse[rows[:, None], columns]


def to_uint8(image: Array, xp: ModuleType = np) -> tuple[NDArray[np.uint8], float, float]:
    """Cut an image to 8 bits; returns it, on the host, with the values that 0 and 255 stand for."""
    step = max(1, int(np.sqrt(image.size / _SAMPLE_PX)))
    low, high = np.percentile(to_host(image[::step, ::step], xp), _LOW_HIGH_PERCENT).tolist()
    high = max(high, low + 1e-6 * max(1.0, abs(low)))  # a flat image
    scaled = (image - np.float32(low)) * np.float32(255.0 / (high - low))
    return to_host(xp.clip(scaled, 0.0, 255.0, out=scaled).astype(np.uint8), xp), low, high


def _mean(prepared: PreparedFrame) -> float:
    if prepared.valid is None:
        return float(prepared.image.mean())
    return float(prepared.image[prepared.valid].mean()) if bool(prepared.valid.any()) else nan
