"""From an image's intensity to the numbers a direct electron detector delivers.

White Poisson noise is not a safe model: vacuum frames of a fast detector show a nearest-neighbour correlation
of 0.24, a temporal correlation of 0.37 with the frame before and none after, a fixed pattern, and a gain of
tens of counts an electron that varies from electron to electron. So: the electrons are drawn from a Poisson
distribution, each deposits a random signal, the signal spreads to the neighbours (point spread function,
whose Fourier transform is the MTF), part of the last frame's signal remains, and the electronics add read
noise and a fixed pattern. Values are rounded and cut to the output's integer type.

Pure NumPy, one frame at a time: for movies and tests. The training draws the same model in torch, batches at
a time (``training/data.py``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.ndimage import correlate1d


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """What the detector does to an image.

    ``gain_counts`` are mean counts an electron, ``gain_spread`` the relative standard deviation of one
    electron's signal (0 for counting), ``point_spread`` the share of a signal that goes to each of the two
    neighbours along an axis, ``lag`` the share of the last frame's signal that remains, ``read_noise_counts``
    and ``offset_counts`` belong to each pixel and frame, ``fixed_pattern`` is the relative standard deviation
    of the pixels' gains.
    """

    dose_e_per_A2: float = 300.0
    pixel_size_A: float = 0.2
    gain_counts: float = 1.0
    gain_spread: float = 0.0
    point_spread: float = 0.0
    lag: float = 0.0
    read_noise_counts: float = 0.0
    offset_counts: float = 0.0
    fixed_pattern: float = 0.0
    dtype: DTypeLike = np.uint16

    @property
    def electrons_per_pixel(self) -> float:
        """Mean number of electrons a pixel and frame in vacuum."""
        return self.dose_e_per_A2 * self.pixel_size_A**2


COUNTING = DetectorSettings()
"""Ideal counting: values are electrons."""

INTEGRATING = DetectorSettings(
    gain_counts=40.0,
    gain_spread=0.4,
    point_spread=0.12,
    lag=0.38,
    read_noise_counts=6.0,
    fixed_pattern=0.01,
)
"""An integrating camera with the correlations of real vacuum frames (0.24 and 0.37 with its neighbours)."""


def gain_map(
    shape: tuple[int, int], settings: DetectorSettings, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw the pixels' relative gains, constant for one detector, shape (H, W)."""
    return (1.0 + settings.fixed_pattern * rng.standard_normal(shape)).astype(np.float32)


def deposited_signal(
    intensity: NDArray[np.floating], settings: DetectorSettings, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw the signal [counts] that the electrons of one frame leave in the sensor.

    ``intensity`` (H, W) is in units of the vacuum level. The sum of n electrons' signals is Gaussian about n
    with variance n · gain_spread², which is exact for the mean and the variance.
    """
    electrons = rng.poisson(np.maximum(intensity, 0.0) * settings.electrons_per_pixel)
    return signal_of(electrons, settings, rng)


def signal_of(
    electrons: NDArray[np.integer], settings: DetectorSettings, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the signal [counts] of a frame's electrons (H, W), however they were drawn."""
    electrons = electrons.astype(np.float32)
    if settings.gain_spread > 0.0:
        scatter = np.sqrt(electrons) * rng.standard_normal(electrons.shape, dtype=np.float32)
        electrons = np.maximum(electrons + settings.gain_spread * scatter, 0.0)
    return spread(settings.gain_counts * electrons, settings.point_spread)


def spread(signal: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Spread a signal (H, W) to the neighbours along both axes; the edge mirrors, the sum stays."""
    if share == 0.0:
        return signal
    kernel = np.array([share, 1.0 - 2.0 * share, share], np.float32)
    rows = correlate1d(signal, kernel, axis=0, mode="reflect")
    return np.asarray(correlate1d(rows, kernel, axis=1, mode="reflect"))


def read_out(
    signal: NDArray[np.float32],
    previous: NDArray[np.float32] | None,
    gains: NDArray[np.float32],
    settings: DetectorSettings,
    rng: np.random.Generator,
) -> NDArray[np.unsignedinteger]:
    """Turn the deposited signal of a frame (and of the one before, or None) into the detector's numbers."""
    held = signal if previous is None else (1.0 - settings.lag) * signal + settings.lag * previous
    counts = held * gains + settings.offset_counts
    if settings.read_noise_counts > 0.0:
        counts = counts + settings.read_noise_counts * rng.standard_normal(counts.shape, dtype=np.float32)
    top = np.iinfo(settings.dtype).max
    return np.asarray(np.clip(np.rint(counts), 0, top), dtype=settings.dtype)


def single_frame(
    intensity: NDArray[np.floating], settings: DetectorSettings, rng: np.random.Generator
) -> NDArray[np.unsignedinteger]:
    """Take one frame (H, W) with a detector whose fixed pattern is drawn too; an array of ones is vacuum."""
    gains = gain_map((intensity.shape[0], intensity.shape[1]), settings, rng)
    return read_out(deposited_signal(intensity, settings, rng), None, gains, settings, rng)
