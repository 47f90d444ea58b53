"""DECTRIS Stream V1 (legacy): JSON and payload as the parts of one message, to records.

Source: DECTRIS SIMPLON API manual, "Stream"; what senders really do is taken from captures and from
LiberTEM's and tickit's simulators. A header may come as one message or part by part, so the parser remembers
that one has begun. ``shape`` is [width, height], the reverse of Stream V2. ``hash`` is not checked: no two
senders agree on what it is of. The times have no known origin, so `t_detector` stays unknown.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from streamer.compression import BLOCK_BYTES, FILTER_HEADER, check_payload, decode
from streamer.errors import (
    MessageError,
    MessageTooLargeError,
    MissingFieldError,
    TruncatedMessageError,
    UnknownEncodingError,
)
from streamer.pixels import checked_shape, pixel_dtype
from streamer.plain import count, optional_count, plain, positive
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage

__all__ = ["DectrisV1Parser"]

_ENCODING = re.compile(r"(?:bs(?P<bits>8|16|32)-?)?(?P<lz4>lz4)?(?P<order>[<>]?)")
_DETAILS = ("flatfield-1.0", "dflatfield-1.0", "dpixelmask-1.0", "dcountrate_table-1.0")
_BEGINNINGS = ("dheader-1.0", "dimage-1.0", "dseries_end-1.0")
_may_begin = re.compile(rb"dheader-1|dimage-1|dseries_end-1").search
_FIRST_LIMIT_BYTES = 1000  # of a part that begins a message
_JSON_LIMIT_BYTES = 1 << 20
_LENGTH_BYTES = 4

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _First(msgspec.Struct, frozen=True):
    """The first part of any message."""

    htype: str = ""
    series: _Count | None = None
    frame: _Count | None = None
    header_detail: str = ""


class _Pixels(msgspec.Struct, frozen=True):
    """The second part of an image."""

    shape: tuple[_Count, _Count]
    type: str
    encoding: str
    size: _Count = 0


_decode_first = msgspec.json.Decoder(_First).decode
_decode_pixels = msgspec.json.Decoder(_Pixels).decode


class DectrisV1Parser:
    """Turns the messages of one source into records.

    Parameters
    ----------
    message_limit_bytes, frame_limit_bytes : int
        The largest message read (all parts together), and the largest frame (decoded) accepted.
    """

    def __init__(self, message_limit_bytes: int, frame_limit_bytes: int) -> None:
        self._message_limit_bytes = message_limit_bytes
        self._frame_limit_bytes = frame_limit_bytes
        self._header: _First | None = None  # begun, its configuration is still to come
        self._array_due = False  # the header's next message is an array of its details

    def split(self, parts: Sequence[memoryview]) -> Sequence[Sequence[memoryview]]:
        """Return the stream's messages within one ZeroMQ message.

        A sender in a hurry puts the header and the first image into one (tickit does).
        """
        if len(parts) < 2:
            return (parts,)
        begins = [n for n, part in enumerate(parts) if n == 0 or _begins_message(part)]
        return [parts[begin:end] for begin, end in zip(begins, [*begins[1:], len(parts)], strict=True)]

    def parse(self, parts: Sequence[memoryview]) -> StreamMessage | None:
        """Parse one message; None for a part of a header that says nothing by itself.

        Raises
        ------
        MessageError
            If the message is damaged or of an unknown type.
        """
        self._check_size(parts)
        array_due, self._array_due = self._array_due, False
        try:
            first = _read_json(parts[0], _decode_first)
        except MessageError:
            if array_due and len(parts) == 1:
                return None
            raise
        return self._dispatch(first, parts)

    def _dispatch(self, first: _First, parts: Sequence[memoryview]) -> StreamMessage | None:
        header, self._header = self._header, None
        match first.htype:
            case "dimage-1.0":
                return self._read_image(first, parts)
            case "dseries_end-1.0":
                return SeriesEnd(SeriesKey(_required(first.series, "series", "end")))
            case "dheader-1.0" if len(parts) > 1:
                return self._read_start(first, parts[1:], b"\n".join(bytes(part) for part in parts[:2]))
            case "dheader-1.0":
                self._header = _with_configuration(first)
                return None
            case "" if header is not None:
                return self._read_start(header, parts, bytes(parts[0]))
            case htype if htype in _DETAILS:
                self._array_due = len(parts) == 1
                return None
        raise UnknownEncodingError(f"message of type {first.htype[:40]!r}")

    def _check_size(self, parts: Sequence[memoryview]) -> None:
        if not parts:
            raise TruncatedMessageError("a message without parts")
        size = sum(len(part) for part in parts)
        if size > self._message_limit_bytes:
            raise MessageTooLargeError(
                f"a message of {size} bytes, the limit is {self._message_limit_bytes}:"
                " raise message_limit_bytes if that is right"
            )

    def _read_start(self, header: _First, parts: Sequence[memoryview], raw: bytes) -> SeriesStart:
        """Read the configuration, which is the first of `parts`; the user's appendix may be the last."""
        series_id = _required(_with_configuration(header).series, "series", "header")
        fields = _read_object(parts[0])
        bits = optional_count(fields.get("bit_depth_image"))
        dtype = pixel_dtype(f"uint{bits}") if bits is not None else None
        size = [
            count(fields.get(f"{axis}_pixels_in_detector"), f"{axis}_pixels_in_detector") for axis in "yx"
        ]
        return SeriesStart(
            key=SeriesKey(series_id),
            n_frames_planned=_planned(fields),
            shape=checked_shape(size[0], size[1], dtype.itemsize if dtype else 1, self._frame_limit_bytes),
            dtype=dtype,
            pixel_size_A=positive(fields.get("pixel_size_A")) or _pixel_size_A(parts[1:]),
            frame_time_s=positive(fields.get("frame_time")),
            saturation_value=optional_count(fields.get("countrate_correction_count_cutoff")),
            header=raw,
            extra=plain(fields),
        )

    def _read_image(self, first: _First, parts: Sequence[memoryview]) -> Frame:
        frame_id = _required(first.frame, "frame", "image")
        try:
            if len(parts) not in (4, 5):
                raise TruncatedMessageError(f"an image has 4 or 5 parts, got {len(parts)}")
            key = SeriesKey(_required(first.series, "series", "image"))
            frame = self._find_pixels(key, frame_id, _read_json(parts[1], _decode_pixels), parts[2])
            check_payload(frame.header, frame.payload)
        except MessageError as error:
            error.frame_id = frame_id
            raise
        return frame

    def _find_pixels(self, key: SeriesKey, frame_id: int, pixels: _Pixels, payload: memoryview) -> Frame:
        found = _ENCODING.fullmatch(pixels.encoding)
        if found is None or found["order"] == ">" or (found["bits"] and not found["lz4"]):
            raise UnknownEncodingError(f"encoding {pixels.encoding[:40]!r}, expected bs16-lz4<, lz4< or <")
        if len(payload) < pixels.size:
            raise TruncatedMessageError(f"a payload of {len(payload)} bytes, expected {pixels.size}")
        dtype, (width, height) = pixel_dtype(pixels.type), pixels.shape
        shape = checked_shape(height, width, dtype.itemsize, self._frame_limit_bytes)
        header = FrameHeader(key, frame_id, shape, dtype, _compression(found))
        if header.compression is Compression.BSLZ4:
            return _with_pixel_elements(header, _with_size(header, payload), int(found["bits"]) // 8)
        if header.compression is Compression.LZ4:
            return Frame(header, _as_hdf5_lz4(header, payload))
        return Frame(header, memoryview(payload))


def _begins_message(part: memoryview) -> bool:
    if len(part) > _FIRST_LIMIT_BYTES or _may_begin(part) is None:  # nearly always; decoding costs more
        return False
    try:
        return _decode_first(part).htype in _BEGINNINGS
    except (ValueError, RecursionError):
        return False


def _compression(found: re.Match[str]) -> Compression:
    if not found["lz4"]:
        return Compression.NONE
    return Compression.BSLZ4 if found["bits"] else Compression.LZ4


def _with_size(header: FrameHeader, payload: memoryview) -> memoryview:
    """Fill in a header of zeros, which LiberTEM's mock frames have; that copies the payload."""
    if len(payload) <= FILTER_HEADER.size or FILTER_HEADER.unpack_from(payload)[0]:
        return memoryview(payload)
    return memoryview(FILTER_HEADER.pack(_n_bytes(header), BLOCK_BYTES) + payload[FILTER_HEADER.size :])


def _with_pixel_elements(header: FrameHeader, payload: memoryview, item_bytes: int) -> Frame:
    """Decompress pixels that were shuffled as elements of another size: no HDF5 filter could read them."""
    if item_bytes == header.dtype.itemsize:
        return Frame(header, payload)
    elements = (1, _n_bytes(header) // item_bytes)
    shuffled = FrameHeader(
        header.key, header.frame_id, elements, np.dtype(f"<u{item_bytes}"), header.compression
    )
    pixels = decode(Frame(shuffled, payload)).tobytes()
    plain_header = FrameHeader(header.key, header.frame_id, header.shape, header.dtype, Compression.NONE)
    return Frame(plain_header, memoryview(pixels))


def _as_hdf5_lz4(header: FrameHeader, block: memoryview) -> memoryview:
    """Put HDF5's framing around a bare LZ4 block, so that it can be stored and decoded; copies it."""
    size = _n_bytes(header)
    if len(block) == size:
        raise UnknownEncodingError("an LZ4 block as long as its pixels cannot be told from pixels in HDF5")
    length = len(block).to_bytes(_LENGTH_BYTES, "big")
    return memoryview(b"".join((FILTER_HEADER.pack(size, size), length, block)))


def _n_bytes(header: FrameHeader) -> int:
    return header.shape[0] * header.shape[1] * header.dtype.itemsize


def _with_configuration(header: _First) -> _First:
    if header.header_detail == "none":
        raise MissingFieldError("the header has no configuration: set the stream's header_detail to basic")
    return header


def _planned(fields: dict[str, Any]) -> int:
    """Return the number of frames; with an external enable each trigger takes one."""
    triggers = optional_count(fields.get("ntrigger", 1)) or 0
    if fields.get("trigger_mode") in ("inte", "exte"):
        return triggers
    return triggers * (optional_count(fields.get("nimages")) or 0)


def _pixel_size_A(parts: Sequence[memoryview]) -> float | None:
    """Return the specimen's pixel size [Å] from the user's appendix, the last part of a header."""
    if not parts:
        return None
    try:
        return positive(_read_object(parts[-1]).get("pixel_size_A"))
    except MessageError:
        return None


def _required(value: int | None, name: str, kind: str) -> int:
    if value is None:
        raise MissingFieldError(f"{kind} message without {name!r}")
    return value


def _read_json(part: memoryview, decoder: Any) -> Any:
    if len(part) > _JSON_LIMIT_BYTES:
        raise MessageError(f"{len(part)} bytes where JSON is expected, at most {_JSON_LIMIT_BYTES}")
    try:
        return decoder(part)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not the JSON of a Stream V1 message: {error}") from error


def _read_object(part: memoryview) -> dict[str, Any]:
    fields = _read_json(part, lambda part: json.loads(bytes(part)))
    if not isinstance(fields, dict):
        raise MessageError("the configuration is no JSON object")
    return fields
