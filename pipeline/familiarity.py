"""How unlike the training data a frame looks: three plain measurements, each 0 (familiar) to 1 (foreign).

noise
    The frame's noise level lies outside the range of the training doses; 1 where a factor of two is missing.
residue
    The denoiser has left structure behind. What it takes away should be white noise: its variance in squares
    of 4 x 4 px is then a sixteenth of a pixel's. A detector's point spread makes that up to twice as much; an
    image of something else (a ramp, an edge, amorphous contrast) five to fifteen times.
hesitation
    The column map is not made of peaks of full height. For Gaussian peaks of height a, 2 Σp² / Σp over the
    pixels above 0.1 is a + 0.1. Another lattice, magnification or focus gives faint and smeared peaks; so
    does a dose at which the network cannot see well, and that too is worth showing.

The score is 1 - (1 - noise)(1 - residue)(1 - hesitation). It is a warning light, not a probability: a frame
of another material that happens to look like columns passes unnoticed. Values for known and foreign images
are in docs/analysis.md.
"""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from pipeline.prepare import PreparedFrame
from pipeline.preprocess import CONTRAST_UNIT

__all__ = [
    "PeakSums",
    "hesitation",
    "noise_of_doses",
    "noise_term",
    "residue",
    "residue_term",
    "unfamiliarity",
]

_FAINT = 0.1  # column probability below which a pixel is background
_ROW_STEP = 2  # rows left out of the sums cost nothing in accuracy
_COLUMN_AREA_PX = 2 * np.pi * 2.0**2 / _ROW_STEP  # Σp of one full column: a Gaussian of 2 px
_MIN_COLUMNS = 5  # with less evidence there is nothing to hesitate about: vacuum is no foreign image
_FULL, _SMEARED = 0.8, 0.4  # peak heights that count as 0 and 1
_SQUARE_PX = 4
_WHITE, _STRUCTURED = 1.6, 2.6  # residues that count as 0 and 1
_SOFTENED = 4.0  # a point spread lowers the measured noise by up to this
_SLACK = 1.2  # the noise level's own error


@dataclass(slots=True)
class PeakSums:
    """Sums over a column map, gathered tile by tile."""

    total: float = 0.0
    squares: float = 0.0

    def add(self, column_probability: NDArray[np.float32]) -> None:
        """Add a map (H, W), background left out."""
        rows = column_probability[::_ROW_STEP]
        clear = rows[rows > _FAINT]
        self.total += float(clear.sum())
        self.squares += float(np.dot(clear, clear))


def unfamiliarity(
    prepared: PreparedFrame,
    denoised: NDArray[np.float32],
    peaks: PeakSums,
    noise_range: tuple[float, float] | None,
) -> float:
    """Return the score of one frame, 0 to 1.

    Parameters
    ----------
    prepared : PreparedFrame
    denoised : numpy.ndarray of float32, shape (h, w)
        In units of the vacuum level.
    peaks : PeakSums
        Of the frame's column map.
    noise_range : tuple of float or None
        Lowest and highest noise level of the training frames (`noise_of_doses`); None: not known, not judged.
    """
    terms = (
        noise_term(prepared.noise, noise_range) if noise_range else 0.0,
        residue_term(residue(prepared, denoised)),
        hesitation(peaks),
    )
    return 1.0 - float(np.prod([1.0 - term for term in terms]))


def noise_of_doses(dose_e_per_A2: tuple[float, float], pixel_size_A: float) -> tuple[float, float]:
    """Return the range of noise levels, in units of the vacuum level, of frames counted at these doses."""
    low, high = dose_e_per_A2
    return 1 / sqrt(high) / pixel_size_A, 1 / sqrt(low) / pixel_size_A


def noise_term(noise: float, noise_range: tuple[float, float]) -> float:
    """Return by how many factors of two the noise is outside the range, at most 1."""
    low, high = noise_range[0] / _SOFTENED, noise_range[1] * _SLACK
    return float(np.clip(max(log(low / noise), log(noise / high)) / log(2), 0.0, 1.0))


def residue(prepared: PreparedFrame, denoised: NDArray[np.float32]) -> float:
    """Return the standard deviation of what was taken away, in squares, against that of white noise."""
    height, width = (side // _SQUARE_PX * _SQUARE_PX for side in denoised.shape)
    contrast = prepared.frame[0, :height, :width]
    scale = np.float32(np.hypot(prepared.noise, CONTRAST_UNIT))  # undoes the preprocessing's division
    square = scale * _squares(contrast) - _squares(denoised[:height, :width])
    pixels = scale * contrast[::8] - denoised[:height:8, :width]
    return float(square.std() / _SQUARE_PX / pixels.std())


def residue_term(residue: float) -> float:
    """Return 0 for white noise or noise with a point spread, 1 for structure."""
    return float(np.clip((residue - _WHITE) / (_STRUCTURED - _WHITE), 0.0, 1.0))


def hesitation(peaks: PeakSums) -> float:
    """Return 0 where the column map's peaks have 0.8 of their full height, 1 where they have 0.4 of it."""
    if peaks.total < _MIN_COLUMNS * _COLUMN_AREA_PX:
        return 0.0
    height = 2 * peaks.squares / peaks.total - _FAINT
    return float(np.clip((_FULL - height) / (_FULL - _SMEARED), 0.0, 1.0))


def _squares(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums over squares of 4 x 4 px."""
    rows = image[::4] + image[1::4] + image[2::4] + image[3::4]
    return np.asarray(rows[:, ::4] + rows[:, 1::4] + rows[:, 2::4] + rows[:, 3::4])
