"""Colours with a meaning: one for each atom count, and the pictures' lookup tables.

The count colours rise in lightness from one atom to many while the hue runs from purple over blue and green
to yellow, so that their order survives grey-scale printing and each kind of colour blindness; the tests
simulate all three and demand a visible step between neighbours.
"""

from functools import cache

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

__all__ = ["count_colours", "count_scale_length", "lookup_table", "text_on"]

_OKLAB_TO_LMS = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_FROM = np.array([0.40, 0.19, 330.0])  # lightness, chroma, hue [degrees] of one atom
_TO = np.array([0.95, 0.15, 100.0])  # of the largest count


@cache
def count_colours(n: int) -> NDArray[np.uint8]:
    """Make the colours of 1 to `n` atoms.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, 3)
        sRGB; row k belongs to k + 1 atoms.

    Notes
    -----
    A straight path in OKLCH (B. Ottosson, "A perceptual color space for image processing", 2020), converted
    with the matrices given there.
    """
    lightness, chroma, hue = (_FROM + np.linspace(0, 1, n)[:, None] * (_TO - _FROM)).T
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    linear = ((np.stack([lightness, a, b], axis=1) @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_LINEAR_RGB.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: NDArray[np.uint8] = np.round(255 * srgb).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def count_scale_length(largest: int) -> int:
    """Choose how many colours the scale has: at least 12, in steps of 4, so that colours rarely change."""
    return int(max(12, 4 * -(-largest // 4)))


def text_on(colour: NDArray[np.uint8]) -> str:
    """Choose black or white text for a disc of this colour, by its luminance (ITU-R BT.709)."""
    luminance = float(np.dot((colour / 255.0) ** 2.2, (0.2126, 0.7152, 0.0722)))
    return "#000000" if luminance > 0.22 else "#ffffff"


@cache
def lookup_table(name: str, brightness: float = 1.0) -> NDArray[np.uint8]:
    """Make the 256-entry table of a picture's colour map, shape (256, 3); other lengths draw slowly.

    `brightness`, 0 to 1, dims a picture that lies beneath something.
    """
    return np.round(brightness * _full_table(name)).astype(np.uint8)


def _full_table(name: str) -> NDArray[np.uint8]:
    ramp = np.arange(256, dtype=np.uint8)
    if name == "grey":
        return np.repeat(ramp[:, None], 3, axis=1)
    if name == "inverted":
        return np.repeat(ramp[::-1, None], 3, axis=1).copy()
    table = pg.colormap.get(name).getLookupTable(nPts=256, alpha=False)
    return np.ascontiguousarray(table[:, :3], np.uint8)
