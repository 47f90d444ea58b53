"""How a picture's black and white are chosen: one small class a policy."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gui.settings import ContrastMode, Settings

__all__ = ["Automatic", "Contrast", "Manual", "Percentile", "contrast_of"]

_SAMPLE_STEP = 4


class Contrast(Protocol):
    """Chooses levels; called once for each picture drawn, in the window's thread."""

    def levels(self, picture: NDArray[np.uint8]) -> tuple[float, float]:
        """Return (black, white) in the picture's own values, black below white."""
        ...


class Automatic:
    """The levels the analysis published the picture with."""

    def levels(self, picture: NDArray[np.uint8]) -> tuple[float, float]:
        """See `Contrast`."""
        return 0.0, 255.0


@dataclass(frozen=True, slots=True)
class Percentile:
    """Percentiles [%] of a decimated copy of the picture."""

    low: float
    high: float

    def levels(self, picture: NDArray[np.uint8]) -> tuple[float, float]:
        """See `Contrast`."""
        sample = picture[::_SAMPLE_STEP, ::_SAMPLE_STEP]
        cumulative = np.cumsum(np.bincount(sample.ravel(), minlength=256))
        wanted = np.array([self.low, self.high]) / 100 * cumulative[-1]
        low, high = np.searchsorted(cumulative, wanted)
        return float(low), float(max(high, low + 1))


@dataclass(frozen=True, slots=True)
class Manual:
    """Fractions of the published range."""

    low: float
    high: float

    def levels(self, picture: NDArray[np.uint8]) -> tuple[float, float]:
        """See `Contrast`."""
        return 255.0 * self.low, 255.0 * self.high


def contrast_of(settings: Settings) -> Contrast:
    """Make the policy that the settings name."""
    if settings.contrast is ContrastMode.PERCENTILE:
        return Percentile(*settings.percentiles)
    if settings.contrast is ContrastMode.MANUAL:
        return Manual(*settings.manual_levels)
    return Automatic()
