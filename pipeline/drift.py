"""How far the particle has moved since the series' first frame.

Cross-correlation of denoised frames by Fourier transform, of the *absolute* contrast: whatever the focus does
to the sign of an atom's contrast, the particle is bright on a dark vacuum, so its outline decides between
shifts that bring the lattice to coincidence. Frames are binned by two and low-passed to an atom's width; the
peak of the correlation is refined by parabolas through it and its neighbours.

On the simulated movie (300 e/Å², drift up to 15 px, atoms coming and going) the error is 0.09 px rms and
0.24 px at most. Phase correlation (whitened spectra) of the signed contrast was off by lattice spacings.
"""

from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft

from pipeline.preprocess import Array

__all__ = ["DriftMeter"]

_BIN = 2
_WIDTH_PX = 2.0  # of the low-pass, in pixels of the denoised frame: 0.4 Å
_VACUUM = 1.0


class DriftMeter:
    """Measures shifts against the first frame it sees; one for each series.

    With several analysers each would have another first frame; a run with more than one does not use it.
    """

    def __init__(self) -> None:
        self._reference: _Reference | None = None

    def shift_px(self, denoised: Array, xp: ModuleType = np) -> tuple[float, float]:
        """Return the shift (y, x) [px] of `denoised` (h, w), vacuum level 1; NaN for another shape.

        `xp` is the array module of `denoised`, the same in each call.
        """
        if self._reference is None:
            self._reference = _Reference(denoised, xp)
            return 0.0, 0.0
        if denoised.shape != self._reference.shape:
            return float("nan"), float("nan")
        return self._reference.shift_px(denoised)


class _Reference:
    """The first frame's spectrum and what belongs to its shape."""

    def __init__(self, denoised: Array, xp: ModuleType) -> None:
        self.shape = denoised.shape
        self._xp, self._fft = xp, _fft_of(xp)
        binned = _binned_contrast(denoised)
        height, width = binned.shape
        window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
        self._window = xp.asarray(window)
        frequency2 = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2
        low_pass = np.exp(-((2 * np.pi * _WIDTH_PX / _BIN) ** 2) * frequency2).astype(np.float32)
        self._spectrum = xp.conj(self._transform(binned)) * xp.asarray(low_pass)

    def shift_px(self, denoised: Array) -> tuple[float, float]:
        binned = _binned_contrast(denoised)
        product = self._transform(binned) * self._spectrum
        correlation = self._fft.irfft2(product, s=binned.shape)
        row, column = divmod(int(correlation.argmax()), binned.shape[1])
        y = _peak(correlation[:, column], row)
        x = _peak(correlation[row], column)
        return _BIN * y, _BIN * x

    def _transform(self, binned: Array) -> Array:
        return self._fft.rfft2((binned - binned.mean()) * self._window)


def _fft_of(xp: ModuleType) -> Any:
    """Return the transforms: SciPy's keep float32 and are faster than NumPy's; CuPy has its own."""
    return scipy.fft if xp is np else xp.fft


def _binned_contrast(denoised: Array) -> Array:
    """Return |denoised - 1|, binned, shape (h // 2, w // 2)."""
    height, width = (side // _BIN * _BIN for side in denoised.shape)
    contrast = abs(denoised[:height, :width] - np.float32(_VACUUM))
    rows = contrast[::2] + contrast[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _peak(values: Array, at: int) -> float:
    """Return the signed position of a periodic curve's maximum near index `at` (parabola through three)."""
    n = len(values)
    before, top, after = values[[(at + step) % n for step in (-1, 0, 1)]].tolist()
    curvature = before - 2 * top + after
    position = at + (0.5 * (before - after) / curvature if curvature < 0 else 0.0)
    return (position + n / 2) % n - n / 2
