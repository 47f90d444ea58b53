"""Messages for windows: the one module that knows their bytes.

===========  =======================  ===========================================================
message      direction                parts
===========  =======================  ===========================================================
view         analyser → windows       ``b"view"``, `ViewHeader`, raw and denoised uint8, columns, particles
status       ingest → windows         ``b"status"``, `RunStatus`
samples      ingest → windows         ``b"channels"``, `streamer.stimuli.Batch`
event        ingest → windows         ``b"event"``, `streamer.triggers.Event`
heartbeat    supervisor → windows     ``b"heartbeat"``, `pipeline.heartbeat.Beat`
===========  =======================  ===========================================================

The first part is the topic that windows subscribe to.
"""

from collections.abc import Sequence
from math import nan

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.counters import OutputCounts
from streamer.message_parts import (
    Buffer,
    bytes_of,
    decode_header,
    encode_header,
    expect_parts,
    image_in,
    particle_bytes,
    rows_in,
)
from streamer.records import COLUMN_DTYPE, NO_PARTICLES, PARTICLE_DTYPE

__all__ = [
    "HEARTBEAT_TOPIC",
    "STATUS_TOPIC",
    "VIEW_TOPIC",
    "RunStatus",
    "View",
    "ViewHeader",
    "decode_status",
    "decode_view",
    "encode_status",
    "encode_view",
]

VIEW_TOPIC = b"view"
STATUS_TOPIC = b"status"
HEARTBEAT_TOPIC = b"heartbeat"  # pipeline.heartbeat


class ViewHeader(msgspec.Struct, frozen=True, array_like=True, tag="view"):
    """What a window needs to show one analysed frame."""

    series_id: int
    frame_id: int
    height: int  # of the recorded frame [px]
    width: int
    view_height: int  # of both pictures [px]
    view_width: int
    bin_px: int  # recorded pixels per picture pixel, along each axis
    raw_low: float  # counts that uint8 0 and 255 stand for
    raw_high: float
    denoised_low: float  # vacuum levels that uint8 0 and 255 stand for
    denoised_high: float
    pixel_size_A: float
    t_detector: float
    t_received: float
    t_published: float
    total_atoms: float
    total_atoms_std: float
    drift_y_px: float
    drift_x_px: float
    ood_score: float
    mean_counts: float  # per pixel, before binning
    fused_atoms: float = nan  # from all frames so far; NaN: columns are not followed
    fused_atoms_std: float = nan
    shapes: tuple[str, ...] = ()  # names of the classes of particles


class RunStatus(msgspec.Struct, frozen=True, array_like=True, tag="status"):
    """How the run stands; published twice a second and once more at its end."""

    state: str  # waiting, running, finishing, ended
    source: str
    series_id: int
    n_planned: int
    received: int
    recorded: int
    analysed: int
    skipped: int
    missing: int
    damaged: int
    bad_messages: int
    received_per_s: float
    recorded_per_s: float
    analysed_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    path: str
    bytes_written: int
    bytes_free: int
    backend: str
    note: str  # the latest warning, empty if there was none
    t: float
    t_started: float
    recording: bool = True  # False: switched off, or the run writes no file
    stages_ms: dict[str, tuple[float, ...]] = {}  # streamer.latency: `PERCENTILES` of each stage passed
    control: str = ""  # where the run takes commands (streamer.control); empty: nowhere
    tee: tuple[OutputCounts, ...] = ()  # what the run's further clients have got
    unrecorded: int = 0  # frames that came after recording had failed
    analysis_lost: int = 0  # frames whose analysis was never answered
    damaged_on_arrival: int = 0  # of the damaged, those that are among the bad messages too
    t_first: float = nan  # when the first frame came of what goes into this file
    recording_error: str = ""  # why nothing is recorded though it should be; at the end: why not all was


class View(msgspec.Struct, frozen=True):
    """A frame to be shown: pictures of shape (view_height, view_width), uint8, row-major."""

    header: ViewHeader
    raw: NDArray[np.uint8]
    denoised: NDArray[np.uint8]
    columns: NDArray[np.void]
    particles: NDArray[np.void] = msgspec.field(default_factory=lambda: NO_PARTICLES)


def encode_view(view: View) -> list[Buffer]:
    """Make the parts of a view, topic first."""
    columns = bytes_of(view.columns, COLUMN_DTYPE)
    pictures = [bytes_of(picture, np.uint8) for picture in (view.raw, view.denoised)]
    return [VIEW_TOPIC, encode_header(view.header), *pictures, columns, particle_bytes(view.particles)]


def decode_view(parts: Sequence[memoryview]) -> View:
    """Read a view (all parts, topic included).

    Raises
    ------
    MessageError
        If the parts are not a view, or a picture's size is not the one the header gives.
    """
    expect_parts(parts, 6, "view")
    header = decode_header(parts[1], ViewHeader)
    shape = (header.view_height, header.view_width)
    columns = rows_in(parts[4], COLUMN_DTYPE, "columns")
    particles = rows_in(parts[5], PARTICLE_DTYPE, "particles")
    raw, denoised = (image_in(part, shape, np.uint8, "a picture") for part in parts[2:4])
    return View(header, raw, denoised, columns, particles)


def encode_status(status: RunStatus) -> list[Buffer]:
    """Make the parts of a status message, topic first."""
    return [STATUS_TOPIC, encode_header(status)]


def decode_status(parts: Sequence[memoryview]) -> RunStatus:
    """Read a status message (topic included).

    Raises
    ------
    MessageError
        If the parts are not a status.
    """
    expect_parts(parts, 2, "status")
    return decode_header(parts[1], RunStatus)
