"""How far the particle has moved since the series' first frame.

Each frame, as it was recorded, is correlated by Fourier transform with the average of those before it, each
moved back by its own drift: at 10 e/Å² a frame shows hardly an atom and no network makes much of it, but
thirty such frames are a reference that it can be found in. The average forgets, so that it follows a particle
that changes; where the focus turns the contrast around, the correlation is as strong with the other sign, and
the average is turned around too.

The peak is chosen by ``z² / 2``, z being the correlation in units of its standard deviation (the gain in
log-likelihood by a pattern of unknown strength in white noise), less a penalty on the distance from where the
particle was, which is bounded: a weak peak must be near, a clear one may be anywhere. It is refined
with the spectrum itself, between the pixels. Frames are binned by two and low-passed to an atom's width.

`python -m training.evaluate_drift` measures the error against dose (docs/evaluation/drift.md).
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["DriftMeter"]

_BIN = 2
_WIDTH_PX = 1.5  # of the low-pass, in pixels of the frame: 0.3 Å
_MEMORY_FRAMES = 100
_STEP_PX = 2.0  # a usual step from one frame to the next
_MOST_PENALTY = 30.0  # of a step of any length
_NEWTON_STEPS = 3


class DriftMeter:
    """Measures shifts against the first frame it sees; one for each series.

    With several analysers each would have another first frame; a run with more than one does not use it.
    """

    def __init__(self) -> None:
        self._reference: _Reference | None = None

    def shift_px(self, contrast: NDArray[np.float32]) -> tuple[float, float]:
        """Return the shift (y, x) [px] of a frame (h, w), whose vacuum is about 0; NaN for another shape."""
        if self._reference is None:
            self._reference = _Reference(contrast.shape)
        if contrast.shape != self._reference.shape:
            return float("nan"), float("nan")
        return self._reference.shift_px(contrast)


class _Reference:
    """The average's spectrum and what belongs to its shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        height, width = (side // _BIN for side in shape)
        self._window = np.sqrt(np.outer(np.hanning(height), np.hanning(width))).astype(np.float32)
        self._fy, self._fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
        width_px = _WIDTH_PX / _BIN
        low_pass = np.exp(-((2 * np.pi * width_px) ** 2) * (self._fy**2 + self._fx**2))
        self._low_pass = low_pass.astype(np.float32)
        self._y, self._x = height * self._fy, np.fft.fftfreq(width, 1 / width)
        self._average: NDArray[np.complex64] | None = None
        self._frames = 0
        self._last = np.zeros(2)  # [binned px]

    def shift_px(self, contrast: NDArray[np.float32]) -> tuple[float, float]:
        spectrum = scipy.fft.rfft2(_binned(contrast) * self._window, overwrite_x=True)
        sign = 1.0
        if self._average is not None:
            product = spectrum * np.conj(self._average)
            product *= self._low_pass
            correlation = scipy.fft.irfft2(product, s=self._window.shape)
            self._last, sign = self._peak_of(correlation)
            self._last = self._refined(sign * product, self._last)
        self._remember(spectrum, sign)
        return float(_BIN * self._last[0]), float(_BIN * self._last[1])

    def _peak_of(self, correlation: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
        """Return the place of the likeliest peak [binned px] and its sign."""
        strength = 0.5 * correlation**2 / max(float(correlation.var()), 1e-30)
        variance = 2 * (_STEP_PX / _BIN) ** 2
        distance2 = np.add.outer((self._y[:, 0] - self._last[0]) ** 2, (self._x - self._last[1]) ** 2)
        strength -= np.minimum(distance2 / variance, _MOST_PENALTY)
        row, column = np.unravel_index(int(strength.argmax()), strength.shape)
        sign = float(np.sign(correlation[row, column])) or 1.0
        return np.array([self._y[row, 0], self._x[column]]), sign

    def _refined(self, product: NDArray[np.complex64], at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Climb to the correlation's maximum near `at` [binned px], by Newton's method on its spectrum."""
        fy, fx = 2j * np.pi * self._fy[:, 0], 2j * np.pi * self._fx
        powers = np.arange(3)[:, None]
        place = at
        for _ in range(_NEWTON_STEPS):
            rows = (fy**powers * np.exp(fy * place[0])).astype(np.complex64)
            columns = (fx**powers * np.exp(fx * place[1])).astype(np.complex64)
            columns[:, 0] *= 0.5  # the spectrum's other half repeats all but this column
            d = (rows @ product @ columns.T).real  # d[i, j]: i-th derivative in y, j-th in x
            hessian = np.array([[d[2, 0], d[1, 1]], [d[1, 1], d[0, 2]]])
            if not (hessian[0, 0] < 0 and hessian[1, 1] < 0 and np.linalg.det(hessian) > 0):
                return at
            place = place - np.linalg.solve(hessian, [d[1, 0], d[0, 1]])
        return place if np.abs(place - at).max() <= 1.0 else at

    def _remember(self, spectrum: NDArray[np.complex64], sign: float) -> None:
        """Move a frame back to where the first one was, and average it in."""
        turns = (self._fy * self._last[0])[:, 0], self._fx * self._last[1]
        factors = (np.exp(2j * np.pi * turn).astype(np.complex64) for turn in turns)
        spectrum *= np.outer(*factors)
        self._frames = min(self._frames + 1, _MEMORY_FRAMES)
        if self._average is None:
            self._average = spectrum
        else:
            share = 1.0 / self._frames
            self._average *= np.float32(sign * (1.0 - share))
            self._average += np.float32(share) * spectrum


def _binned(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the contrast less its mean, binned, shape (h // 2, w // 2)."""
    height, width = (side // _BIN * _BIN for side in contrast.shape)
    rows = contrast[:height:2, :width] + contrast[1:height:2, :width]
    binned = rows[:, ::2] + rows[:, 1::2]
    return np.asarray(binned - binned.mean(), np.float32)
