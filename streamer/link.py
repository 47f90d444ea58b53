"""Tasks and results, on their way between ingest and analysers: the one module that knows their bytes.

===========  =======================  ===========================================================
message      direction                parts
===========  =======================  ===========================================================
task         ingest → analyser        `TaskHeader`, message with the payload, as received
result       analyser → ingest        `ResultHeader`, columns, denoised, atom count, changes, particles
failure      analyser → ingest        `FailureHeader`
analyser     analyser → ingest        `AnalyserHeader`, once, when its networks are loaded
lost         supervisor → ingest      `LostHeader`, when an analyser has died
joining      both ways                `streamer.joining`: how analysers come and go
unfollowed   analyser → ingest,       `streamer.unfollowed`: a result whose columns another process follows
             ingest → follower
===========  =======================  ===========================================================

What windows get is in `streamer.window_link`, what all have in common in `streamer.message_parts`.
"""

from collections.abc import Sequence
from math import nan

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.errors import MessageError, TruncatedMessageError, UnknownEncodingError
from streamer.joining import FromAnalyser
from streamer.message_parts import (
    UNREADABLE,
    Buffer,
    bytes_of,
    decode_header,
    encode_header,
    expect_parts,
    image_in,
    in_message,
    particle_bytes,
    rows_in,
)
from streamer.records import (
    CHANGE_DTYPE,
    COLUMN_DTYPE,
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
    "Answer",
    "Task",
    "decode_result",
    "decode_task",
    "encode_analyser",
    "encode_failure",
    "encode_lost",
    "encode_result",
    "encode_task",
]

Answer = FrameResult | FrameFailure | AnalyserInfo | AnalyserLost | FromAnalyser
_DTYPES = {name: np.dtype(name) for name in ("|u1", "<u2", "<u4")}


class TaskHeader(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """A frame to be analysed, with what its analysis needs to know of its series.

    Its payload are `n_bytes` from `offset` on of the second part, the message that came from the source.
    """

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
    offset: int
    n_bytes: int
    series: int = 0  # of the run, counted: several may have the same name


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


class Task(msgspec.Struct, frozen=True):
    """A frame taken from the queue of frames to be analysed.

    `frame.payload` is a view into the received message; it holds that message alive. `series` tells series
    of a run apart that have the same key.
    """

    frame: Frame
    t_received: float
    pixel_size_A: float | None
    saturation_value: int | None
    series: int = 0


def encode_task(frame: Frame, start: SeriesStart, t_received: float, series: int = 0) -> list[Buffer]:
    """Make the parts of a task; the payload is passed on in the message that it came in, without a copy."""
    h = frame.header
    message, offset = in_message(frame.payload)
    header = TaskHeader(
        h.key.series_id, h.key.unique_id, h.frame_id, *h.shape, h.dtype.str, h.compression.value,
        h.t_detector, t_received, start.pixel_size_A, start.saturation_value, offset, frame.payload.nbytes,
        series,
    )  # fmt: skip
    return [encode_header(header), message]


def decode_task(parts: Sequence[memoryview]) -> Task:
    """Read a task; the frame's payload is a view into ``parts[1]``.

    Raises
    ------
    MessageError
        If the parts are not a task, or the payload is not within the second.
    """
    expect_parts(parts, 2, "task")
    h = decode_header(parts[0], TaskHeader)
    if h.dtype not in _DTYPES:
        raise UnknownEncodingError(f"task has data type {h.dtype!r}, expected one of {sorted(_DTYPES)}")
    header = FrameHeader(
        SeriesKey(h.series_id, h.unique_id), h.frame_id, (h.height, h.width), _DTYPES[h.dtype],
        Compression(h.compression), h.t_detector,
    )  # fmt: skip
    payload = parts[1][h.offset : h.offset + h.n_bytes]
    if min(h.offset, h.n_bytes) < 0 or len(payload) != h.n_bytes:
        raise TruncatedMessageError(
            f"task's payload is bytes {h.offset} to {h.offset + h.n_bytes} of a part of {len(parts[1])}"
        )
    return Task(Frame(header, payload), h.t_received, h.pixel_size_A, h.saturation_value, h.series)


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
    columns, changes = bytes_of(result.columns, COLUMN_DTYPE), bytes_of(result.changes, CHANGE_DTYPE)
    maps_bytes = [_map_bytes(image) for image in maps]
    return [encode_header(header), columns, *maps_bytes, changes, particle_bytes(result.particles)]


def encode_failure(failure: FrameFailure) -> list[Buffer]:
    """Make the part of a failure."""
    return [
        encode_header(
            FailureHeader(failure.key.series_id, failure.key.unique_id, failure.frame_id, failure.reason)
        )
    ]


def encode_analyser(info: AnalyserInfo) -> list[Buffer]:
    """Make the part by which an analyser introduces itself; sent once, before its first result."""
    names = (info.backend, info.device, info.precision, info.version)
    return [encode_header(AnalyserHeader(*names, dict(info.networks), info.reason, info.shapes))]


def encode_lost(lost: AnalyserLost) -> list[Buffer]:
    """Make the part that tells ingest not to wait for a dead analyser's answers."""
    return [encode_header(LostHeader(lost.reason, lost.worker))]


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
    expect_parts(parts, 6, "result")
    h = decode_header(parts[0], ResultHeader)
    shape = (h.map_height, h.map_width)
    return FrameResult(
        frame_id=h.frame_id,
        key=SeriesKey(h.series_id, h.unique_id),
        columns=rows_in(parts[1], COLUMN_DTYPE, "columns"),
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
        changes=rows_in(parts[4], CHANGE_DTYPE, "changes"),
        t_decoded=h.t_decoded,
        t_batched=h.t_batched,
        particles=rows_in(parts[5], PARTICLE_DTYPE, "particles"),
    )


_short = msgspec.msgpack.Decoder(FailureHeader | AnalyserHeader | LostHeader | FromAnalyser)


def _decode_short(part: memoryview) -> FrameFailure | AnalyserInfo | AnalyserLost | FromAnalyser:
    try:
        h = _short.decode(part)
    except UNREADABLE as error:
        raise MessageError(f"neither a failure nor an introduction: {error}") from error
    if isinstance(h, FailureHeader):
        return FrameFailure(h.frame_id, SeriesKey(h.series_id, h.unique_id), h.reason)
    if isinstance(h, FromAnalyser):
        return h
    if isinstance(h, LostHeader):
        return AnalyserLost(h.reason, h.worker)
    return AnalyserInfo(h.backend, h.device, h.precision, h.version, h.networks, h.reason, h.shapes)


def _map(part: memoryview, shape: tuple[int, int]) -> NDArray[np.float16] | None:
    return image_in(part, shape, np.float16, "a float16 map") if len(part) else None


def _map_bytes(image: NDArray[np.float16] | None) -> bytes:
    return b"" if image is None else bytes_of(image, np.float16)
