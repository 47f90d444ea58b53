"""The raw and the denoised frame as pictures: pixels, and the levels and colours to draw them with. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gui.contrast import contrast_of
from gui.pixels import average
from gui.settings import Settings
from streamer.window_link import View

__all__ = ["Picture", "denoised_picture", "raw_picture"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image to be drawn over `height` x `width` recorded pixels.

    Attributes
    ----------
    pixels : numpy.ndarray of uint8, shape (h, w)
    levels : tuple of float
        Values drawn with the first and the last entry of the lookup table.
    colour_map : str
        See `gui.colours.lookup_table`.
    bin_px : int
        Recorded pixels per picture pixel.
    low, high : float
        What uint8 0 and 255 stand for.
    """

    pixels: NDArray[np.uint8]
    levels: tuple[float, float]
    colour_map: str
    bin_px: int
    low: float
    high: float

    def value_at(self, y: float, x: float) -> float | None:
        """Return the value at recorded pixel (y, x), None outside."""
        row, column = (int(np.floor((v + 0.5) / self.bin_px)) for v in (y, x))
        if not (0 <= row < self.pixels.shape[0] and 0 <= column < self.pixels.shape[1]):
            return None
        return self.low + float(self.pixels[row, column]) / 255 * (self.high - self.low)


def raw_picture(view: View, recent: tuple[View, ...], settings: Settings) -> Picture | None:
    """Make the picture of the raw frame, or of the mean of `recent`, which end with `view`.

    None where the frame is damaged.
    """
    h = view.header
    if not view.raw.size:
        return None
    pixels = average(recent) if settings.average_frames > 1 and recent else view.raw
    levels = contrast_of(settings).levels(pixels)
    return Picture(pixels, levels, settings.raw_colour_map, h.bin_px, h.raw_low, h.raw_high)


def denoised_picture(view: View, settings: Settings) -> Picture | None:
    """Make the picture of the denoised frame; None where there is none."""
    h = view.header
    if not view.denoised.size:
        return None
    levels = contrast_of(settings).levels(view.denoised)
    return Picture(
        view.denoised, levels, settings.denoised_colour_map, h.bin_px, h.denoised_low, h.denoised_high
    )
