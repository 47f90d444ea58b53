"""An endless movie of one particle that gains and loses atoms, with the truth of every frame.

Multislice is not needed while it plays: the exit waves of a few states come from `simulator.demo_states`,
their images at a few foci are computed once (a second or two), and a frame is such an image, moved by the
frame's drift in Fourier space, put on a field of vacuum and drawn with the detector's noise. Everything
follows from the seed: two movies of equal settings are equal bit for bit.

The particle wanders about the centre and the focus about its mean, both as random walks with a restoring pull
(Ornstein and Uhlenbeck); the states are played forth and back. The focus takes the computed values only:
interpolating between images 15 Å of focus apart is wrong by a seventh of the contrast at tall columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from simulator.counting import CountTable, draw_counts, make_table
from simulator.demo_states import MATERIALS, DemoStates
from simulator.detector import COUNTING, INTEGRATING, DetectorSettings, gain_map, read_out, signal_of
from simulator.optics import Optics, image_intensity
from streamer.errors import UsageError

__all__ = [
    "DETECTORS",
    "SMALLEST_PX",
    "TRUE_COLUMN_DTYPE",
    "Movie",
    "MovieFrame",
    "MovieSettings",
    "Place",
    "settings_for",
]

DETECTORS = {"counting": COUNTING, "integrating": INTEGRATING}

_FOCUS_STEP_A = 8.0
_FOCUS_STEPS = 3  # images are computed at this many steps on either side of the mean
_FOCUS = {"gold-columns": {"overfocus_A": 74.0, "focus_reach_A": 4.0}}
# Columns of gold get brighter up to six atoms there and fade little beyond. Nearer to focus they fade from
# six on, until at 20 Å one of nine looks like one of one; the networks have seen nothing beyond 90 Å.
_EDGE_PX = 16  # over which a state's image fades into vacuum
_SIZE_STEP_PX = 16  # the networks take multiples of this

SMALLEST_PX = 256
"""Room for the states' 240 px and for the drift."""
MOST_DOSE_E_PER_A2 = 1.5e6
"""Beyond, counts would leave 16 bits, and drawing them the memory."""

