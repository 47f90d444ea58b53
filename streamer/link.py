"""Messages between our own processes: the one module that knows their bytes.

===========  =======================  ===========================================================
message      direction                parts
===========  =======================  ===========================================================
task         ingest → analyser        `TaskHeader`, payload as received
result       analyser → ingest        `ResultHeader`, columns, denoised, atom count, changes, particles
failure      analyser → ingest        `FailureHeader`
analyser     analyser → ingest        `AnalyserHeader`, once, when its networks are loaded
lost         supervisor → ingest      `LostHeader`, when an analyser has died
joining      both ways                `streamer.joining`: how analysers come and go
view         analyser → windows       ``b"view"``, `ViewHeader`, raw and denoised uint8, columns, particles
status       ingest → windows         ``b"status"``, `RunStatus`
samples      ingest → windows         ``b"channels"``, `streamer.stimuli.Batch`
event        ingest → windows         ``b"event"``, `streamer.triggers.Event`
heartbeat    supervisor → windows     ``b"heartbeat"``, `pipeline.heartbeat.Beat`
===========  =======================  ===========================================================

Headers are MessagePack arrays (`msgspec`), typed and validated on arrival; the first element names the type.
Nothing is ever unpickled.
"""

from collections.abc import Sequence
from math import nan
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.errors import MessageError, TruncatedMessageError, UnknownEncodingError
from streamer.joining import FromAnalyser
from streamer.records import (
    CHANGE_DTYPE,
    COLUMN_DTYPE,
    NO_PARTICLES,
    PARTICLE_DTYPE,
    AnalyserInfo,
    AnalyserLost,
    Compression,
    Frame,
    FrameFailure,
    FrameHeader,
    FrameResult,
    SeriesKey,
    SeriesStart,
)

__all__ = [
    "HEARTBEAT_TOPIC",
    "STATUS_TOPIC",
    "VIEW_TOPIC",
    "Answer",
    "Buffer",
    "RunStatus",
    "Task",
    "View",
    "decode_result",
    "decode_status",
    "decode_task",
    "decode_view",
    "encode_analyser",
    "encode_failure",
    "encode_lost",
    "encode_result",
    "encode_status",
    "encode_task",
    "encode_view",
]

VIEW_TOPIC = b"view"
STATUS_TOPIC = b"status"
HEARTBEAT_TOPIC = b"heartbeat"  # pipeline.heartbeat

