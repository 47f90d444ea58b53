"""How far the particle has moved since the series' first frame.

Each frame, as it was recorded, is correlated by Fourier transform with the average of those before it, each
moved back by its own drift: at 10 e/Å² a frame shows hardly an atom and no network makes much of it, but
thirty such frames are a reference that it can be found in. The average forgets, so that it follows a particle
that changes; where the focus turns the contrast around, the correlation is as strong with the other sign, and
the average is turned around too.

The peak is chosen by ``z² / 2``, z being the correlation in units of its standard deviation over all shifts
(in noise, the gain in log-likelihood by a pattern of unknown strength), less a penalty on the distance from
where the particle was, which is bounded: at a lattice vector's distance the correlation is almost as high,
and it takes a clear peak to believe in a jump. Without a peak above the noise, as in vacuum or with the beam
blanked, the last place is kept. A peak is refined with the spectrum itself, between the pixels. Frames are
binned by two and low-passed to an atom's width.

Everything runs on the array module that is handed in, without a look at a value: on a GPU (CuPy) frames are
queued one after another and the host waits for none of them. At most four peaks are refined, always four,
those that cannot be the highest in vain.

`python -m training.evaluate_drift` measures the error against dose (docs/evaluation/drift.md).
"""

from types import ModuleType

import numpy as np

from pipeline.preprocess import Array, to_host, transforms_of

__all__ = ["DriftMeter", "binned"]

_BIN = 2
_WIDTH_PX = 1.5  # of the low-pass, in pixels of the frame: 0.3 Å
_MEMORY_FRAMES = 100
_STEP_PX = 2.0  # a usual step from one frame to the next
_MOST_PENALTY = 30.0  # of a step of any length
_LEAST_LIKELIHOOD = 16.0
# In noise the highest of 65,000 shifts has ln 65,000 = 11. Chosen on other movies than the page's
# (`training.evaluate_drift --split validation`): of their first 20 frames at 3 e/Å² 6 % are lost,
# with 12 in its place 23 %, with 8 29 %; of the later ones 15, 15 and 32 %.
_NEWTON_STEPS = 2
_MOST_PEAKS = 4
_MAY_BE_HIGHEST = 0.55  # of the highest: a lattice of 2.7 Å loses so much half between pixels of 0.4 Å


class DriftMeter:
    """Measures shifts against the first frame it sees; one for each series.

    Of several analysers each would have another first frame: they only bin, and the follower measures.
    """

    def __init__(self) -> None:
        self._reference: _Reference | None = None

    def shift_px(self, contrast: Array, xp: ModuleType = np) -> tuple[float, float]:
        """Return `shift` on the host; of a frame on a device this waits for it."""
        y, x = to_host(self.shift(contrast, xp), xp).tolist()
        return y, x

    def shift(self, contrast: Array, xp: ModuleType = np) -> Array:
        """Measure the next frame's shift against the first.

        Parameters
        ----------
        contrast : array of float32, shape (h, w)
            In any unit; vacuum is about 0.
        xp : module
            NumPy or CuPy, whichever the frames live in: all of a series in the same.

        Returns
        -------
        array of float64, shape (2,)
            (y, x) [px]; NaN for another shape than the first frame's.
        """
        return self.shift_of(binned(contrast, xp), xp)

    def shift_of(self, image: Array, xp: ModuleType = np) -> Array:
        """Do the same with what `binned` returns of the frame; the shift is in pixels of the frame."""
        if self._reference is None:
            self._reference = _Reference(image.shape, xp)
        if image.shape != self._reference.shape:
            return xp.full(2, xp.nan)
        return self._reference.shift(image, xp)


class _Reference:
    """The average's spectrum and what belongs to the binned shape; all arrays are of one module."""

    def __init__(self, shape: tuple[int, ...], xp: ModuleType) -> None:
        self.shape = shape
        height, width = shape
        fy, fx = np.fft.fftfreq(height), np.fft.rfftfreq(width)
        low_pass = np.exp(-((2 * np.pi * _WIDTH_PX / _BIN) ** 2) * (fy[:, None] ** 2 + fx**2))
        window = np.sqrt(np.outer(np.hanning(height), np.hanning(width)))
        self._window = xp.asarray(window.astype(np.float32))
        self._low_pass = xp.asarray(low_pass.astype(np.float32))
        self._fy, self._fx = xp.asarray(fy), xp.asarray(fx)
        places = height * fy, width * np.fft.fftfreq(width)  # that a pixel of the correlation stands for
        self._y, self._x = (xp.asarray(place.astype(np.float32)) for place in places)
        self._average: Array = None
        self._frames = 0
        self._last = xp.zeros(2)  # [binned px]

    def shift(self, image: Array, xp: ModuleType) -> Array:
        fft = transforms_of(xp)
        spectrum = fft.rfft2(image * self._window)
        sign: Array = 1.0
        if self._average is not None:
            pattern = xp.conj(self._average) * self._low_pass
            self._last, sign = self._best_peak(spectrum * pattern, xp)
        self._remember(spectrum, sign, xp)
        return _BIN * self._last

    def _best_peak(self, product: Array, xp: ModuleType) -> tuple[Array, Array]:
        """Return the place of the likeliest peak [binned px], shape (2,), and its sign.

        A lattice's peaks differ by less than a peak loses between two pixels: so all that may be the highest
        are refined before they are compared.
        """
        fft = transforms_of(xp)
        correlation = fft.irfft2(product, s=self._window.shape)
        strength = correlation * correlation
        variance = xp.maximum(strength.mean() - correlation.mean() ** 2, 1e-30)
        y, x = self._last.astype(xp.float32)
        away = self._penalty((self._y - y)[:, None], self._x - x, xp)
        strength /= 2.0 * variance
        strength -= away
        rows, columns, may_be = _highest(strength, xp)
        turned = xp.where(correlation[rows, columns] < 0, -1.0, 1.0)
        first = xp.stack([self._y[rows], self._x[columns]]).astype(xp.float64)
        at, values = _climbed(product, turned, self._fy, self._fx, first, xp)
        dy, dx = at - self._last[:, None]
        likelihood = values**2 / (2.0 * variance) - self._penalty(dy, dx, xp)
        likelihood = xp.where(may_be, likelihood, -xp.inf)
        best = likelihood.argmax()
        found = likelihood.max() > _LEAST_LIKELIHOOD
        place = xp.where(found, xp.take(at, best, axis=1), self._last)
        return place, xp.where(found, xp.take(turned, best), 1.0)

    def _penalty(self, dy: Array, dx: Array, xp: ModuleType) -> Array:
        """Return what a step by (dy, dx) [binned px] costs."""
        return xp.minimum((dy**2 + dx**2) / (2 * (_STEP_PX / _BIN) ** 2), _MOST_PENALTY)

    def _remember(self, spectrum: Array, sign: Array, xp: ModuleType) -> None:
        """Move a frame back to where the first one was, and average it in."""
        y, x = self._last
        factors = (xp.exp(2j * np.pi * f * d).astype(xp.complex64) for f, d in ((self._fy, y), (self._fx, x)))
        spectrum *= xp.outer(*factors)
        self._frames = min(self._frames + 1, _MEMORY_FRAMES)
        if self._average is None:
            self._average = spectrum
        else:
            share = 1.0 / self._frames
            self._average *= (sign * (1.0 - share)).astype(xp.float32)
            self._average += np.float32(share) * spectrum


