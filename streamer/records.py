"""The records that move through the program.

What is constant in a series (`SeriesStart`) and what changes with each frame (`FrameHeader`, `Frame`) are
separate records; so are a frame's analysis (`FrameResult`) and a frame that could not be analysed
(`FrameFailure`). All are frozen. Images are (y, x), row-major. Times are Unix seconds on the run's clock
(`streamer.clock.RunClock`), NaN where unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import nan
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHANGE_DTYPE",
    "COLUMN_DTYPE",
    "MOST_SHAPES",
    "NO_PARTICLES",
    "OUTLINE_POINTS",
    "PARTICLE_DTYPE",
    "TRACKS_OF_AN_ANALYSER",
    "UNSURE",
    "AnalyserInfo",
    "AnalyserLost",
    "Compression",
    "Frame",
    "FrameFailure",
    "FrameHeader",
    "FrameResult",
    "FrameStatus",
    "Policy",
    "SeriesEnd",
    "SeriesKey",
    "SeriesStart",
    "StreamMessage",
]


class Compression(StrEnum):
    """How a frame's payload is stored.

    ``BSLZ4`` and ``LZ4`` carry the 12-byte HDF5 filter header (uncompressed size as big-endian uint64, block
    size as big-endian uint32) and are, byte for byte, HDF5 chunks of filters 32008 and 32004.
    """

    NONE = "none"
    BSLZ4 = "bslz4"
    LZ4 = "lz4"


class Policy(StrEnum):
    """What happens to a frame when the analysers are busy: it waits, or it is skipped (and named)."""

    WAIT = "wait"
    LATEST = "latest"


class FrameStatus(IntEnum):
    """A frame's state in the ledger; a later state replaces an earlier one.

    ::

        MISSING ──► RECORDED ───► ANALYSED
           │            ├───────► SKIPPED    recorded, deliberately not analysed
           │            └───────► DAMAGED    recorded as received, cannot be decoded or analysed
           └──────► UNRECORDED ─► ANALYSED, SKIPPED    received while recording was switched off
        MISSING or DAMAGED alone: nothing usable was received under this id
    """

    MISSING = 0
    RECORDED = 1
    ANALYSED = 2
    SKIPPED = 3
    DAMAGED = 4
    UNRECORDED = 5


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What tells one series from another; `unique_id` is empty where the source has none."""

    series_id: int
    unique_id: str = ""


@dataclass(frozen=True, slots=True)
class SeriesStart:
    """What a source says before a series' first frame.

    Attributes
    ----------
    key : SeriesKey
    n_frames_planned : int
        0 where the source does not say; a plan only, never a promise.
    shape : tuple of int
        (height, width) [px].
    dtype : numpy.dtype or None
        Unsigned integer type of the pixels; None where only the frames tell.
    channel : str
        Which of a detector's thresholds the frames are taken from; empty: the first.
    pixel_size_A : float or None
        Specimen-level pixel size [Å]. A detector knows only its own pixels, so this comes from a simulator's
        header or from the run's configuration.
    frame_time_s : float or None
        Time from one frame's start to the next [s].
    saturation_value : int or None
        The largest valid count.
    header : bytes
        The message as it came, stored in the result file. Empty where there was none.
    extra : Mapping
        Decoded fields worth keeping (detector description, energy, user data …); JSON-like values only.
    """

    key: SeriesKey
    n_frames_planned: int
    shape: tuple[int, int]
    dtype: np.dtype[Any] | None = None
    channel: str = ""
    pixel_size_A: float | None = None
    frame_time_s: float | None = None
    saturation_value: int | None = None
    header: bytes = b""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What is known of a frame without touching its pixels."""

    key: SeriesKey
    frame_id: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    compression: Compression
    t_detector: float = nan


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it was received.

    `payload` is a view into the message it came in: it is valid as long as that message is held, and must not
    be written to.
    """

    header: FrameHeader
    payload: memoryview


@dataclass(frozen=True, slots=True)
class SeriesEnd:
    """The source says that a series is over; it may come twice, or never."""

    key: SeriesKey


StreamMessage = SeriesStart | Frame | SeriesEnd

COLUMN_DTYPE = np.dtype(
    [
        ("y", "<f4"),  # [px] in the frame as recorded, sub-pixel
        ("x", "<f4"),  # [px]
        ("count", "u1"),  # atoms in the column
        ("probability", "<f4"),  # that `count` is right
        ("detection", "<f4"),  # that there is a column here
        ("track_id", "<i8"),  # the same column in other frames; -1: not followed
        ("fused_count", "u1"),  # atoms, from all frames so far; 0: probably no column
        ("fused_probability", "<f4"),  # that `fused_count` is right; NaN: not followed
    ]
)
"""One atomic column of one frame."""

TRACKS_OF_AN_ANALYSER = 1_000_000_000
"""What replaces another analyser, or follower, begins anew, with ids from here on: no id of a run means two
columns."""

