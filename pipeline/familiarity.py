"""How unlike the training data a frame looks: four plain measurements, each 0 (familiar) to 1 (foreign).

noise
    The frame's noise level lies outside the range of the training doses; 1 where a factor of two is missing.
residue
    The denoiser has left structure behind. What it takes away should be white noise: its variance in squares
    of 4 x 4 px is then a sixteenth of a pixel's. A detector's point spread makes that up to twice as much; an
    image of something else (a ramp, an edge, amorphous contrast) five to fifteen times.
hesitation
    The column map is not made of peaks of full height. For Gaussian peaks of height a, 2 Σp² / Σp over the
    pixels above 0.1 is a + 0.1. Fringes, amorphous contrast and a wrong focus give faint and smeared peaks;
    so does a dose at which the network cannot see well, and that too is worth showing.
spacing
    The columns are not as far apart as in the crystal: the median distance to the first neighbour and the
    lower quartile of that to the fifth, against those of the zone axes trained on; 1 where the nearest zone
    axis is off by 10 %. A wrong pixel size shows here.

The score is 1 minus the product of all (1 - term). It is a warning light, not a probability: a frame of
another material that happens to look like the one trained on passes unnoticed. Values for known and foreign
images are in docs/analysis.md.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.networks import Networks
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import CONTRAST_UNIT, Array

__all__ = [
    "PeakSums",
    "Terms",
    "Trained",
    "hesitation",
    "noise_range",
    "noise_term",
    "residue",
    "residue_term",
    "spacing_term",
    "terms_of",
]

_FAINT = 0.1  # column probability below which a pixel is background
_ROW_STEP = 2  # rows left out of the sums cost nothing in accuracy
_COLUMN_AREA_PX = 2 * np.pi * 2.0**2 / _ROW_STEP  # Σp of one full column: a Gaussian of 2 px
_MIN_COLUMNS = 5  # with less evidence there is nothing to hesitate about: vacuum is no foreign image
_FULL, _SMEARED = 0.8, 0.4  # peak heights that count as 0 and 1
_SQUARE_PX = 4
_BAND_PX = 8  # one row of squares is taken from each band of this height
_WHITE, _STRUCTURED = 1.6, 2.6  # residues that count as 0 and 1
_SOFTENED = 4.0  # a point spread lowers the measured noise by up to this
_SLACK = 1.2  # the noise level's own error
_MIN_LATTICE = 20  # columns without which distances say nothing
_ASKED = 200  # columns whose neighbours are looked for
_COMPLETE = 0.25  # share of the columns with all neighbours: in a small particle most lie at its edge
_RIGHT, _WRONG = 0.05, 0.1  # relative errors of the spacing that count as 0 and 1

_LATTICE_CONSTANTS_A = {"CeO2": 5.411, "Au": 4.078}
_SPACINGS_A = {
    (material, zone_axis): (first * a, a / sqrt(2))
    for material, a in _LATTICE_CONSTANTS_A.items()
    for zone_axis, first in (("[110]", sqrt(3 / 8)), ("[100]", 1 / 2))
}
"""Distances of a column's first (to fourth) and fifth neighbour [Å], by material and zone axis."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What the networks were trained on; what their files do not say is not judged.

    Attributes
    ----------
    noise : tuple of float or None
        Lowest and highest noise level, in units of the vacuum level, of frames counted at the training doses.
    spacings_A : tuple of (float, float)
        Distances to the first and fifth neighbour [Å], one pair for each zone axis.
    """

    noise: tuple[float, float] | None
    spacings_A: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, networks: Networks) -> Self:
        """Read it from the networks' metadata."""
        noise = noise_range(networks.dose_range_e_per_A2, networks.pixel_size_A)
        metadata = networks.heights.header.metadata
        zones = [(metadata["material"], zone.strip()) for zone in metadata.get("zone_axes", "").split(",")]
        return cls(noise, tuple(_SPACINGS_A[zone] for zone in zones if zone in _SPACINGS_A))


@dataclass(frozen=True, slots=True)
class Terms:
    """The measurements of one frame, each 0 to 1."""

    noise: float
    residue: float
    hesitation: float
    spacing: float

    @property
    def score(self) -> float:
        """How unfamiliar the frame is, 0 to 1."""
        familiar = (1 - self.noise) * (1 - self.residue) * (1 - self.hesitation) * (1 - self.spacing)
        return 1.0 - familiar


