"""What a person can set, without Qt: frozen records, checked when made, and a model that tells of changes.

`Settings` outlives the window (see `gui.persist`); `ViewState` is where the person is looking right now.
Nothing is changed in place: `Model.change` makes a new record, and tells those who asked.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from streamer.errors import UsageError

__all__ = [
    "Backdrop",
    "Chosen",
    "ContrastMode",
    "Corners",
    "CountsFrom",
    "Model",
    "Region",
    "Settings",
    "ThemeName",
    "ViewState",
]

COLOUR_MAPS = ("grey", "inverted", "viridis", "inferno", "cividis")
TIME_WINDOWS_S = (30.0, 120.0, 600.0, 0.0)  # 0: everything kept
AVERAGES = (1, 2, 4, 8, 16)
PLOTS = ("atoms", "columns", "unfamiliarity", "drift", "dose", "signal")

_Record = TypeVar("_Record")


class ThemeName(StrEnum):
    """Dark for a dark microscope room, light for a desk or a projector."""

    DARK = "dark"
    LIGHT = "light"


class ContrastMode(StrEnum):
    """How picture levels are chosen; see `gui.contrast`."""

    AUTO = "auto"
    PERCENTILE = "percentile"
    MANUAL = "manual"


class Backdrop(StrEnum):
    """What lies beneath the columns of the map."""

    DENOISED = "denoised"
    RAW = "raw"
    NONE = "nothing"


class CountsFrom(StrEnum):
    """Whose counts are shown: the frame's own, or those that all frames so far give together."""

    SINGLE = "single frame"
    FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is remembered from one day to the next.

    Attributes
    ----------
    percentiles : tuple of float
        Lower and upper, of the picture's pixels [%], for `ContrastMode.PERCENTILE`.
    manual_levels : tuple of float
        Black and white as fractions of the published range, for `ContrastMode.MANUAL`.
    average_frames : int
        Raw pictures averaged for display only; 1: none.
    sure_probability : float
        A count less probable than this is drawn as an open ring.
    time_window_s, recording_window_s : float
        Length of the time axes [s] of a run, and of a recording; 0: everything.
    plots : tuple of str
        Which time series are shown, of `PLOTS`.
    """

    theme: ThemeName = ThemeName.DARK
    raw_colour_map: str = "grey"
    denoised_colour_map: str = "grey"
    contrast: ContrastMode = ContrastMode.AUTO
    percentiles: tuple[float, float] = (1.0, 99.7)
    manual_levels: tuple[float, float] = (0.0, 1.0)
    average_frames: int = 1
    show_columns: bool = True
    counts: CountsFrom = CountsFrom.SINGLE
    columns_on_denoised: bool = False
    backdrop: Backdrop = Backdrop.DENOISED
    sure_probability: float = 0.6
    time_window_s: float = 120.0
    recording_window_s: float = 0.0
    plots: tuple[str, ...] = ("atoms", "columns", "unfamiliarity", "drift", "dose")

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("raw_colour_map", self.raw_colour_map, COLOUR_MAPS),
            ("denoised_colour_map", self.denoised_colour_map, COLOUR_MAPS),
            ("average_frames", self.average_frames, AVERAGES),
            ("time_window_s", self.time_window_s, TIME_WINDOWS_S),
            ("recording_window_s", self.recording_window_s, TIME_WINDOWS_S),
        ):
            if value not in choices:
                raise UsageError(f"{name} is {value!r}, expected one of {choices}")
        _require(set(self.plots) <= set(PLOTS), "plots", self.plots, f"names out of {PLOTS}")
        low, high = self.percentiles
        _require(0 <= low < high <= 100, "percentiles", self.percentiles, "0 <= low < high <= 100 [%]")
        low, high = self.manual_levels
        _require(0 <= low < high <= 1, "manual_levels", self.manual_levels, "0 <= low < high <= 1")
        _require(0 <= self.sure_probability <= 1, "sure_probability", self.sure_probability, "0 to 1")


Corners = tuple[tuple[float, float], ...]
"""Corners (y, x) of a polygon [px]."""


@dataclass(frozen=True, slots=True)
class Region:
    """The part of the frame that all pictures show: a square that must be visible, in recorded pixels."""

    y: float
    x: float
    extent_px: float

    def __post_init__(self) -> None:
        _require(self.extent_px > 0, "extent_px", self.extent_px, "a length above 0 px")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A column as it was when it was chosen: place and drift at that time [px], track (-1: none)."""

    y: float
    x: float
    track_id: int
    drift_y_px: float
    drift_x_px: float


@dataclass(frozen=True, slots=True)
class ViewState:
    """Where the person is looking.

    Attributes
    ----------
    t : float or None
        Time of the frame shown [Unix s]; None: live.
    t_end : float or None
        Right end of the time axes when the person left the live view [Unix s]; None: live.
    region : Region or None
        Zoom of the linked pictures; None: the whole frame.
    following : bool
        Whether the zoom keeps the particle in view by itself.
    chosen : Chosen or None
        The column whose count is followed.
    roi : tuple of (y, x) or None
        Corners of the region of interest [px].
    acknowledged : int
        Number of losses the person has seen and confirmed; more of them raise the alarm again.
    acknowledged_run : float
        When the run was started that has had these losses [Unix s].
    acknowledged_refused : int
        The same for messages this window could not read.
    acknowledged_events : int
        The same for triggers that have fired.
    """

    t: float | None = None
    t_end: float | None = None
    region: Region | None = None
    following: bool = True
    chosen: Chosen | None = None
    roi: Corners | None = None
    acknowledged: int = 0
    acknowledged_run: float = 0.0
    acknowledged_refused: int = 0
    acknowledged_events: int = 0

    @property
    def live(self) -> bool:
        """Whether the newest frame is shown."""
        return self.t is None


class Model(Generic[_Record]):
    """Holds one frozen record and tells subscribers when it is replaced by a different one."""

    def __init__(self, value: _Record) -> None:
        self._value = value
        self._subscribers: list[Callable[[_Record], None]] = []

    @property
    def value(self) -> _Record:
        """The record as it stands."""
        return self._value

    def change(self, **fields: Any) -> None:
        """Replace some fields; an invalid value raises and changes nothing."""
        self.set(dataclasses.replace(self._value, **fields))  # type: ignore[type-var]

    def set(self, value: _Record) -> None:
        """Replace the record; subscribers hear of it only if it differs."""
        if value == self._value:
            return
        self._value = value
        for subscriber in tuple(self._subscribers):
            subscriber(value)

    def subscribe(self, subscriber: Callable[[_Record], None]) -> Callable[[], None]:
        """Call `subscriber` after each change; returns the function that ends this."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise UsageError(f"{name} is {value!r}, expected {expected}")