CHANGE_DTYPE = np.dtype(
    [
        ("track_id", "<i8"),
        ("y", "<f4"),  # [px] in the frame in which the change was noticed
        ("x", "<f4"),  # [px]
        ("before", "<i2"),  # atoms; -1: counted for the first time, and may always have been there
        ("after", "<i2"),  # atoms; 0: the column is gone
        ("probability", "<f4"),  # that `after` is right
    ]
)
"""One column whose fused count has become another."""

MOST_SHAPES = 8
"""Classes of shape that a record has room for; a network with fewer leaves the last probabilities NaN."""

OUTLINE_POINTS = 24
"""Corners of a particle's outline."""

UNSURE = "unsure"
"""The name of the answer where no shape is probable enough; on the wire its number is -1."""

PARTICLE_DTYPE = np.dtype(
    [
        ("y", "<f4"),  # [px] of its centre in the frame as recorded
        ("x", "<f4"),  # [px]
        ("centre", "<f4", (2,)),  # [nm] the same place (y, x)
        ("size", "<f4"),  # [nm] diameter of the circle of equal area
        ("axes", "<f4", (2,)),  # [nm] long and short axis of the ellipse of equal second moments
        ("area", "<f4"),  # [nm²]
        ("shape", "i1"),  # number of the most probable shape; -1: unsure
        ("shape_probabilities", "<f4", (MOST_SHAPES,)),  # in the order of the analyser's shapes
        ("touches_border", "u1"),  # 1: cut by the edge of the frame, so that size and shape are a part's
        ("outline", "<f4", (OUTLINE_POINTS, 2)),  # [px] (y, x), around the particle
    ]
)
"""One particle of one frame."""

NO_PARTICLES = np.empty(0, PARTICLE_DTYPE)
"""Shared by all frames without any."""


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the analysis found in one frame.

    Attributes
    ----------
    frame_id : int
    key : SeriesKey
    columns : numpy.ndarray of COLUMN_DTYPE, shape (n,)
    total_atoms, total_atoms_std : float
        Expected number of atoms in all columns, and its standard deviation from the count distributions.
    drift_px : tuple of float
        (y, x) of the particle against the series' first analysed frame [px].
    ood_score : float
        How unlike the training data the frame looks: 0 familiar, 1 certainly foreign; NaN: not estimated.
    t_received, t_analysed, t_published : float
        Unix seconds on the run's clock: taken from the receive queue; the networks had finished; sent out.
    denoised, atom_count : numpy.ndarray of float16, shape (h, w), or None
        Maps to be stored in the file, only where the run's configuration asks for them.
    fused_atoms, fused_atoms_std : float
        Expected number of atoms in all columns that are followed, from all frames so far, and its standard
        deviation; NaN where columns are not followed.
    changes : numpy.ndarray of CHANGE_DTYPE, shape (m,)
        Columns whose fused count became another in this frame.
    particles : numpy.ndarray of PARTICLE_DTYPE, shape (p,)
        Where the material's particles are classified and its columns not counted.
    t_decoded, t_batched : float
        When the frame was ready for the networks, and when its batch was handed to them [Unix s].
    """

    frame_id: int
    key: SeriesKey
    columns: NDArray[np.void]
    total_atoms: float
    total_atoms_std: float
    t_received: float
    t_analysed: float
    t_published: float
    drift_px: tuple[float, float] = (nan, nan)
    ood_score: float = nan
    denoised: NDArray[np.float16] | None = None
    atom_count: NDArray[np.float16] | None = None
    fused_atoms: float = nan
    fused_atoms_std: float = nan
    changes: NDArray[np.void] = field(default_factory=lambda: np.empty(0, CHANGE_DTYPE))
    t_decoded: float = nan
    t_batched: float = nan
    particles: NDArray[np.void] = field(default_factory=lambda: NO_PARTICLES)


@dataclass(frozen=True, slots=True)
class FrameFailure:
    """A frame the analysis had to give up, and why (at most 63 bytes reach the ledger)."""

    frame_id: int
    key: SeriesKey
    reason: str

    @classmethod
    def of(cls, header: FrameHeader, reason: str) -> Self:
        """Make the failure record of the frame that `header` belongs to."""
        return cls(header.frame_id, header.key, reason)


@dataclass(frozen=True, slots=True)
class AnalyserInfo:
    """Which engine and networks an analyser runs; it says so once, before its first result.

    `networks` gives each model file's name and SHA-256; `reason` says why it is this engine; `shapes` names
    the classes of particles, in the order of their numbers.
    """

    backend: str
    device: str = ""
    precision: str = ""
    version: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    shapes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnalyserLost:
    """An analyser of this machine has died: what it was given it will not answer.

    Without a name, `worker`: no analyser is left on this machine, and none will be started.
    """

    reason: str
    worker: str = ""