@dataclass(slots=True)
class PeakSums:
    """Sums over a column map, gathered tile by tile."""

    total: float = 0.0
    squares: float = 0.0

    def add(self, column_probability: Array) -> None:
        """Add a map (H, W) of either array module, background left out."""
        rows = column_probability[::_ROW_STEP]
        clear = rows[rows > _FAINT]
        self.total += float(clear.sum())
        self.squares += float((clear * clear).sum())


def terms_of(
    prepared: PreparedFrame,
    denoised: Array,
    peaks: PeakSums,
    columns: NDArray[np.void],
    trained: Trained,
) -> Terms:
    """Measure one frame.

    Parameters
    ----------
    prepared : PreparedFrame
    denoised : array of float32, shape (h, w)
        In units of the vacuum level.
    peaks : PeakSums
        Of the frame's column map.
    columns : numpy.ndarray of COLUMN_DTYPE, shape (n,)
        In pixels of the frame.
    trained : Trained
    """
    return Terms(
        noise=noise_term(prepared.noise, trained.noise) if trained.noise else 0.0,
        residue=residue_term(residue(prepared, denoised)),
        hesitation=hesitation(peaks),
        spacing=spacing_term(columns, prepared.pixel_size_A, trained.spacings_A),
    )


def noise_range(
    doses_e_per_A2: tuple[float, float] | None, pixel_size_A: float
) -> tuple[float, float] | None:
    """Return lowest and highest noise level of frames counted at these doses; None where nobody knows."""
    if doses_e_per_A2 is None:
        return None
    low, high = doses_e_per_A2
    return 1 / sqrt(high) / pixel_size_A, 1 / sqrt(low) / pixel_size_A


def noise_term(noise: float, trained: tuple[float, float]) -> float:
    """Return by how many factors of two the noise is outside the range, at most 1."""
    low, high = trained[0] / _SOFTENED, trained[1] * _SLACK
    return float(np.clip(max(log(low / noise), log(noise / high)) / log(2), 0.0, 1.0))


def residue(prepared: PreparedFrame, denoised: Array) -> float:
    """Return the standard deviation of what was taken away, in squares, against that of white noise."""
    height, width = denoised.shape[0] // _BAND_PX * _BAND_PX, denoised.shape[1] // _SQUARE_PX * _SQUARE_PX
    contrast, clean = prepared.frame[0, :height, :width], denoised[:height, :width]
    scale = np.float32(np.hypot(prepared.noise, CONTRAST_UNIT))  # undoes the preprocessing's division
    square = scale * _squares(contrast) - _squares(clean)
    pixels = scale * contrast[::_BAND_PX] - clean[::_BAND_PX]
    return float(square.std() / _SQUARE_PX / pixels.std())


def residue_term(residue: float) -> float:
    """Return 0 for white noise or noise with a point spread, 1 for structure."""
    return _ramp(residue, _WHITE, _STRUCTURED)


def hesitation(peaks: PeakSums) -> float:
    """Return 0 where the column map's peaks have 0.8 of their full height, 1 where they have 0.4 of it."""
    if peaks.total < _MIN_COLUMNS * _COLUMN_AREA_PX:
        return 0.0
    return _ramp(-(2 * peaks.squares / peaks.total - _FAINT), -_FULL, -_SMEARED)


def spacing_term(
    columns: NDArray[np.void], pixel_size_A: float, spacings_A: tuple[tuple[float, float], ...]
) -> float:
    """Return 0 where the columns are as far apart as in one of the zone axes; few columns say nothing."""
    if len(columns) < _MIN_LATTICE or not spacings_A:
        return 0.0
    places = np.stack([columns["y"], columns["x"]], axis=-1) * pixel_size_A
    asked = places[:: -(-len(places) // _ASKED)]
    distances = np.asarray(cKDTree(places).query(asked, k=6)[0])  # the first is the column itself
    found = np.array([np.median(distances[:, 1]), np.quantile(distances[:, 5], _COMPLETE)])
    errors = np.abs(found / np.array(spacings_A) - 1.0).max(axis=1)
    return _ramp(float(errors.min()), _RIGHT, _WRONG)


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def _squares(image: Array) -> Array:
    """Return the sums over squares of 4 x 4 px, one row of squares from each band."""
    bands = image.reshape(-1, _BAND_PX, image.shape[1])
    rows = bands[:, 0] + bands[:, 1] + bands[:, 2] + bands[:, 3]
    return rows[:, ::4] + rows[:, 1::4] + rows[:, 2::4] + rows[:, 3::4]
