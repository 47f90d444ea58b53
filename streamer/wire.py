"""Atomstream's own stream: a MessagePack header and, for images, the payload as a second part.

This is the one module that knows the bytes; the table of fields is in docs/wire-format.md. Headers are maps
with text keys, so that a later minor version may add fields and an older receiver passes over them; another
major version is refused by name. Everything is typed and checked on arrival.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite, nan
from typing import Annotated, Any

import msgspec

from streamer.compression import check_payload
from streamer.errors import (
    MessageError,
    MessageTooLargeError,
    MissingFieldError,
    TruncatedMessageError,
    UnknownEncodingError,
)
from streamer.pixels import checked_shape, pixel_dtype
from streamer.plain import plain, positive, unix_time
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage

__all__ = ["VERSION", "AtomstreamEncoder", "AtomstreamParser"]

VERSION = (1, 0)
"""(major, minor): another major means other bytes, a higher minor more fields."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Name = Annotated[str, msgspec.Meta(max_length=256)]


class _Header(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """What every message says."""

    version: tuple[_Count, _Count]
    series_id: _Count
    unique_id: _Name = ""


class _Start(_Header, frozen=True, tag="start", kw_only=True):
    height: _Count
    width: _Count
    n_frames_planned: _Count = 0
    dtype: _Name | None = None
    channel: _Name = ""
    pixel_size_A: float | None = None
    frame_time_s: float | None = None
    saturation_value: _Count | None = None
    extra: dict[str, Any] = {}


class _Image(_Header, frozen=True, tag="image", kw_only=True):
    frame_id: _Count
    height: _Count
    width: _Count
    dtype: _Name
    compression: _Name
    n_bytes: _Count
    t_detector: float | None = None


class _End(_Header, frozen=True, tag="end", kw_only=True):
    pass


class _Envelope(msgspec.Struct, frozen=True):
    """The least that is read of a header that cannot be read in full."""

    type: str = ""
    version: tuple[int, int] = VERSION
    frame_id: _Count | None = None


_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[_Start | _Image | _End] = msgspec.msgpack.Decoder(_Start | _Image | _End)
_envelope_decoder = msgspec.msgpack.Decoder(_Envelope)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MemoryError)


class AtomstreamEncoder:
    """Turns records into messages; keeps no state."""

    def encode(self, message: StreamMessage) -> list[bytes | memoryview]:
        """Make the message's parts; a frame's payload is passed on as the view it is."""
        if isinstance(message, SeriesStart):
            return [_encode(_start_header(message))]
        if isinstance(message, SeriesEnd):
            return [_encode(_End(version=VERSION, **_key_fields(message.key)))]
        return [_encode(_image_header(message)), message.payload]


class AtomstreamParser:
    """Turns the messages of one source into records; keeps no state between them.

    Parameters
    ----------
    message_limit_bytes, frame_limit_bytes : int
        The largest message read (all parts together), and the largest frame (decoded) accepted.
    """

    def __init__(self, message_limit_bytes: int, frame_limit_bytes: int) -> None:
        self._message_limit_bytes = message_limit_bytes
        self._frame_limit_bytes = frame_limit_bytes

    def split(self, parts: Sequence[memoryview]) -> Sequence[Sequence[memoryview]]:
        """Return the stream's messages within one ZeroMQ message: always one."""
        return (parts,)

    def parse(self, parts: Sequence[memoryview]) -> StreamMessage:
        """Parse one message; a frame's payload is ``parts[1]`` as it came.

        Raises
        ------
        MessageError
            If the message is damaged or of an unknown type or version.
        """
        size = sum(len(part) for part in parts)
        if size > self._message_limit_bytes:
            raise MessageTooLargeError(
                f"a message of {size} bytes, the limit is {self._message_limit_bytes}:"
                " raise message_limit_bytes if that is right"
            )
        if not parts:
            raise TruncatedMessageError("a message without parts")
        header = _decode(parts[0])
        expected = 2 if isinstance(header, _Image) else 1
        if len(parts) != expected:
            raise MessageError(f"expected {expected} parts, got {len(parts)}", _frame_id(header))
        if isinstance(header, _Image):
            return self._frame(header, memoryview(parts[1]))
        if isinstance(header, _End):
            return SeriesEnd(_key(header.series_id, header.unique_id))
        return self._start(header, bytes(parts[0]))

    def _start(self, header: _Start, raw: bytes) -> SeriesStart:
        dtype = pixel_dtype(header.dtype) if header.dtype is not None else None
        itemsize = dtype.itemsize if dtype else 1
        return SeriesStart(
            key=_key(header.series_id, header.unique_id),
            n_frames_planned=header.n_frames_planned,
            shape=checked_shape(header.height, header.width, itemsize, self._frame_limit_bytes),
            dtype=dtype,
            channel=header.channel,
            pixel_size_A=positive(header.pixel_size_A),
            frame_time_s=positive(header.frame_time_s),
            saturation_value=header.saturation_value,
            header=raw,
            extra=plain(header.extra),
        )

    def _frame(self, header: _Image, payload: memoryview) -> Frame:
        try:
            if len(payload) != header.n_bytes:
                raise TruncatedMessageError(f"a payload of {len(payload)} bytes, expected {header.n_bytes}")
            record = self._frame_header(header)
            check_payload(record, payload)
        except MessageError as error:
            error.frame_id = header.frame_id
            raise
        return Frame(record, payload)

    def _frame_header(self, header: _Image) -> FrameHeader:
        dtype = pixel_dtype(header.dtype)
        return FrameHeader(
            _key(header.series_id, header.unique_id),
            header.frame_id,
            checked_shape(header.height, header.width, dtype.itemsize, self._frame_limit_bytes),
            dtype,
            _compression(header.compression),
            nan if header.t_detector is None else unix_time(header.t_detector),
        )