TRUE_COLUMN_DTYPE = np.dtype([("column_id", "<i4"), ("y", "<f4"), ("x", "<f4"), ("count", "u1")])
"""One true column of one frame; y and x in pixels of the frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieSettings:
    """What is filmed, and how.

    `material` is one of `simulator.demo_states.MATERIALS`; :func:`settings_for` gives it its focus.
    `size_px` is the side of the square frames; `state_frames` the frames between two changes of the
    particle; `drift_step_px` the standard deviation of the drift from one frame to the next,
    `drift_reach_px` that of the particle's distance from the centre along each axis; `focus_step_A` and
    `focus_reach_A` the same for the focus about `overfocus_A` (C10, see `simulator.optics`).

    Raises
    ------
    UsageError
        If there is no movie of the material, the frames are too small for the particle, or a value is out of
        range.
    """

    material: str = "ceria"
    size_px: int = 512
    dose_e_per_A2: float = 300.0
    detector: str = "counting"
    dtype: str = "uint16"
    seed: int = 1
    state_frames: int = 18
    drift_step_px: float = 0.35
    drift_reach_px: float = 20.0
    overfocus_A: float = 60.0
    focus_step_A: float = 1.5
    focus_reach_A: float = 10.0

    def __post_init__(self) -> None:
        if self.material not in MATERIALS:
            raise UsageError(f"there is no movie of {self.material}, expected {' or '.join(MATERIALS)}")
        if self.size_px < SMALLEST_PX or self.size_px % _SIZE_STEP_PX:
            raise UsageError(
                f"frames of {self.size_px} px asked for, expected a multiple of {_SIZE_STEP_PX} px, at least "
                f"{SMALLEST_PX} px"
            )
        if self.detector not in DETECTORS:
            raise UsageError(f"unknown detector {self.detector!r}, expected one of {', '.join(DETECTORS)}")
        if not 0.0 < self.dose_e_per_A2 <= MOST_DOSE_E_PER_A2:
            raise UsageError(
                f"dose of {self.dose_e_per_A2:g} e/Å² a frame asked for, expected more than 0 and at most "
                f"{MOST_DOSE_E_PER_A2:g}"
            )
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} asked for, expected 0 or more")


def settings_for(material: str, **others: Any) -> MovieSettings:
    """Return the settings of a material's movie at its usual focus, and others as given.

    Raises
    ------
    UsageError
        As `MovieSettings`.
    """
    return MovieSettings(material=material, **{**_FOCUS.get(material, {}), **others})


@dataclass(frozen=True, slots=True)
class Place:
    """Where one frame stands in the movie: its state, the drift (y, x) [px] and the focus (C10) [Å]."""

    state: int
    drift_px: tuple[float, float]
    overfocus_A: float


@dataclass(frozen=True, slots=True)
class MovieFrame:
    """One frame: its number from 0, the picture (H, W) and its place in the movie."""

    index: int
    image: NDArray[np.unsignedinteger]
    place: Place


class Movie:
    """Frames without end; see the module.

    Parameters
    ----------
    settings : MovieSettings
    states : DemoStates
        What is filmed.

    Attributes
    ----------
    margin_px : int
        Where the states' first row and column lie in a frame without drift.
    """

    def __init__(self, settings: MovieSettings, states: DemoStates) -> None:
        self.settings = settings
        self.states = states
        self.margin_px = (settings.size_px - states.waves.shape[-1]) // 2
        self._detector = replace(
            DETECTORS[settings.detector],
            dose_e_per_A2=settings.dose_e_per_A2,
            pixel_size_A=states.pixel_size_A,
            dtype=np.dtype(settings.dtype),
        )
        self._foci_A = settings.overfocus_A + _FOCUS_STEP_A * np.arange(-_FOCUS_STEPS, _FOCUS_STEPS + 1)
        self._spectra, brightest = _spectra(states, self._foci_A)
        self._table = make_table(brightest, self._detector.electrons_per_pixel)

    def __iter__(self) -> Iterator[MovieFrame]:
        """Start from the first frame; every iteration gives the same frames."""
        s = self.settings
        rng = np.random.Generator(np.random.SFC64([s.seed, 1]))
        camera = _Camera(self._detector, self._table, (s.size_px, s.size_px), rng)
        for index, place in enumerate(self._places(np.random.default_rng([s.seed, 0]))):
            yield MovieFrame(index, camera.take(self.intensity(place)), place)

    def intensity(self, place: Place) -> NDArray[np.float32]:
        """Return the picture (H, W) without noise, in units of the vacuum level."""
        whole = np.rint(place.drift_px).astype(int)
        side = self.states.waves.shape[-1]
        focus = int(np.abs(self._foci_A - place.overfocus_A).argmin())
        spectrum = self._spectra[place.state, focus] * _shift(side, place.drift_px - whole)
        field = np.ones((self.settings.size_px, self.settings.size_px), np.float32)
        y, x = whole + self.margin_px
        field[y : y + side, x : x + side] += scipy.fft.irfft2(spectrum, (side, side))
        return field

    def columns(self, place: Place) -> NDArray[np.void]:
        """Return the true columns of a frame: rows of ``column_id, y, x`` [px] and ``count``."""
        rows = self.states.columns_of(place.state)
        columns = np.zeros(len(rows), TRUE_COLUMN_DTYPE)
        columns["column_id"], columns["count"] = rows["column_id"], rows["count"]
        columns["y"] = rows["y_A"] / self.states.pixel_size_A + self.margin_px + place.drift_px[0]
        columns["x"] = rows["x_A"] / self.states.pixel_size_A + self.margin_px + place.drift_px[1]
        return columns

    def _places(self, rng: np.random.Generator) -> Iterator[Place]:
        s = self.settings
        limit_px = float(self.margin_px)
        drift_y = _wander(rng, s.drift_step_px, min(s.drift_reach_px, limit_px / 3), limit_px)
        drift_x = _wander(rng, s.drift_step_px, min(s.drift_reach_px, limit_px / 3), limit_px)
        focus = _wander(rng, s.focus_step_A, s.focus_reach_A, _FOCUS_STEP_A * _FOCUS_STEPS)
        states = _forth_and_back(len(self.states.waves), s.state_frames)
        for state, y, x, defocus in zip(states, drift_y, drift_x, focus, strict=False):
            yield Place(state, (y, x), s.overfocus_A + _FOCUS_STEP_A * round(defocus / _FOCUS_STEP_A))


class _Camera:
    """The detector with what it keeps: its fixed pattern, and the last frame's signal."""

    def __init__(
        self, settings: DetectorSettings, table: CountTable, shape: tuple[int, int], rng: np.random.Generator
    ) -> None:
        self._settings, self._table, self._rng = settings, table, rng
        self._gains = gain_map(shape, settings, rng)
        self._previous: NDArray[np.float32] | None = None

    def take(self, intensity: NDArray[np.float32]) -> NDArray[np.unsignedinteger]:
        """Draw one frame (H, W) of a picture without noise."""
        electrons = draw_counts(intensity, self._table, self._rng)
        signal = signal_of(electrons, self._settings, self._rng)
        image = read_out(signal, self._previous, self._gains, self._settings, self._rng)
        self._previous = signal if self._settings.lag > 0.0 else None
        return image