Buffer = bytes | memoryview | NDArray[Any]
Answer = FrameResult | FrameFailure | AnalyserInfo | AnalyserLost | FromAnalyser
_DTYPES = {name: np.dtype(name) for name in ("|u1", "<u2", "<u4")}
_encode = msgspec.msgpack.Encoder().encode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class TaskHeader(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """A frame to be analysed, with what its analysis needs to know of its series."""

    series_id: int
    unique_id: str
    frame_id: int
    height: int
    width: int
    dtype: str
    compression: str
    t_detector: float
    t_received: float
    pixel_size_A: float | None
    saturation_value: int | None


class ResultHeader(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    """The scalars of a `FrameResult`."""

    series_id: int
    unique_id: str
    frame_id: int
    total_atoms: float
    total_atoms_std: float
    t_received: float
    t_analysed: float
    t_published: float
    drift_y_px: float
    drift_x_px: float
    ood_score: float
    fused_atoms: float
    fused_atoms_std: float
    map_height: int
    map_width: int
    t_decoded: float = nan
    t_batched: float = nan


class FailureHeader(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """A `FrameFailure`."""

    series_id: int
    unique_id: str
    frame_id: int
    reason: str


class AnalyserHeader(msgspec.Struct, frozen=True, array_like=True, tag="analyser"):
    """An `AnalyserInfo`."""

    backend: str
    device: str
    precision: str
    version: str
    networks: dict[str, str]
    reason: str = ""
    shapes: tuple[str, ...] = ()


class LostHeader(msgspec.Struct, frozen=True, array_like=True, tag="lost"):
    """An `AnalyserLost`."""

    reason: str
    worker: str = ""


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
    recording: bool = True  # False: switched off, though there is a file
    stages_ms: dict[str, tuple[float, ...]] = {}  # streamer.latency: `PERCENTILES` of each stage passed
    control: str = ""  # where the run takes commands (streamer.control); empty: nowhere


class Task(msgspec.Struct, frozen=True):
    """A frame taken from the queue of frames to be analysed.

    `frame.payload` is a view into the received message; it holds that message alive.
    """

    frame: Frame
    t_received: float
    pixel_size_A: float | None
    saturation_value: int | None


class View(msgspec.Struct, frozen=True):
    """A frame to be shown: pictures of shape (view_height, view_width), uint8, row-major."""

    header: ViewHeader
    raw: NDArray[np.uint8]
    denoised: NDArray[np.uint8]
    columns: NDArray[np.void]
    particles: NDArray[np.void] = msgspec.field(default_factory=lambda: NO_PARTICLES)


def encode_task(frame: Frame, start: SeriesStart, t_received: float) -> list[Buffer]:
    """Make the parts of a task; the payload is passed on as the view it is."""
    h = frame.header
    header = TaskHeader(
        h.key.series_id, h.key.unique_id, h.frame_id, *h.shape, h.dtype.str, h.compression.value,
        h.t_detector, t_received, start.pixel_size_A, start.saturation_value,
    )  # fmt: skip
    return [_encode(header), frame.payload]


def decode_task(parts: Sequence[memoryview]) -> Task:
    """Read a task; the frame's payload is a view into ``parts[1]``.

    Raises
    ------
    MessageError
        If the parts are not a task.
    """
    _expect_parts(parts, 2, "task")
    h = _decode(parts[0], TaskHeader)
    if h.dtype not in _DTYPES:
        raise UnknownEncodingError(f"task has data type {h.dtype!r}, expected one of {sorted(_DTYPES)}")
    header = FrameHeader(
        SeriesKey(h.series_id, h.unique_id), h.frame_id, (h.height, h.width), _DTYPES[h.dtype],
        Compression(h.compression), h.t_detector,
    )  # fmt: skip
    return Task(Frame(header, parts[1]), h.t_received, h.pixel_size_A, h.saturation_value)


def encode_result(result: FrameResult) -> list[Buffer]:
    """Make the parts of a result. Both maps, where there are any, have the same shape."""
    maps = (result.denoised, result.atom_count)
    height, width = next((m.shape for m in maps if m is not None), (0, 0))
    header = ResultHeader(
        result.key.series_id, result.key.unique_id, result.frame_id, result.total_atoms,
        result.total_atoms_std, result.t_received, result.t_analysed, result.t_published,
        *result.drift_px, result.ood_score, result.fused_atoms, result.fused_atoms_std, height, width,
        result.t_decoded, result.t_batched,
    )  # fmt: skip
    columns = np.ascontiguousarray(result.columns, COLUMN_DTYPE).tobytes()
    changes = np.ascontiguousarray(result.changes, CHANGE_DTYPE).tobytes()
    maps_bytes = [_map_bytes(image) for image in maps]
    return [_encode(header), columns, *maps_bytes, changes, _particle_bytes(result.particles)]


def encode_failure(failure: FrameFailure) -> list[Buffer]:
    """Make the part of a failure."""
    return [
        _encode(FailureHeader(failure.key.series_id, failure.key.unique_id, failure.frame_id, failure.reason))
    ]


def encode_analyser(info: AnalyserInfo) -> list[Buffer]:
    """Make the part by which an analyser introduces itself; sent once, before its first result."""
    names = (info.backend, info.device, info.precision, info.version)
    return [_encode(AnalyserHeader(*names, dict(info.networks), info.reason, info.shapes))]


def encode_lost(lost: AnalyserLost) -> list[Buffer]:
    """Make the part that tells ingest not to wait for a dead analyser's answers."""
    return [_encode(LostHeader(lost.reason, lost.worker))]


def decode_result(parts: Sequence[memoryview]) -> Answer:
    """Read what an analyser, or the supervisor for it, sends back; maps and columns are views into the parts.

    Raises
    ------
    MessageError
        If the parts are neither a result, a failure, an introduction, the news of a loss, nor one of the
        messages of `streamer.joining`.
    """
    if len(parts) == 1:
        return _decode_short(parts[0])
    _expect_parts(parts, 6, "result")
    h = _decode(parts[0], ResultHeader)
    shape = (h.map_height, h.map_width)
    return FrameResult(
        frame_id=h.frame_id,
        key=SeriesKey(h.series_id, h.unique_id),
        columns=_rows(parts[1], COLUMN_DTYPE, "columns"),
        total_atoms=h.total_atoms,
        total_atoms_std=h.total_atoms_std,
        t_received=h.t_received,
        t_analysed=h.t_analysed,
        t_published=h.t_published,
        drift_px=(h.drift_y_px, h.drift_x_px),
        ood_score=h.ood_score,
        denoised=_map(parts[2], shape),
        atom_count=_map(parts[3], shape),
        fused_atoms=h.fused_atoms,
        fused_atoms_std=h.fused_atoms_std,
        changes=_rows(parts[4], CHANGE_DTYPE, "changes"),
        t_decoded=h.t_decoded,
        t_batched=h.t_batched,
        particles=_rows(parts[5], PARTICLE_DTYPE, "particles"),
    )


def encode_view(view: View) -> list[Buffer]:
    """Make the parts of a view, topic first."""
    columns = np.ascontiguousarray(view.columns, COLUMN_DTYPE).tobytes()
    pictures = [np.ascontiguousarray(picture).tobytes() for picture in (view.raw, view.denoised)]
    return [VIEW_TOPIC, _encode(view.header), *pictures, columns, _particle_bytes(view.particles)]


def decode_view(parts: Sequence[memoryview]) -> View:
    """Read a view (all parts, topic included).

    Raises
    ------
    MessageError
        If the parts are not a view, or a picture's size is not the one the header gives.
    """
    _expect_parts(parts, 6, "view")
    header = _decode(parts[1], ViewHeader)
    shape = (header.view_height, header.view_width)
    columns = _rows(parts[4], COLUMN_DTYPE, "columns")
    particles = _rows(parts[5], PARTICLE_DTYPE, "particles")
    return View(header, _picture(parts[2], shape), _picture(parts[3], shape), columns, particles)


def encode_status(status: RunStatus) -> list[Buffer]:
    """Make the parts of a status message, topic first."""
    return [STATUS_TOPIC, _encode(status)]


def decode_status(parts: Sequence[memoryview]) -> RunStatus:
    """Read a status message (topic included).

    Raises
    ------
    MessageError
        If the parts are not a status.
    """
    _expect_parts(parts, 2, "status")
    return _decode(parts[1], RunStatus)


_short = msgspec.msgpack.Decoder(FailureHeader | AnalyserHeader | LostHeader | FromAnalyser)
_Header = TypeVar("_Header", TaskHeader, ResultHeader, FailureHeader, ViewHeader, RunStatus)


def _decode_short(part: memoryview) -> FrameFailure | AnalyserInfo | AnalyserLost | FromAnalyser:
    try:
        h = _short.decode(part)
    except _UNREADABLE as error:
        raise MessageError(f"neither a failure nor an introduction: {error}") from error
    if isinstance(h, FailureHeader):
        return FrameFailure(h.frame_id, SeriesKey(h.series_id, h.unique_id), h.reason)
    if isinstance(h, FromAnalyser):
        return h
    if isinstance(h, LostHeader):
        return AnalyserLost(h.reason, h.worker)
    return AnalyserInfo(h.backend, h.device, h.precision, h.version, h.networks, h.reason, h.shapes)


def _decode(part: memoryview, kind: type[_Header]) -> _Header:
    try:
        return msgspec.msgpack.decode(part, type=kind)
    except _UNREADABLE as error:
        raise MessageError(f"not a {kind.__name__}: {error}") from error


def _expect_parts(parts: Sequence[memoryview], count: int, name: str) -> None:
    if len(parts) != count:
        raise MessageError(f"a {name} has {count} parts, got {len(parts)}")


def _rows(part: memoryview, dtype: np.dtype[np.void], what: str) -> NDArray[np.void]:
    if len(part) % dtype.itemsize:
        raise TruncatedMessageError(f"{what} take {dtype.itemsize} bytes each, got {len(part)} bytes")
    return np.frombuffer(part, dtype)


def _particle_bytes(particles: NDArray[np.void]) -> bytes:
    return np.ascontiguousarray(particles, PARTICLE_DTYPE).tobytes() if len(particles) else b""


def _picture(part: memoryview, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if min(shape) < 0 or len(part) != shape[0] * shape[1]:
        raise TruncatedMessageError(f"a picture of {shape[0]} x {shape[1]} px has {len(part)} bytes")
    return np.frombuffer(part, np.uint8).reshape(shape)


def _map(part: memoryview, shape: tuple[int, int]) -> NDArray[np.float16] | None:
    if not len(part):
        return None
    if min(shape) < 0 or len(part) != 2 * shape[0] * shape[1]:
        raise TruncatedMessageError(f"a float16 map of {shape[0]} x {shape[1]} px has {len(part)} bytes")
    return np.frombuffer(part, np.float16).reshape(shape)


def _map_bytes(image: NDArray[np.float16] | None) -> bytes:
    return b"" if image is None else np.ascontiguousarray(image, np.float16).tobytes()
