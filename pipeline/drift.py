"""How far the particle has moved since the series' first frame.

Each frame, as it was recorded, is correlated by Fourier transform with the average of those before it, each
moved back by its own drift: at 10 e/Å² a frame shows hardly an atom and no network makes much of it, but
thirty such frames are a reference that it can be found in. The average forgets, so that it follows a particle
that changes; where the focus turns the contrast around, the correlation is as strong with the other sign, and
the average is turned around too.

The peak is chosen by ``z² / 2``, z being the correlation in units of its standard deviation over all shifts
(in noise, the gain in log-likelihood by a pattern of unknown strength), less a penalty on the distance from
where the particle was, which is bounded: at a lattice vector's distance the correlation is almost as high,
and it takes a clear peak to believe in a jump. It is refined with the spectrum itself, between the pixels.
Frames are binned by two and low-passed to an atom's width.

`python -m training.evaluate_drift` measures the error against dose (docs/evaluation/drift.md).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["DriftMeter"]

_BIN = 2
_WIDTH_PX = 1.5  # of the low-pass, in pixels of the frame: 0.3 Å
_MEMORY_FRAMES = 100
_STEP_PX = 2.0  # a usual step from one frame to the next
_MOST_PENALTY = 30.0  # of a step of any length
_NEWTON_STEPS = 2
_MOST_PEAKS = 4
_MAY_BE_HIGHEST = 0.55  # of the highest: a lattice of 2.7 Å loses so much half between pixels of 0.4 Å


class DriftMeter:
    """Measures shifts against the first frame it sees; one for each series.

    With several analysers each would have another first frame; a run with more than one does not use it.
    """

    def __init__(self) -> None:
        self._reference: _Reference | None = None

    def shift_px(self, contrast: NDArray[np.float32]) -> tuple[float, float]:
        """Return the next frame's shift (y, x) [px]; NaN for another shape than the first frame's.

        `contrast` (h, w) may have any unit; vacuum is about 0.
        """
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
            pattern = np.conj(self._average) * self._low_pass
            self._last, sign = self._best_peak((spectrum * pattern).astype(np.complex64))
        self._remember(spectrum, sign)
        return float(_BIN * self._last[0]), float(_BIN * self._last[1])

    def _best_peak(self, product: NDArray[np.complexfloating]) -> tuple[NDArray[np.float64], float]:
        """Return the place of the likeliest peak [binned px] and its sign.

        A lattice's peaks differ by less than a peak loses between two pixels: so all that may be the highest
        are refined before they are compared.
        """
        correlation = scipy.fft.irfft2(product, s=self._window.shape)
        variance = max(float(correlation.var()), 1e-30)
        strength = 0.5 * correlation**2 / variance - self._penalty(self._y, self._x)
        best, place, sign = -np.inf, self._last, 1.0
        for row, column in _highest(strength):
            turned = float(np.sign(correlation[row, column])) or 1.0
            at, value = _climbed(turned * product, self._fy, self._fx, (self._y[row, 0], self._x[column]))
            likelihood = 0.5 * value**2 / variance - float(self._penalty(*at))
            if likelihood > best:
                best, place, sign = likelihood, at, turned
        return place, sign

    def _penalty(self, y: Any, x: Any) -> Any:
        """Return what a step to (y, x) [binned px] costs."""
        distance2 = (y - self._last[0]) ** 2 + (x - self._last[1]) ** 2
        return np.minimum(distance2 / (2 * (_STEP_PX / _BIN) ** 2), _MOST_PENALTY)

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


def _highest(strength: NDArray[np.floating]) -> Iterator[tuple[int, int]]:
    """Yield the highest pixel, and at most a few others that may be the highest between the pixels."""
    left = strength.copy()
    least = 0.0
    for _ in range(_MOST_PEAKS):
        row, column = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        if left[row, column] < least:
            return
        least = least or _MAY_BE_HIGHEST * float(left[row, column])
        yield row, column
        rows, columns = (np.arange(at - 2, at + 3) for at in (row, column))
        left[np.ix_(rows % left.shape[0], columns % left.shape[1])] = -np.inf


def _climbed(
    product: NDArray[np.complexfloating],
    fy: NDArray[np.floating],
    fx: NDArray[np.floating],
    start: tuple[float, float],
) -> tuple[NDArray[np.float64], float]:
    """Climb to the maximum near `start` of the correlation with spectrum `product` (h, w // 2 + 1).

    Newton's method on the derivatives that the spectrum gives exactly. Returns place and value; the start
    where it does not lead to a maximum within a pixel.
    """
    place = first = np.array(start)
    value = best = 0.0
    for step in range(_NEWTON_STEPS + 1):
        d = _derivatives(product, fy[:, 0], fx, place)
        value = float(d[0, 0])
        best = best if step else value
        hessian = np.array([[d[2, 0], d[1, 1]], [d[1, 1], d[0, 2]]])
        if step == _NEWTON_STEPS or not (hessian[0, 0] < 0 and np.linalg.det(hessian) > 0):
            break
        place = place - np.linalg.solve(hessian, [d[1, 0], d[0, 1]])
        if np.abs(place - first).max() > 1.0:
            return first, best
    return (place, value) if value >= best else (first, best)


def _derivatives(
    product: NDArray[np.complexfloating],
    fy: NDArray[np.floating],
    fx: NDArray[np.floating],
    at: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the correlation's derivatives at a place: element [i, j] is the i-th in y, the j-th in x."""
    powers = np.arange(3)[:, None]
    rows = ((2j * np.pi * fy) ** powers * np.exp(2j * np.pi * fy * at[0])).astype(np.complex64)
    columns = ((2j * np.pi * fx) ** powers * np.exp(2j * np.pi * fx * at[1])).astype(np.complex64)
    columns[:, 0] *= 0.5  # the spectrum's other half repeats all but this column
    pixels = product.shape[0] * 2 * (product.shape[1] - 1)
    return np.asarray(2.0 / pixels * (rows @ product @ columns.T).real, np.float64)