def binned(contrast: Array, xp: ModuleType) -> Array:
    """Return the contrast less its mean, binned, shape (h // 2, w // 2)."""
    height, width = (side // _BIN * _BIN for side in contrast.shape)
    rows = contrast[:height:2, :width] + contrast[1:height:2, :width]
    binned = rows[:, ::2] + rows[:, 1::2]
    return xp.asarray(binned - binned.mean(), dtype=xp.float32)


def _highest(strength: Array, xp: ModuleType) -> tuple[Array, Array, Array]:
    """Return row and column of the four highest pixels, and which may be the highest between the pixels.

    `strength` (h, w) is used up.
    """
    height, width = strength.shape
    around = xp.arange(-2, 3)
    places, values = [], []
    for _ in range(_MOST_PEAKS):
        at = strength.argmax()
        places.append(at)
        values.append(xp.take(strength, at))
        rows, columns = (at // width + around) % height, (at % width + around) % width
        strength[rows[:, None], columns] = -xp.inf
    found, value = xp.stack(places), xp.stack(values)
    return found // width, found % width, value >= xp.maximum(_MAY_BE_HIGHEST * value[0], 0.0)


def _climbed(
    product: Array, turned: Array, fy: Array, fx: Array, first: Array, xp: ModuleType
) -> tuple[Array, Array]:
    """Climb to the maxima near the places `first` (2, n) of the correlation with spectrum `product`.

    Newton's method on the derivatives that the spectrum gives exactly, with the sign `turned` (n,). Returns
    places (2, n) and values (n,); the start where it does not lead to a higher maximum within a pixel.
    """
    place, going = first, xp.ones(first.shape[1], bool)
    start: Array = None
    for _ in range(_NEWTON_STEPS):
        value, y, x, yy, xx, xy = turned * _derivatives(product, fy, fx, place, xp)
        start = value if start is None else start
        determinant = yy * xx - xy**2
        going = going & (yy < 0) & (determinant > 0)
        step = xp.stack([xx * y - xy * x, yy * x - xy * y]) / xp.where(going, determinant, 1.0)
        moved = place - xp.where(going, step, 0.0)
        near = xp.abs(moved - first).max(axis=0) <= 1.0
        place, going = xp.where(near, moved, first), going & near
    value = (turned * _derivatives(product, fy, fx, place, xp))[0]
    return xp.where(value >= start, place, first), xp.maximum(value, start)


def _derivatives(product: Array, fy: Array, fx: Array, at: Array, xp: ModuleType) -> Array:
    """Return the correlation at places `at` (2, n) and its derivatives there, shape (6, n).

    They are the value, and the derivatives in y, x, yy, xx and xy.
    """
    height, width = product.shape
    rows, columns = _waves(fy, at[0], xp), _waves(fx, at[1], xp)
    columns[..., 0] *= 0.5  # the spectrum's other half repeats all but this column
    along_x = (rows.reshape(-1, height) @ product).reshape(3, -1, width)
    value, y, yy = (along_x * columns[0]).sum(-1)
    x, xy = (along_x[:2] * columns[1]).sum(-1)
    xx = (along_x[0] * columns[2]).sum(-1)
    return xp.stack([value, y, x, yy, xx, xy]).real.astype(xp.float64) / (height * (width - 1))


def _waves(frequencies: Array, places: Array, xp: ModuleType) -> Array:
    """Return the waves of these frequencies (m,) at places (n,), and two derivatives, shape (3, n, m)."""
    turns = 2j * np.pi * frequencies
    waves = xp.exp(turns * places[:, None])
    return xp.stack([waves, turns * waves, turns * turns * waves]).astype(xp.complex64)
