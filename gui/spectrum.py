"""The power spectrum of a picture, as a picture. Pure."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from gui.pixels import block_sums

__all__ = ["Spectrum", "spectrum"]

_LARGEST_PX = 512
_A_PER_NM = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """A power spectrum with zero frequency in the middle.

    Attributes
    ----------
    pixels : numpy.ndarray of uint8, shape (n, n)
        Logarithm of the power.
    step_per_nm : float
        Spatial frequency from one pixel to the next [1/nm]; NaN if the pixel size is unknown.
    """

    pixels: NDArray[np.uint8]
    step_per_nm: float

    def spacing_nm(self, y: float, x: float) -> float:
        """Return the lattice spacing that the pixel (y, x) stands for [nm]."""
        middle = self.pixels.shape[0] // 2
        frequency = math.hypot(y - middle, x - middle) * self.step_per_nm
        return 1 / frequency if frequency > 0 else math.inf


def spectrum(picture: NDArray[np.uint8], pixel_size_A: float) -> Spectrum:
    """Compute the power spectrum of the picture's largest central square, with a Hann window.

    Parameters
    ----------
    picture : numpy.ndarray of uint8, shape (h, w)
        Pictures above 512 pixels are binned first.
    pixel_size_A : float
        Of the picture [Å]; NaN if unknown.
    """
    side = min(picture.shape)
    factor = -(-side // _LARGEST_PX)
    n = side // factor
    y0, x0 = (picture.shape[0] - n * factor) // 2, (picture.shape[1] - n * factor) // 2
    square = block_sums(picture[y0 : y0 + n * factor, x0 : x0 + n * factor], factor).astype(np.float32)
    windowed = (square - square.mean()) * _hann(n)
    power = np.log1p(np.abs(fft.fftshift(fft.fft2(windowed))))
    low, high = np.percentile(power[::4, ::4], 50), power.max()
    scaled = (power - low) * (255 / max(float(high - low), 1e-6))
    step = _A_PER_NM / (n * factor * pixel_size_A) if pixel_size_A > 0 else math.nan
    return Spectrum(scaled.clip(0, 255).astype(np.uint8), step)


@cache
def _hann(n: int) -> NDArray[np.float32]:
    window = np.hanning(n).astype(np.float32)
    return np.outer(window, window)