def _spectra(states: DemoStates, foci_A: NDArray[np.floating]) -> tuple[NDArray[np.complex64], float]:
    """Return the spectra (states, foci, h, w // 2 + 1) of the images above vacuum, and the top intensity."""
    side = states.waves.shape[-1]
    spectra = np.empty((len(states.waves), len(foci_A), side, side // 2 + 1), np.complex64)
    brightest = 1.0
    for focus, overfocus_A in enumerate(foci_A):
        images = image_intensity(
            states.waves, states.pixel_size_A, Optics(overfocus_A=float(overfocus_A)), np
        )
        spectra[:, focus] = scipy.fft.rfft2((images - 1.0) * _fade(side))
        brightest = max(brightest, float(images.max()))
    return spectra, brightest


def _fade(side: int) -> NDArray[np.float32]:
    """Return a window (side, side) that is 1 inside and falls to 0 at the edges, as half a cosine."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1])
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / _EDGE_PX, 0.0, 1.0))
    return np.asarray(np.outer(ramp, ramp), dtype=np.float32)


def _shift(side: int, shift_px: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return the factor (side, side // 2 + 1) that moves a picture by (y, x) pixels in Fourier space."""
    y = np.exp(-2j * np.pi * np.fft.fftfreq(side) * shift_px[0]).astype(np.complex64)
    x = np.exp(-2j * np.pi * np.fft.rfftfreq(side) * shift_px[1]).astype(np.complex64)
    return np.asarray(y[:, None] * x[None, :])


def _wander(rng: np.random.Generator, step: float, reach: float, limit: float) -> Iterator[float]:
    """Yield a random walk about 0 with steps of deviation `step` and positions of deviation `reach`."""
    pull = 0.5 * (step / reach) ** 2
    position = 0.0
    while True:
        yield position
        position = float(np.clip(position * (1.0 - pull) + rng.normal(0.0, step), -limit, limit))


def _forth_and_back(count: int, repeat: int) -> Iterator[int]:
    """Yield 0 … count - 1 … 0 … without end, each `repeat` times."""
    order = [*range(count), *range(count - 2, 0, -1)]
    return (state for state in cycle(order) for _ in range(repeat))