def _start_header(start: SeriesStart) -> _Start:
    return _Start(
        version=VERSION,
        **_key_fields(start.key),
        height=start.shape[0],
        width=start.shape[1],
        n_frames_planned=start.n_frames_planned,
        dtype=start.dtype.str if start.dtype is not None else None,
        channel=start.channel,
        pixel_size_A=start.pixel_size_A,
        frame_time_s=start.frame_time_s,
        saturation_value=start.saturation_value,
        extra=dict(start.extra),
    )


def _image_header(frame: Frame) -> _Image:
    header = frame.header
    return _Image(
        version=VERSION,
        **_key_fields(header.key),
        frame_id=header.frame_id,
        height=header.shape[0],
        width=header.shape[1],
        dtype=header.dtype.str,
        compression=header.compression.value,
        n_bytes=len(frame.payload),
        t_detector=header.t_detector if isfinite(header.t_detector) else None,
    )


def _key_fields(key: SeriesKey) -> dict[str, Any]:
    return {"series_id": key.series_id, "unique_id": key.unique_id}


def _compression(name: str) -> Compression:
    try:
        return Compression(name)
    except ValueError:
        raise UnknownEncodingError(f"compression {name[:40]!r}, expected none, bslz4 or lz4") from None


@lru_cache(maxsize=16)
def _key(series_id: int, unique_id: str) -> SeriesKey:
    return SeriesKey(series_id, unique_id)


def _frame_id(header: _Start | _Image | _End) -> int | None:
    return header.frame_id if isinstance(header, _Image) else None


def _decode(part: memoryview) -> _Start | _Image | _End:
    try:
        header = _decoder.decode(part)
    except _UNREADABLE as error:
        raise _explained(part, error) from error
    if header.version[0] != VERSION[0]:
        raise _version_error(header.version, _frame_id(header))
    return header


def _explained(part: memoryview, error: BaseException) -> MessageError:
    """Say as much as can be read of a header that does not fit the table."""
    try:
        envelope = _envelope_decoder.decode(part)
    except _UNREADABLE:
        envelope = _Envelope()
    text = f"the header is not ours: {error}"
    if envelope.version[0] != VERSION[0]:
        return _version_error(envelope.version, envelope.frame_id)
    if "truncated" in str(error):
        return TruncatedMessageError(text, envelope.frame_id)
    if "missing required field" in str(error):
        return MissingFieldError(text, envelope.frame_id)
    if envelope.type not in ("", "start", "image", "end"):
        return UnknownEncodingError(f"message of type {envelope.type[:40]!r}", envelope.frame_id)
    return MessageError(text, envelope.frame_id)


def _version_error(version: tuple[int, int], frame_id: int | None) -> UnknownEncodingError:
    return UnknownEncodingError(
        f"the stream has version {version[0]}.{version[1]}, this program reads version {VERSION[0]}", frame_id
    )
